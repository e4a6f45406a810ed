"""Bits to spend against what they buy, depths chosen a layer (`--bits`)."""

from fit import before, drawn
from lab import Lab
from table import Claim, chain, falls, mean, spread, table
from text import SEEDS, Texts

RECIPE = "gptq+cd+compensate"
BINARY = "binary+gptq+cd+compensate"
DEPTHS = ["binary", "ternary", "2 planes", "3 planes"]
BUDGETS = [1.2, 1.35, 1.5, 1.7, 2.0, 2.5, 3.0, 3.5]


def measure(lab: Lab, texts: Texts) -> dict:
    return {
        "before": before(lab, texts)["loss"],
        "binary": drawn(lab, texts, BINARY, SEEDS),
        "ternary": drawn(lab, texts, RECIPE, SEEDS),
        "two planes": drawn(lab, texts, f"{RECIPE}{{planes=2}}", SEEDS),
        "budgets": {str(bits): drawn(lab, texts, RECIPE, SEEDS, bits=bits) for bits in BUDGETS},
    }


def markdown(data: dict) -> str:
    named = {f"`--bits {bits}`": runs for bits, runs in data["budgets"].items()}
    ends = {f"all {name}": data[name] for name in ("binary", "ternary", "two planes")}
    rows = [
        [name, depths(runs[0]), f"{mean([run['bits'] for run in runs]):.2f}", spread([run["loss"] for run in runs])]
        for name, runs in (ends | named).items()
    ]
    rows.sort(key=lambda row: float(row[2]))
    return table(["", "layers (with the first text)", "bits", "loss"], rows, words=2)


def depths(run: dict) -> str:
    return ", ".join(f"{count} × {depth}" for depth, count in sorted(run["depths"].items(), key=cost))


def cost(depth: tuple[str, int]) -> int:
    return DEPTHS.index(depth[0]) if depth[0] in DEPTHS else len(DEPTHS)


def claims(data: dict) -> list[Claim]:
    def loss(runs: list[dict]) -> float:
        return mean([run["loss"] for run in runs])

    bought = [loss(runs) for runs in data["budgets"].values()]
    binary, ternary = loss(data["binary"]), loss(data["ternary"])
    at_ternary = loss(data["budgets"]["1.7"])
    planes, at_planes = loss(data["two planes"]), loss(data["budgets"]["3.5"])
    return [
        Claim("More bits lose less, at every budget", falls(bought), chain(bought)),
        Claim(
            "A budget between all binary and all ternary has a loss between theirs",
            ternary < loss(data["budgets"]["1.35"]) < binary,
            f"{binary:.3f} binary, {loss(data['budgets']['1.35']):.3f} at 1.35 bits, {ternary:.3f} ternary",
        ),
        Claim(
            "Choosing depths beats one plane everywhere at its bits",
            at_ternary < ternary,
            f"{at_ternary:.3f} at 1.7 bits, {ternary:.3f}",
        ),
        Claim(
            "Choosing depths beats two planes everywhere at 3.5 bits",
            at_planes < planes,
            f"{at_planes:.3f}, two planes {planes:.3f}",
        ),
    ]
