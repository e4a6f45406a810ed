"""The small language model, made ternary by a recipe: the figures of one row of most tables."""

from pathlib import Path

from lab import ROOT, Lab
from text import Texts

MODEL = ROOT / "tests" / "models" / "lm_float" / "f32.onnx"
CONTEXT = 192
TOKENS = 16384
# Scales of 16 bits; one serves a row unless a recipe says otherwise.
SCALES = "scales=16"


def whole(recipe: str) -> str:
    """The recipe with scales of 16 bits, in front of what options it has."""
    steps, _, options = recipe.partition("{")
    return f"{steps}{{{SCALES},{options}" if options else f"{steps}{{{SCALES}}}"


def fitted(lab: Lab, texts: Texts, recipe: str, text: Path, *, tokens=TOKENS, seed=0, bits=None) -> dict:
    options = ["--bits", bits] if bits else []
    settings = ["--calib", text, "--tokens", tokens, "--seed", seed, "--method", whole(recipe), *options]
    found = lab.ternarized(MODEL, texts.held_out, CONTEXT, *settings)
    layers = found["layers"]

    def average(name: str) -> float:
        return sum(layer[name] for layer in layers) / len(layers)

    depths = [layer["depth"] for layer in layers]
    weights = sum(layer["shape"][0] * layer["shape"][1] for layer in layers)
    zeros = sum(layer["zeros"] * layer["shape"][0] * layer["shape"][1] for layer in layers) / weights
    return {
        "bits": found["bits"],
        "zeros": zeros,
        **{name: average(name) for name in ("relW", "relX", "relX_held_out")},
        "loss": found["held_out"]["loss"],
        "seconds": found["seconds"],
        "depths": {depth: depths.count(depth) for depth in dict.fromkeys(depths)},
    }


def drawn(lab: Lab, texts: Texts, recipe: str, seeds: list[int], **settings) -> list[dict]:
    """The same for several drawings of the text to fit to."""
    return [fitted(lab, texts, recipe, texts.fitted(seed), **settings) for seed in seeds]


def before(lab: Lab, texts: Texts) -> dict:
    """The loss of the model as it is."""
    return lab.ask("perplexity", MODEL, "--text", texts.held_out, "--context", CONTEXT)
