"""Compares what there is to make weights and states ternary, and writes the tables: what it costs, and what helps.

    python3 tests/comparison/run.py [--only PART ...] [--threads N] [--steps N] [--rows NAME ...] [--trine FILE]

Writes `target/comparison/comparison.md`, and the figures as `comparison.json` beside it. What was measured is kept, so
that an interrupted run goes on; another build of the command measures again. Parts that `--only` leaves out are taken
from the last run of the same command, if there was one. From nothing it takes about half an hour on one core, then the
trainings as long again and SmolLM2 an hour and a half; Debian's `apt-get` fetches the text. The other scripts here are
run by this one, which lets them find those of `tests/python`.
"""

import argparse
import json
import sys
from pathlib import Path

PYTHON = Path(__file__).resolve().parents[1] / "python"
PARTS = ["methods", "ladder", "calibration", "budget", "recurrent", "features", "training", "smollm2"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--threads", type=int, default=1, help="threads of the command; trainings take what there is")
    parser.add_argument("--steps", type=int, default=0, help="optimizer steps of each training")
    parser.add_argument("--rows", nargs="+", default=(), metavar="NAME", help="rows of the table of SmolLM2")
    parser.add_argument("--trine", type=Path, help="the command to measure; built with cargo if not given")
    arguments = parser.parse_args()
    sys.path.append(str(PYTHON))
    from env import enter

    enter()
    from cache import target_dir
    from fit import before
    from lab import Lab
    from machine import machine
    from page import page
    from parts import PARTS as parts
    from process import built, call
    from text import Texts

    trine = arguments.trine.resolve() if arguments.trine else built()
    folder = target_dir() / "comparison"
    lab = Lab(trine, folder, arguments.threads, arguments.steps, tuple(arguments.rows))
    texts = Texts(folder / "texts", target_dir() / "train")
    about = {"machine": machine(), "trine": call([trine, "--version"]).strip(), "identity": lab.identity}
    about |= {"threads": arguments.threads, "held_out": texts.count(), "loss": before(lab, texts)["loss"]}

    file = folder / "comparison.json"
    for name in (name for name in PARTS if name in arguments.only):
        lab.seconds = 0.0
        data = parts[name].module.measure(lab, texts)
        # Another run may have written meanwhile.
        results = earlier(file, lab.identity) | {name: {"seconds": lab.seconds, "data": data}}
        file.write_text(json.dumps(about | {"parts": results}, indent=1, ensure_ascii=False), encoding="utf-8")
    written = page(about, results)
    (folder / "comparison.md").write_text(written, encoding="utf-8")
    print(written, end="")


def earlier(file: Path, identity: str) -> dict:
    """The parts that runs of the same command have written."""
    found = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return found["parts"] if found.get("identity") == identity else {}


if __name__ == "__main__":
    main()
