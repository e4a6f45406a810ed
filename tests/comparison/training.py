"""What training adds: each flag of the small language model's trainer, and HitNet's networks."""

import re

from lab import Lab
from table import Claim, table
from text import Texts

# Enough to see an order; the README of the trainers has longer runs.
STEPS = 300
HITNET_STEPS = 1000
# Nats that another seed changes.
SEED = 0.03
FLAGS = [
    "",
    "--weights f32",
    "--tequila",
    "--gradual",
    "--no-norm",
    "--no-norm --gradual",
    "--hypersphere 1",
    "--smart 0.03",
    "--int8-activations",
]
STATES = {
    "f32, f32": "--weights f32 --state f32",
    "ternary, f32": "--state f32",
    "ternary, rounded in training too": "--state rounded",
    "ternary, Bernoulli in training": "--state bernoulli",
    "the same, λ = 1": "--state bernoulli --slope 1",
}
CELLS = ["lstm", "gru"]


def measure(lab: Lab, texts: Texts) -> dict:
    made = lab.folder / "trained"
    steps = lab.steps or STEPS
    common = ["--steps", steps, "--minutes", 600, "--samples", 0, "--cache", texts.downloads, "--output", made]
    losses = {}
    for flags in FLAGS:
        printed = lab.trained("train_lm.py", *flags.split(), *common)
        losses[flags] = float(re.search(r"^held-out loss (\S+) nats", printed, re.MULTILINE)[1])
    printed = lab.trained("train_lm.py", "--table", *common)
    rows = re.findall(r"^\| (with extra norms|without) \| (\S+) \| (\S+) \|$", printed, re.MULTILINE)
    rnn_steps = lab.steps or HITNET_STEPS
    hitnet = {}
    for name, flags in STATES.items():
        for cell in CELLS:
            options = [*flags.split(), "--cell", cell, "--steps", rnn_steps, "--output", made / f"{cell}.onnx"]
            printed = lab.trained("train_rnn.py", *options)
            accuracy, loss = re.search(r"test accuracy (\S+), loss (\S+) nats", printed).groups()
            hitnet[f"{name}, {cell}"] = {"accuracy": float(accuracy), "loss": float(loss)}
    norms = {name: [float(one), float(gradual)] for name, one, gradual in rows}
    return {"steps": steps, "losses": losses, "norms": norms, "hitnet_steps": rnn_steps, "hitnet": hitnet}


def markdown(data: dict) -> str:
    losses = [[f"`{flags}`" if flags else "(none)", f"{loss:.3f}"] for flags, loss in data["losses"].items()]
    norms = [[name, *(f"{loss:.3f}" for loss in pair)] for name, pair in data["norms"].items()]

    def cell(name: str, kind: str) -> str:
        found = data["hitnet"][f"{name}, {kind}"]
        return f"{100 * found['accuracy']:.1f} %, {found['loss']:.3f}"

    hitnet = [[name, *(cell(name, kind) for kind in CELLS)] for name in STATES]
    return "\n\n".join(
        [
            f"Language models after {data['steps']} steps of 6 windows of 192 tokens, held-out loss, one seed:",
            table(["flags of `train_lm.py`", "loss"], losses),
            "`train_lm.py --table`:",
            table(["", "λ = 1 throughout", "λ from 0 to 1 by layer"], norms),
            f"HitNet after {data['hitnet_steps']} steps, test accuracy and cross entropy, one seed:",
            table(["weights, states", "LSTM", "GRU"], hitnet),
        ]
    )


def claims(data: dict) -> list[Claim]:
    losses, norms, hitnet = data["losses"], data["norms"], data["hitnet"]
    plain = losses[""]
    helped = {flags: losses[flags] for flags in ("--tequila", "--gradual", "--hypersphere 1", "--smart 0.03")}
    (with_one, with_gradual), (one, gradual) = norms["with extra norms"], norms["without"]
    share = {name: found["accuracy"] for name, found in hitnet.items()}
    return [
        *(
            Claim(f"`{flags}` saves {SEED} on plain straight-through", loss < plain - SEED, f"{loss:.3f}, {plain:.3f}")
            for flags, loss in helped.items()
        ),
        Claim("Extra norms help where λ is 1 throughout", with_one < one, f"{with_one:.3f}, {one:.3f} without"),
        Claim(
            "Extra norms help where λ goes from 0 to 1",
            with_gradual < gradual,
            f"{with_gradual:.3f}, {gradual:.3f} without",
        ),
        *(
            Claim(
                f"HitNet, {cell.upper()}: states by chance in training are better than rounded ones",
                share[f"ternary, Bernoulli in training, {cell}"] > share[f"ternary, rounded in training too, {cell}"],
                f"{100 * share[f'ternary, Bernoulli in training, {cell}']:.1f} %, "
                f"{100 * share[f'ternary, rounded in training too, {cell}']:.1f} %",
            )
            for cell in CELLS
        ),
    ]


