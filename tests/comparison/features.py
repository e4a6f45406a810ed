"""Ternary and binary features: what a threshold does to how well classes are told apart."""

import math

import numpy as np

from lab import ROOT, Lab
from table import Claim, table
from text import Texts

DIGITS = ROOT / "tests" / "models" / "digits"
NEIGHBOURS = [1, 5]


def measure(lab: Lab, texts: Texts) -> dict:
    pixels = texts.folder / "pixels.npz"
    standardize(pixels)
    asked = {
        "pixels, standardized": (DIGITS / "mlp.onnx", pixels, "x"),
        "state of the LSTM": (DIGITS / "rows_lstm.onnx", DIGITS / "rows.npz", "state"),
        "state of the GRU": (DIGITS / "rows_gru.onnx", DIGITS / "rows.npz", "state"),
    }
    found = {
        name: {
            k: lab.ask("features", model, "--data", data, "--value", value, "--neighbours", k) for k in NEIGHBOURS
        }
        for name, (model, data, value) in asked.items()
    }
    found = {name: {str(k): report for k, report in reports.items()} for name, reports in found.items()}
    return {"features": found, "crossovers": {form: crossover(form) for form in ("ternary", "binary")}}


def standardize(path) -> None:
    """scikit-learn's digits, each pixel with mean 0 and deviation 1."""
    images = np.load(DIGITS / "images.npz")
    x = images["x"].astype(np.float64)
    deviation = x.std(axis=0)
    x = np.where(deviation > 0, (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1), 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x=x.astype(np.float32), y=images["y"].astype(np.int64))


def crossover(form: str) -> float:
    """The least μ of two classes N(±μ, 1 − μ²) for which some threshold raises D, by bisection."""
    low, high = 0.5, 0.9
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if gains(form, middle) else (middle, high)
    return 0.5 * (low + high)


def gains(form: str, mu: float) -> bool:
    variance = 1 - mu * mu
    plain = 1 + 2 * mu * mu / variance

    def above(threshold: float, mean: float) -> float:
        return 0.5 * math.erfc((threshold - mean) / math.sqrt(2 * variance))

    def rounded(threshold: float) -> float:
        right, wrong = above(threshold, mu), above(threshold, -mu)
        if form == "ternary":
            within = right + wrong - (right - wrong) ** 2
            return 1 + 2 * (right - wrong) ** 2 / within if within > 0 else 0
        within = right * (1 - right) + wrong * (1 - wrong)
        return 1 + (right - wrong) ** 2 / within if within > 0 else 0

    return max(rounded(i / 500) for i in range(1000)) > plain


def markdown(data: dict) -> str:
    reports = {name: by_k["1"] for name, by_k in data["features"].items()}
    multiples = sorted({point["multiple"] for report in reports.values() for point in report["points"]})
    curve = []
    for name, report in reports.items():
        at = {(point["form"], point["multiple"]): point["D"] for point in report["points"]}
        for form in ("ternary", "binary"):
            values = [at.get((form, multiple)) for multiple in multiples]
            curve.append([name, form, f"{report['D']:.3f}", *("" if v is None else f"{v:.3f}" for v in values)])
    head = ["features", "form", "D as f32", *(f"{multiple:g}" for multiple in multiples)]
    agree = []
    for name, by_k in data["features"].items():
        for i, form in enumerate(("ternary", "binary")):
            best = by_k["1"]["best"][i]["point"]
            shares = [(by_k[str(k)]["neighbours"], by_k[str(k)]["best"][i]["neighbours"]) for k in NEIGHBOURS]
            cells = [f"{100 * share:.1f}" for pair in shares for share in pair]
            agree.append([name, form, f"{best['multiple']:g}", f"{best['zeros']:.0%}", *cells])
    heads = [f"{k} neighbour{'s' * (k > 1)}, {what}" for k in NEIGHBOURS for what in ("f32", "rounded")]
    crossovers = ", ".join(f"{mu:.4f} ({form})" for form, mu in data["crossovers"].items())
    return "\n\n".join(
        [
            "D at thresholds that are multiples of mean|x|:",
            table(head, curve, words=2),
            "How often neighbours are of the same class, in percent, at the threshold with the highest D:",
            table(["features", "form", "threshold", "zeros", *heads], agree, words=2),
            f"The least μ of classes N(±μ, 1 − μ²) from which a threshold is of use, recomputed: {crossovers}.",
        ]
    )


def claims(data: dict) -> list[Claim]:
    found = []
    for name, by_k in data["features"].items():
        report, best = by_k["1"], by_k["1"]["best"][0]
        found.append(
            Claim(
                f"{name[0].upper()}{name[1:]}: a threshold raises D, and the nearest neighbour is right as often",
                best["point"]["D"] > report["D"] and best["neighbours"] >= report["neighbours"],
                f"D {report['D']:.3f} to {best['point']['D']:.3f}, neighbours {100 * report['neighbours']:.1f} % to "
                f"{100 * best['neighbours']:.1f} %",
            )
        )
    crossovers = data["crossovers"]
    return [
        *found,
        Claim(
            "The crossovers are those of the paper's analysis, 0.6635 and 0.7648",
            abs(crossovers["ternary"] - 0.6635) < 1e-4 and abs(crossovers["binary"] - 0.7648) < 1e-4,
            f"{crossovers['ternary']:.4f}, {crossovers['binary']:.4f}",
        ),
    ]
