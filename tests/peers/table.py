"""What was measured as one markdown table."""

import statistics

import quoted
from contest import Row
from machine import described

NOTES = f"""\
"Trine is" says how many times as fast the first row of Trine at the same case is: the median of the ratios of rounds.
Rows marked † are quoted: {quoted.SOURCE}, and not run here. A layer's weights come from memory.
llama.cpp computes the logits of the last token of a prompt, the others those of every token."""


def render(rows: list[Row], threads: list[int], machine: dict, versions: dict) -> str:
    head = [
        f"{described(machine)}; {disturbance(rows)}",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
    columns = [f"| {count} thread{'s' * (count > 1)} | Trine is " for count in threads]
    lines = ["| what | engine " + "".join(columns) + "|", "|---|---|" + "---:|---:|" * len(threads)]
    for row in rows:
        cells = [f"{number(row.median[c])} | {row.ratio[c]:.2f}×" if c in row.median else " | " for c in threads]
        name = f"{row.engine} †" if row.quoted else row.engine
        lines.append(f"| {row.title}, {row.case}, {row.unit} | {name} | {' | '.join(cells)} |")
    return "\n".join([*head, "", *lines, "", NOTES])


def disturbance(rows: list[Row]) -> str:
    shares = [share for row in rows for shares in row.others.values() for share in shares]
    return f"others took {statistics.median(shares):.0%} of its CPU time, at most {max(shares):.0%}"


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
