"""Markdown tables, means with what they vary by, and sentences that figures make true or false."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A sentence about the figures of a part, and whether they say so."""

    text: str
    holds: bool
    figures: str

    def line(self) -> str:
        return f"- {self.text}: {'yes' if self.holds else '**no**'} ({self.figures})."


def table(head: list[str], rows: list[list[str]], words: int = 1) -> str:
    """The first `words` columns are words, the others figures."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def mean(values: list[float]) -> float:
    return statistics.fmean(values)


def spread(values: list[float], digits: int = 3) -> str:
    """The mean, and behind it half of the range where there is one."""
    text = f"{mean(values):.{digits}f}"
    half = (max(values) - min(values)) / 2
    return f"{text} ± {half:.{digits}f}" if half >= 0.5 * 10**-digits else text


def falls(values: list[float]) -> bool:
    """Whether each is less than the one before it."""
    return all(after < before for before, after in zip(values, values[1:], strict=False))


def chain(values: list[float], digits: int = 3) -> str:
    return " → ".join(f"{value:.{digits}f}" for value in values)
