"""Exports tiny ternary language models by every exporter that people use, and tells what Trine makes of each.

    python3 tests/peers/exporters.py [--only WORD...] [--real] [--trine FILE] [--keep] [--json FILE]

Each cell is a checkpoint of `exporters/checkpoints.py`, an exporter, and a way to run it: `exporters/cells.py`. The
table says whether it imports, how many layers are ternary and round to int8, how many norms, rotary positions and
attentions are found, how many steps are interpreted, and how many greedy tokens are those of the framework. What an
exporter itself cannot make is told and does not fail. Exits with 1 if a cell that was exported is not as it should be.

It installs PyTorch twice, each time 6 GB under `target/`, and keeps what was exported under `target/peers/exporters`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parent / "python"
PARTS = HERE / "exporters"
# Seconds after which an exporter is given up.
LIMIT = 900
FAILURE = "failed.txt"


def arguments_of(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="cells whose names contain all of these")
    parser.add_argument("--trine", type=Path, help="the command to try; built with cargo if not given")
    parser.add_argument("--keep", action="store_true", help="take what was exported before, by whichever sources")
    parser.add_argument("--real", action="store_true", help="two layers of BitNet-2B-4T's shapes instead, by torch")
    parser.add_argument("--json", type=Path, help="where everything that was found is written")
    return parser.parse_args(words)


def main() -> None:
    arguments = arguments_of()
    sys.path.append(str(PYTHON))
    from env import enter

    enter(PARTS)
    from cache import progress, target_dir
    from cells import cells
    from machine import machine
    from process import built, call
    from rows import Row, render

    command = arguments.trine.resolve() if arguments.trine else built()
    chosen = [cell for cell in cells(arguments.real) if all(word in cell.name for word in arguments.only)]
    about, versions = machine(), {"trine": call([command, "--version"]).strip().removeprefix("trine "), **pinned()}
    rows: list[Row] = []
    for cell in chosen:
        progress(cell.name)
        rows += tried(cell, command, arguments.keep)
    print(render(rows, about, versions))
    found = {"machine": about, "versions": versions, "rows": [asdict(row) for row in rows]}
    output = arguments.json or target_dir() / "peers" / "exporters.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
    sys.exit(not rows or not all(row.green for row in rows))


def pinned() -> dict[str, str]:
    """The versions of the requirements; optimum's torch and transformers are others than the rest's."""
    found = {}
    for name in ("exporters", "optimum"):
        for line in (PARTS / f"requirements-{name}.txt").read_text().split():
            package, version = line.split("==")
            found.setdefault(package, version)
            if found[package] != version:
                found[f"{package} of {name}"] = version
    return found


def programs(environment: str) -> Path:
    from env import interpreter

    return interpreter(f"venv-{environment}", f"../peers/exporters/requirements-{environment}.txt").parent


def checkpoint(name: str, keep: bool) -> Path:
    source = PARTS / "checkpoints.py"
    folder = kept_folder("checkpoints") / name

    def build(made: Path) -> None:
        ended = ran([str(programs("exporters") / "python"), str(source), name, str(made)])
        if ended:
            raise SystemExit(f"the checkpoint `{name}` cannot be made: {ended}")

    build_kept(folder, keep, [source, PARTS / "requirements-exporters.txt"], build)
    return folder


def exported(cell, keep: bool) -> tuple[Path, Path]:
    """The folders of a cell's checkpoint and of its model, which holds the exporter's words if it failed."""
    from cache import STAMP, progress
    from cells import EXPORTERS

    source = checkpoint(cell.checkpoint, keep)
    environment = EXPORTERS[cell.exporter].environment
    folder = kept_folder("models") / cell.name

    def build(made: Path) -> None:
        progress(f"exporting {cell.name}")
        ended = ran(cell.command(programs(environment), source, made))
        if ended or not list(made.rglob("*.onnx")):
            told = ended.replace(str(source), source.name).replace(str(made), "the output")
            (made / FAILURE).write_text(told or "it wrote no model", encoding="utf-8")

    command = " ".join(cell.command(Path(), Path(), Path()))
    script = [PARTS / "torch_export.py"] if cell.exporter == "torch" else []
    parts = [source / STAMP, command.replace(str(HERE), ""), PARTS / f"requirements-{environment}.txt", *script]
    build_kept(folder, keep, parts, build)
    return source, folder


def kept_folder(name: str) -> Path:
    from cache import target_dir

    folder = target_dir() / "peers" / "exporters" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build_kept(folder: Path, keep: bool, parts: list, build) -> None:
    from cache import STAMP, build_once, digest

    if not keep or not (folder / STAMP).exists():
        build_once(folder, digest(*parts), build)


def ran(words: list[str]) -> str:
    """The last words of a command that failed; empty if it did not."""
    # Exporters look for nothing outside of the checkpoint, and write what they cache into the output.
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    env.pop("PYTHONPATH", None)
    try:
        # One of them writes the commit of the folder that it runs in into its models.
        with tempfile.TemporaryDirectory() as folder:
            result = subprocess.run(
                words, capture_output=True, text=True, check=False, env=env, timeout=LIMIT, cwd=folder
            )
    except subprocess.TimeoutExpired:
        return f"it takes more than {LIMIT} s"
    if not result.returncode:
        return ""
    said = [line.strip() for line in (result.stderr.strip() or result.stdout.strip()).splitlines() if line.strip()]
    # The error of a traceback is its last line that starts one; what an exporter adds may be long.
    errors = [line for line in said if line.split(":")[0].split("(")[0].endswith(("Error", "Exception", "error"))]
    return (errors or said or [f"it ended with {result.returncode}"])[-1]


def tried(cell, command: Path, keep: bool) -> list:
    """A row; of halves also one of the model made wide."""
    source, folder = exported(cell, keep)
    if (folder / FAILURE).exists():
        row = row_of(cell)
        row.unexported = (folder / FAILURE).read_text(encoding="utf-8")
        return [row]
    model = max(folder.rglob("*.onnx"), key=lambda path: path.stat().st_size)
    return [looked_at(cell, command, source, model, widened) for widened in (False, True)[: 1 + (cell.dtype != "f32")]]


def row_of(cell, widened: bool = False):
    from rows import Row

    return Row(cell.exporter, cell.checkpoint, cell.variant, cell.dtype, widened)


def looked_at(cell, command: Path, source: Path, model: Path, widened: bool):
    from facts import Failed, Trine

    row = row_of(cell, widened)
    row.model = str(model.relative_to(kept_folder("models")))
    trine = Trine(command, model, ("--widen",) if widened else ())
    try:
        trine.call("inspect", model)
        row.imports = True
        row.facts = trine.facts(joined(cell.of.size))
    except Failed as failure:
        row.failures.append(str(failure))
    expected = json.loads((source / "expected.json").read_text(encoding="utf-8"))
    row.count(cell)
    answered(row, cell, trine, source, expected, model)
    if row.families:
        row.explained = trine.explained(row.families)
    return row


def joined(size) -> dict[tuple[int, int], int]:
    """How many layers of a checkpoint weights of a shape are that an exporter joins: q, k and v; gate and up."""
    return {((size.heads + 2 * size.shared) * size.head_dim, size.hidden): 3, (2 * size.ffn, size.hidden): 2}


def decided(expected: dict, dtype: str) -> list[list[int]]:
    """The framework's tokens as far as they lead by more than rounding to this type moves what it makes of f32 itself."""
    tokens, leads, wide = expected["tokens"][dtype], expected["leads"][dtype], expected["leads"]["f32"]
    moved = 0.0
    for row, (ours, theirs) in enumerate(zip(leads, wide, strict=True)):
        for at, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if tokens[row][at] != expected["tokens"]["f32"][row][at]:
                break
            moved = max(moved, abs(a - b))
    found = []
    for row, ours in zip(tokens, leads, strict=True):
        doubtful = (at for at, lead in enumerate(ours) if lead < moved)
        found.append(row[: next(doubtful, len(row))])
    return found


def cut(found: list[list[int]], wanted: list[list[int]]) -> list[list[int]]:
    return [row[: len(other)] for row, other in zip(found, wanted, strict=True)]


def answered(row, cell, trine, source: Path, expected: dict, model: Path) -> None:
    """Compares tokens with the framework's, or with onnxruntime's where an exporter changed the function."""
    from facts import Failed
    from reference import Unable, tokens

    prompts, wanted = expected["prompts"], decided(expected, cell.dtype)
    try:
        found = [trine.tokens(source / "tokenizer.json", prompt) for prompt in prompts]
    except Failed as failure:
        row.failures.append(str(failure))
        return
    row.tokens = found
    if cut(found, wanted) == wanted and not cell.rounded:
        row.tokens = wanted
        row.reference = "torch"
        return
    try:
        wanted = tokens(model, prompts, cell.of.size.head_dim)
        row.reference = "onnxruntime"
    except Unable as reason:
        row.notes.append(f"onnxruntime: {reason}")
        if cell.rounded:
            return
        row.reference = "torch"
    row.tokens = found = cut(found, wanted)
    row.wanted = wanted
    if row.reference == "onnxruntime" and not cell.rounded:
        if cut(wanted, decided(expected, cell.dtype)) != decided(expected, cell.dtype):
            row.notes.append("the file answers other than torch, by onnxruntime")
    if found != wanted:
        row.failures.append(f"tokens are not {row.reference}'s")


if __name__ == "__main__":
    main()
