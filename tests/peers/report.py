"""What models came to, as markdown tables."""

import statistics

from machine import described
from trial import TOLERANCE, Result

HEAD = [
    "model",
    "size",
    "imports",
    "largest error",
    "ms Trine",
    "ms onnxruntime",
    "Trine is",
    "compiled",
    "interpreted",
]
WITNESSES = [
    "model", "size", "Trine", "onnxruntime", "without optimizations", "rounding alone",
    "stray nodes of Trine", "stray nodes of onnxruntime",
]  # fmt: skip
NOTES = f"""\
An error is the largest distance of two elements of an output, by the largest magnitude that onnxruntime has there; it
is right up to {TOLERANCE:g}. Of models that are marked int8 the specification decides, below. Steps are those of the
compiled program; milliseconds are medians of turns, and "Trine is" says how many times as fast it is."""
QUANTIZED = """\
Of quantized models, the distance of outputs from what numpy makes of the specification, and by operator how many nodes
make something else of what they are given than is specified. "Rounding alone" is the distance of the specification from
itself with the last bits of its floats changed: where an activation falls between two steps of 8 bits they decide."""


def render(results: list[Result], skipped: dict[str, str], threads: int, machine: dict, versions: dict) -> str:
    lines = [
        f"{described(machine)}; {threads} thread{'s' * (threads > 1)}",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        "",
        summary(results, skipped),
        "",
        *_table(HEAD, 3, [_row(result) for result in results]),
        "",
        NOTES,
    ]
    quantized = [result for result in results if result.witnesses]
    if quantized:
        lines += ["", QUANTIZED, "", *_table(WITNESSES, 2, [_witnesses(result) for result in quantized])]
    lines += [f"Skipped: {name}: {reason}" for name, reason in skipped.items()]
    return "\n".join(lines)


def summary(results: list[Result], skipped: dict[str, str]) -> str:
    models = {result.model for result in results}
    wrong = {result.model for result in results if not result.right}
    text = f"{len(models) - len(wrong)} of {len(models)} models are right at all of their sizes"
    return text + f"; {len(skipped)} {'is' if len(skipped) == 1 else 'are'} skipped" * bool(skipped)


def _table(head: list[str], words: int, rows: list[list[str]]) -> list[str]:
    rule = "|" + "---|" * words + "---:|" * (len(head) - words)
    return [f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]


def _row(result: Result) -> list[str]:
    imports = "yes" if result.imports else "**no**"
    if result.failure and not result.compiled + result.interpreted:
        return [result.model, result.size, imports, f"**fails**: {_cell(result.failure)}", *[""] * 5]
    error = f"{result.error:.1e}" if result.right else f"**{result.error:.1e}**"
    times = ["", "", ""]
    if result.ours and result.theirs:
        ours, theirs = statistics.median(result.ours), statistics.median(result.theirs)
        # Ratios of the same turn, for turns differ more than engines do.
        ratio = statistics.median(b / a for a, b in zip(result.ours, result.theirs, strict=False))
        times = [f"{ours * 1e3:.3g}", f"{theirs * 1e3:.3g}", f"{ratio:.2f}×"]
    elif result.failure:
        times = [_cell(result.failure), "", ""]
    return [result.model, result.size, imports, error, *times, str(result.compiled), str(result.interpreted)]


def _witnesses(result: Result) -> list[str]:
    found = result.witnesses
    values = [f"{value:.1e}" for value in (found.ours, found.theirs, found.plain, found.rounding)]
    return [result.model, result.size, *values, _strays(found.our_strays), _strays(found.their_strays)]


def _strays(strays: dict[str, int]) -> str:
    return ", ".join(f"{count} {operator}" for operator, count in strays.items()) or "none"


def _cell(text: str) -> str:
    short = text if len(text) <= 240 else f"{text[:239]}…"
    return short.replace("|", "\\|").replace("\n", " ")
