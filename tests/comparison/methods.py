"""Every method that runs on weights, by the same measures."""

import math
import re

from fit import before, drawn, fitted
from lab import Lab
from process import call
from table import Claim, chain, falls, mean, spread, table
from text import SEEDS, Texts

# Of the list of methods, what each comes to: those of weights alone, those that draw numbers, those that are fitted.
WEIGHTS = [
    *("absmean", "absmean{group=128}", "absmean+tequila{group=128}", "twn", "twn75", "exact", "hypersphere"),
    *("iterative", "asymmetric", "three-means", "ttq-init", "half-std", "equal-mass", "equal-interval", "binary"),
    *("smart", "sparse34", "exact{normalize_rows=true}", "exact{planes=2}", "tied", "ptqtp"),
]
DRAWN = ["bernoulli"]
FITTED = [
    *("absmean+dead-bias{group=128}", "absmean+bias{group=128}", "exact+bias", "exact+refit", "exact+refit+offset"),
    *("exact+columns", "exact+angle", "admm", "three-means+refit", "three-means+slq", "slq", "slq+compensate"),
    *("sparse34+refit", "binary+gptq+cd+compensate", "smart+gptq+cd+compensate", "gptq", "gptq+cd"),
    *("gptq+cd+compensate", "gptq+cd+compensate+columns", "gptq+cd+compensate+bias", "three-means+gptq+cd+compensate"),
    *("gptq+cd+compensate{planes=2}", "gptq+cd+compensate{group=128,planes=2}"),
]
# Minutes each: fitted to one text.
SLOW = ["extragradient"]


def measure(lab: Lab, texts: Texts) -> dict:
    check(call([lab.trine, "ternarize", "--list"]))
    first = texts.fitted(SEEDS[0])
    rows = {recipe: [fitted(lab, texts, recipe, first)] for recipe in [*WEIGHTS, *SLOW]}
    rows |= {recipe: [fitted(lab, texts, recipe, first, seed=seed) for seed in SEEDS] for recipe in DRAWN}
    rows |= {recipe: drawn(lab, texts, recipe, SEEDS) for recipe in FITTED}
    return {"before": before(lab, texts), "held_out": texts.count(), "rows": rows}


def check(listed: str) -> None:
    """Refuses a method of weights or calibration that no recipe here has."""
    there = set(re.findall(r"^(\S+)\s+tier [12],", listed, re.MULTILINE))
    used = {step for recipe in recipes() for step in steps(recipe)}
    if there != used:
        raise SystemExit(f"methods.py and `trine ternarize --list` differ: {', '.join(sorted(there ^ used))}")


def recipes() -> list[str]:
    return [*WEIGHTS, *DRAWN, *FITTED, *SLOW]


def steps(recipe: str) -> list[str]:
    return recipe.partition("{")[0].split("+")


def markdown(data: dict) -> str:
    rows = sorted(data["rows"].items(), key=lambda row: -mean([one["loss"] for one in row[1]]))
    head = ["recipe", "bits", "zeros", "relW", "relX", "relX held out", "loss", "times f32", "seconds"]
    return table(head, [[f"`{recipe}`", *cells(runs, data["before"]["loss"])] for recipe, runs in rows])


def cells(runs: list[dict], f32: float) -> list[str]:
    of = {name: [run[name] for run in runs] for name in runs[0] if name != "depths"}
    times = math.exp(mean(of["loss"]) - f32)
    return [
        f"{mean(of['bits']):.2f}",
        f"{mean(of['zeros']):.0%}",
        *(spread(of[name]) for name in ("relW", "relX", "relX_held_out", "loss")),
        f"{times:.2f}",
        f"{mean(of['seconds']):.0f}",
    ]


def losses(data: dict, *recipes: str) -> list[float]:
    return [mean([run["loss"] for run in data["rows"][recipe]]) for recipe in recipes]


def claims(data: dict) -> list[Claim]:
    rows, f32 = data["rows"], data["before"]["loss"]
    order = ["twn", "exact", "exact+refit", "admm", "gptq", "gptq+cd", "gptq+cd+compensate"]
    ours = losses(data, *order)
    one_plane = {name: runs for name, runs in rows.items() if mean([run["bits"] for run in runs]) < 2.1}

    def best(measure: str) -> str:
        return min(one_plane, key=lambda name: mean([run[measure] for run in one_plane[name]]))

    by_weights, by_loss = best("relW"), best("loss")
    (weights_loss,), (least,) = losses(data, by_weights), losses(data, by_loss)
    plain, biased, whole = losses(data, "gptq+cd+compensate", "gptq+cd+compensate+bias", "gptq+cd+compensate+columns")
    absmean, tequila, dead = losses(
        data, "absmean{group=128}", "absmean+tequila{group=128}", "absmean+dead-bias{group=128}"
    )
    planes = losses(data, "exact{planes=2}", "ptqtp", "gptq+cd+compensate{planes=2}")
    slow, fast = (mean([run["seconds"] for run in rows[name]]) for name in ("extragradient", "admm"))
    (all_errors,) = losses(data, "absmean+bias{group=128}")
    binary = sum(run["depths"].get("binary", 0) for run in rows["smart"])
    return [
        Claim(
            f"Each of {', '.join(f'`{name}`' for name in order)} loses less than the one before",
            falls(ours),
            chain(ours),
        ),
        Claim(
            "The one-plane recipe with the least relW has the least loss too",
            by_weights == by_loss,
            f"`{by_weights}` {weights_loss:.3f}, `{by_loss}` {least:.3f}",
        ),
        Claim(
            "A bias of the dead weights' sum (Tequila's λ = 0.001, no training) helps absmean by 0.01",
            tequila < absmean - 0.01,
            f"{absmean:.3f} without, {tequila:.3f} with",
        ),
        Claim(
            "The calibrated bias of the dead weights helps absmean",
            dead < absmean,
            f"{absmean:.3f}, {dead:.3f} with it",
        ),
        Claim("A bias for all errors helps absmean", all_errors < absmean, f"{absmean:.3f}, {all_errors:.3f} with it"),
        Claim("A bias for all errors helps the best recipe", biased < plain, f"{plain:.3f}, {biased:.3f} with it"),
        Claim("Scaled columns help the best recipe", whole < plain, f"{plain:.3f}, {whole:.3f} with them"),
        Claim("`extragradient` takes no longer than `admm`", slow <= fast, f"{slow:.0f} s, {fast:.0f} s"),
        Claim("`smart` finds a matrix that had better be binary", binary > 0, f"{binary} of 28, by the weights alone"),
        Claim(
            "Fitting matters with two planes too: each of `exact{planes=2}`, `ptqtp` and "
            "`gptq+cd+compensate{planes=2}` loses less than the one before",
            falls(planes),
            f"{chain(planes)}; f32 {f32:.3f}",
        ),
    ]
