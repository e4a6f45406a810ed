"""Runs public models of PyPI, npm and ONNX itself beside onnxruntime, and prints one table.

    python3 tests/peers/models.py [--only WORD...] [--threads N] [--rounds N] [--seconds S] [--trine FILE] [--json FILE]

Each model of `zoo.py` runs at sizes and on values that it is made for, states carried from run to run by each engine on
its own. The table says what imports, how far outputs are from onnxruntime's, how long a run takes (in turns), and how
many steps are compiled; of quantized models also who is near to what `specification.py` says. A package that cannot be
fetched is skipped, counted and named. Exits with 1 if a model fails or is wrong.
"""

import argparse
import json
import os
import sys
import zlib
from dataclasses import asdict
from pathlib import Path

PYTHON = Path(__file__).resolve().parents[1] / "python"


def arguments_of(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="models whose names contain one of these")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="turns in which each engine is timed; 0 times nothing")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long a turn is")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a command is given up")
    parser.add_argument("--trine", type=Path, help="the command to measure; built with cargo if not given")
    parser.add_argument("--json", type=Path, help="where everything that was found is written")
    return parser.parse_args(words)


def main() -> None:
    arguments = arguments_of()
    # The specification multiplies many small matrices: threads that wait for one another are slower than one.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    sys.path.append(str(PYTHON))
    from env import enter

    enter()
    from cache import target_dir
    from machine import machine
    from process import built, call
    from report import render
    from trial import Result

    command = arguments.trine.resolve() if arguments.trine else built()
    ours = call([command, "--version"]).strip().removeprefix("trine ")
    about, versions = machine(), {"trine": ours, **installed()}
    results: list[Result] = []
    skipped: dict[str, str] = {}
    for model in chosen(arguments.only):
        results += tried(model, command, arguments, skipped)
    print(render(results, skipped, arguments.threads, about, versions))
    found = {"machine": about, "versions": versions, "skipped": skipped, "results": [asdict(r) for r in results]}
    output = arguments.json or target_dir() / "peers" / "models.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
    sys.exit(not results or not all(result.right for result in results))


def installed() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("onnxruntime", "onnx", "numpy")}


def chosen(words: list[str]) -> list:
    from zoo import MODELS

    return [model for model in MODELS if not words or any(word in model.name for word in words)]


def tried(model, command: Path, arguments: argparse.Namespace, skipped: dict[str, str]) -> list:
    """Results at all sizes, or none and the reason among those skipped."""
    import numpy as np
    import onnx
    import trial
    from cache import progress
    from packages import Unavailable

    try:
        folder = model.package.folder() if model.package else Path(onnx.__file__).parent
    except Unavailable as reason:
        progress(f"skipping {model.name}: {model.package}: {reason}")
        skipped[model.name] = f"{model.package}: {reason}"
        return []
    results = []
    engines = trial.Engines(command, folder / model.path, model.carried, arguments.threads, arguments.limit)
    for size, feeds in model.sizes.items():
        progress(f"{model.name}, {size}")
        # The same arrays whatever else is run.
        random = np.random.default_rng(zlib.crc32(f"{model.name} {size}".encode()))
        results.append(trial.tried(engines, model, size, feeds(random), arguments.rounds, arguments.seconds))
    return results


if __name__ == "__main__":
    main()
