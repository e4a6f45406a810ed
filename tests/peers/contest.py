"""Engines that do the same work in turns, so that what disturbs the machine disturbs all of them."""

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cache import digest, kept, progress
from machine import Others


@dataclass(frozen=True)
class Engine:
    name: str
    # Threads to a value for each case, such as `{"batch 1": 71.2}`.
    measure: Callable[[int], dict[str, float]]


@dataclass(frozen=True)
class Contest:
    """The first engine is Trine, and what the others are compared with."""

    title: str
    units: dict[str, str]
    engines: list[Engine]
    # By engine, case and threads: what was measured earlier of engines that cannot be had here.
    quoted: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)


@dataclass
class Row:
    """One engine at one case. `samples`, `median` and `ratio` are by threads; `ratio` is how much faster Trine is."""

    title: str
    case: str
    unit: str
    engine: str
    samples: dict[int, list[float]]
    median: dict[int, float]
    ratio: dict[int, float]
    # What part of the machine's CPU time other processes took during each sample.
    others: dict[int, list[float]] = field(default_factory=dict)
    quoted: bool = False


def play(contest: Contest, threads: list[int], rounds: int, folder: Path | None = None) -> list[Row]:
    """Measures in turns. In `folder` samples are kept, so that an interrupted contest goes on."""
    samples: dict = defaultdict(lambda: defaultdict(list))
    shares: dict = defaultdict(lambda: defaultdict(list))
    for count in threads:
        for turn in range(rounds):
            for engine in contest.engines:
                what = f"{contest.title}, threads={count}, round {turn + 1} of {rounds}: {engine.name}"

                def sample(engine: Engine = engine, count: int = count, what: str = what) -> dict:
                    progress(what)
                    others = Others()
                    return {"values": engine.measure(count), "others": others.share()}

                found = kept(folder / f"{digest(what)[:32]}.json", sample) if folder else sample()
                for case, value in found["values"].items():
                    samples[engine.name, case][count].append(value)
                shares[engine.name][count].append(found["others"])
    return [row for case in contest.units for row in _rows(contest, case, samples, shares)]


def _rows(contest: Contest, case: str, samples: dict, shares: dict) -> list[Row]:
    unit, ours = contest.units[case], samples[contest.engines[0].name, case]
    rows = []
    for engine in contest.engines:
        theirs = samples[engine.name, case]
        median = {count: statistics.median(values) for count, values in theirs.items()}
        # Ratios of the same round, for rounds differ more than engines do.
        paired = {count: zip(ours[count], values, strict=True) for count, values in theirs.items()}
        ratio = {count: statistics.median(faster(unit, *pair) for pair in pairs) for count, pairs in paired.items()}
        others = dict(shares[engine.name])
        rows.append(Row(contest.title, case, unit, engine.name, dict(theirs), median, ratio, others))
    for name, cases in contest.quoted.items():
        known = {count: value for count, value in cases.get(case, {}).items() if count in ours}
        ratio = {count: faster(unit, statistics.median(ours[count]), value) for count, value in known.items()}
        if known:
            rows.append(Row(contest.title, case, unit, name, {}, known, ratio, quoted=True))
    return rows


def faster(unit: str, ours: float, theirs: float) -> float:
    """How many times as fast we are: of times the lower is better, of rates the higher."""
    return theirs / ours if unit == "µs" else ours / theirs
