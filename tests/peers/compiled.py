"""How fast compiled models are there, and what they cost, beside the same models compiled when they are run.

    python3 tests/peers/compiled.py [--trine FILE] [--rounds N] [--smollm2 FOLDER]

For each model: bytes of its `.trine` file, milliseconds from the start of the process to its first output with files in
memory, megabytes resident beyond the weights, and, of language models, tokens a second from the file over those of
the model that is compiled at once, in turns. The table goes to standard output.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.append(str(ROOT / "tests" / "python"))

from machine import described, machine  # noqa: E402

LM = ROOT / "tests" / "models" / "lm"
DIGITS = ROOT / "tests" / "models" / "digits"


def started(command: list[str]) -> tuple[float, int]:
    """Milliseconds until a command printed something, and the most kilobytes that it had in memory."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = process.stdout.read(1)
    took = 1e3 * (time.monotonic() - start)
    rest = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if not first or status:
        raise SystemExit(f"{command} failed: {rest[1].decode()}")
    return took, usage.ru_maxrss


def decoded(command: list[str]) -> float:
    """Tokens a second that `trine bench` decodes."""
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)["decode_tokens_per_s"]


def measure(trine: str, name: str, model: Path, options: list[str], rounds: int, folder: Path) -> str:
    file = folder / f"{name.replace(' ', '-')}.trine"
    subprocess.run([trine, "compile", model, "-o", file, *options], check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)
    inspected = subprocess.run([trine, "inspect", file, "--json"], capture_output=True, text=True, check=True)
    weights = json.loads(inspected.stdout)["targets"][0]["weights_bytes"]
    tokenizer = model.parent / "tokenizer.json"
    if tokenizer.exists():
        first = [trine, "generate", file, "--tokenizer", tokenizer, "--prompt", "The", "-n", "1", "--ids"]
    else:
        first = [trine, "run", file, "--random"]
    first = [str(word) for word in first]
    samples = [started(first) for _ in range(3 * rounds)]
    took = statistics.median(ms for ms, _ in samples)
    beyond = max(kb for _, kb in samples) / 1e3 * 1.024 - weights / 1e6
    speed = ""
    if tokenizer.exists():
        bench = [trine, "bench", "--json", "--threads", "1", "--dim", "seq=16", "--seconds", "1"]
        pairs = [(decoded([*bench, str(file)]), decoded([*bench, str(model), *options])) for _ in range(rounds)]
        loaded, compiled = (statistics.median(side) for side in zip(*pairs))
        speed = f"{loaded:,.1f} / {compiled:,.1f} = {loaded / compiled:.3f}"
    return f"| {name} | {file.stat().st_size / 1e6:,.1f} | {took:.0f} | {beyond:.0f} | {speed} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trine", default=str(ROOT / "target" / "release" / "trine"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smollm2", type=Path, help="a folder with model.onnx and tokenizer.json")
    arguments = parser.parse_args()
    models = [("digits MLP", DIGITS / "mlp.onnx", []), ("small decoder", LM / "f32.onnx", [])]
    if arguments.smollm2:
        model = arguments.smollm2 / "model.onnx"
        models += [("SmolLM2 f32", model, []), ("SmolLM2 ternary", model, ["--ternarize", "exact"])]
    print(f"On {described(machine())}:\n")
    print("| model | file, MB | ms to the first output | MB beyond the weights | decoded tokens/s: file / compiled |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, model, options in models:
            print(measure(arguments.trine, name, model, options, arguments.rounds, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
