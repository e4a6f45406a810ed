"""One thing at a time, from rounding to three fitted planes: what each step is worth."""

from fit import before, drawn
from lab import Lab
from table import Claim, mean, spread, table
from text import SEEDS, Texts

BEST = "gptq+cd+compensate"
STEPS = {
    "absmean": "absmean",
    "exact thresholds": "exact",
    "scales refitted": "exact+refit",
    "errors passed on (`gptq`)": "gptq",
    "coordinate descent": "gptq+cd",
    "compensation": BEST,
    "groups of 128": BEST + "{group=128}",
    "groups of 64": BEST + "{group=64}",
    "groups of 32": BEST + "{group=32}",
    "two planes": BEST + "{group=32,planes=2}",
    "three planes": BEST + "{group=32,planes=3}",
}


def measure(lab: Lab, texts: Texts) -> dict:
    runs = {step: drawn(lab, texts, recipe, SEEDS) for step, recipe in STEPS.items()}
    return {"before": before(lab, texts)["loss"], "steps": runs}


def markdown(data: dict) -> str:
    rows, last = [], None
    for step, runs in data["steps"].items():
        losses = [run["loss"] for run in runs]
        gain = "" if last is None else f"{mean(losses) - last:+.3f}"
        last = mean(losses)
        bits = mean([run["bits"] for run in runs])
        rows.append([step, f"`{STEPS[step]}`", f"{bits:.2f}", spread(losses), gain, f"{last - data['before']:.3f}"])
    return table(["step", "recipe", "bits", "loss", "change", "above f32"], rows, words=2)


def claims(data: dict) -> list[Claim]:
    losses = {step: mean([run["loss"] for run in runs]) for step, runs in data["steps"].items()}
    changes = {step: losses[step] - then for step, then in zip(list(losses)[1:], losses.values(), strict=False)}
    worse = [f"{step} {change:+.3f}" for step, change in changes.items() if change >= 0]
    least = min(changes, key=changes.get)
    fitted = {step: changes[step] for step in list(changes)[1:5]}
    most = min(fitted, key=fitted.get)
    return [
        Claim(
            "Every step of the ladder helps",
            not worse,
            "; ".join(worse) or f"the most, {least}: {changes[least]:.3f}",
        ),
        Claim(
            "Of what fitting adds at one plane, compensation is worth the most",
            most == "compensation",
            ", ".join(f"{step} {change:+.3f}" for step, change in fitted.items()),
        ),
    ]
