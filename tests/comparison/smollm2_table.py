"""SmolLM2-135M made ternary: the table of `tests/python/ternary_table.py`, an hour and a half from nothing."""

import re
import sys

from cache import HERE, STAMP, target_dir
from lab import Lab
from process import call
from table import Claim, chain, falls, table
from text import Texts

HEAD = ["recipe", "bits", "perplexity", "times f32", "seconds", "MB"]


def measure(lab: Lab, texts: Texts) -> dict:
    """The rows of the table by recipe."""
    del texts
    folder = target_dir() / "models" / "smollm2"
    call([sys.executable, HERE / "smollm2.py", "--output", folder])
    command = [sys.executable, HERE / "ternary_table.py", folder / "model.onnx", "--trine", lab.trine]
    rows = ["--rows", *lab.rows] if lab.rows else []
    printed = lab.kept("the table of SmolLM2-135M", [folder / STAMP, *rows], lambda: call([*command, *rows]))
    return {"rows": parsed(printed)}


def parsed(printed: str) -> dict[str, list[str]]:
    lines = re.findall(r"^\| (\S.*?) \| (.*) \|$", printed, re.MULTILINE)
    cells = {name: [cell.strip() for cell in rest.split("|")] for name, rest in lines}
    return {name: cells for name, cells in cells.items() if name != HEAD[0] and not name.startswith("--")}


def markdown(data: dict) -> str:
    return table(HEAD, [[name, *cells] for name, cells in data["rows"].items()])


def claims(data: dict) -> list[Claim]:
    def perplexity(name: str) -> float | None:
        return float(data["rows"][name][1]) if name in data["rows"] else None

    order = ["exact, 1 plane", "gptq, 1 plane", "gptq+cd, 1 plane", "gptq+cd+compensate, 1 plane"]
    ours = {name: perplexity(name) for name in order if name in data["rows"]}
    values = list(ours.values())
    found = []
    if len(values) > 1:
        text = f"SmolLM2-135M: each of {'; '.join(ours)} has a lower perplexity than the one before"
        found.append(Claim(text, falls(values), chain(values, 1)))
    base, three = perplexity("f32"), perplexity("gptq+cd+compensate, 3 planes")
    if base and three:
        text = "SmolLM2-135M: three planes are below 1.08 times f32's, llama.cpp's Q3_K_M"
        found.append(Claim(text, three / base < 1.08, f"{three / base:.3f}"))
    two = perplexity("gptq+cd+compensate, 2 planes")
    if base and two:
        text = "SmolLM2-135M: two planes are below 1.26 times f32's, llama.cpp's IQ2_M"
        found.append(Claim(text, two / base < 1.26, f"{two / base:.3f}"))
    return found
