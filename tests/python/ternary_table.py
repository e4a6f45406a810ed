"""Prints what ternarizing a language model costs: perplexity against bits, a row a recipe.

    python3 tests/python/env.py tests/python/ternary_table.py MODEL.onnx [--tokens 16384] [--rows NAME ...] [--trine FILE]

Fits to every other topic of the language reference that comes with Python (`pydoc_data`), and measures on the
topics between them. Rows are kept in `target/ternary/`, so that what one build of the command has measured is not
measured again; models are not. Bits are those of the rounded layers, all counted; the head stays as it is.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path
from pydoc_data.topics import topics

from cache import digest, target_dir

CALIBRATED = ["--method", "gptq+cd+compensate{scales=16}", "--group", "128"]
WEIGHTS = ["--method", "exact{scales=16}", "--group", "128"]
ROWS = {
    "exact, 1 plane": [*WEIGHTS, "--planes", "1"],
    "exact, 2 planes": [*WEIGHTS, "--planes", "2"],
    "exact, 3 planes": [*WEIGHTS, "--planes", "3"],
    "exact, 2.0 bits": [*WEIGHTS, "--bits", "2.0"],
    "exact, 2.5 bits": [*WEIGHTS, "--bits", "2.5"],
    "exact, 3.0 bits": [*WEIGHTS, "--bits", "3.0"],
    "gptq, 1 plane": ["--method", "gptq{scales=16}", "--group", "128", "--planes", "1"],
    "gptq+cd, 1 plane": ["--method", "gptq+cd{scales=16}", "--group", "128", "--planes", "1"],
    "gptq+cd+compensate, 1 plane": [*CALIBRATED, "--planes", "1"],
    "gptq+cd+compensate, 2.0 bits": [*CALIBRATED, "--bits", "2.0"],
    "gptq+cd+compensate, 2.5 bits": [*CALIBRATED, "--bits", "2.5"],
    "gptq+cd+compensate, 3.0 bits": [*CALIBRATED, "--bits", "3.0"],
    "gptq+cd+compensate, 2 planes": [*CALIBRATED, "--planes", "2"],
    "gptq+cd+compensate, 3 planes": [*CALIBRATED, "--planes", "3"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=16384, help="tokens to fit to")
    parser.add_argument("--held-out", type=int, default=8192, help="tokens to measure on")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="NAME")
    parser.add_argument("--trine", type=Path, default=target_dir() / "release/trine")
    arguments = parser.parse_args()

    work = target_dir() / "ternary"
    work.mkdir(parents=True, exist_ok=True)
    texts = [topics[name] for name in sorted(topics)]
    calibration, held_out = work / "calibration.txt", work / "held-out.txt"
    calibration.write_text("\n\n".join(texts[0::2]), encoding="utf-8")
    held_out.write_text("\n\n".join(texts[1::2]), encoding="utf-8")

    def perplexity(model: Path) -> float:
        tokenizer = arguments.model.with_name("tokenizer.json")
        command = [arguments.trine, "perplexity", model, "--tokenizer", tokenizer, "--text", held_out, "--json"]
        return run([*command, "--tokens", str(arguments.held_out)])["perplexity"]

    base = perplexity(arguments.model)
    print("| recipe | bits | perplexity | times f32 | seconds | MB |\n|---|---|---|---|---|---|")
    print(f"| f32 | 32 | {base:.3f} | 1 | | |", flush=True)
    build = digest(arguments.trine, arguments.model, calibration)
    for name in arguments.rows:
        options = ["--tokens", str(arguments.tokens), *ROWS[name]]
        kept = work / f"{digest(build, str(arguments.held_out), *options)[:32]}.json"
        if not kept.exists():
            # Where an interrupted run goes on.
            folder = work / "".join(c if c.isalnum() else "-" for c in name)
            command = [arguments.trine, "ternarize", arguments.model, "--calib", calibration, "-o", folder, "--json"]
            report = run([*command, *options])
            row = {key: report[key] for key in ("bits", "seconds", "peak_memory")}
            row["perplexity"] = perplexity(folder / "model.onnx")
            kept.write_text(json.dumps(row), encoding="utf-8")
            shutil.rmtree(folder)
        row = json.loads(kept.read_text(encoding="utf-8"))
        bits, now, megabytes = row["bits"], row["perplexity"], (row["peak_memory"] or 0) >> 20
        print(
            f"| {name} | {bits:.2f} | {now:.3f} | {now / base:.3f} | {row['seconds']:.0f} | {megabytes} |", flush=True
        )


def run(command: list) -> dict:
    """What a command that prints JSON printed."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"`{' '.join(map(str, command))}` failed:\n{result.stderr}")
    return json.loads(result.stdout)


if __name__ == "__main__":
    main()
