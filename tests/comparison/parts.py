"""The parts of the comparison, in the order of the page."""

from dataclasses import dataclass
from types import ModuleType

import budget
import calibration
import features
import ladder
import methods
import recurrent
import smollm2_table
import training


@dataclass(frozen=True)
class Part:
    title: str
    about: str
    # Has `measure(lab, texts)`, and `markdown` and `claims` of what that gives.
    module: ModuleType


SMALL = "`tests/models/lm_float`, four layers of 128 trained as f32"
PARTS = {
    "methods": Part(
        "Methods",
        f"{SMALL}, one plane with a scale a row unless it says otherwise. Scales, offsets, column scales and biases "
        "are counted in the bits; the embedding, which is the head too, is not rounded. relW is ‖W−Q‖²/‖W‖², relX "
        "the same of the outputs, both averaged over 28 layers; seconds are those of the whole command. `±` is half "
        "the range over three texts to fit to, or three seeds of what is drawn. The worst comes first.",
        methods,
    ),
    "ladder": Part("Ladder", f"One thing at a time, on {SMALL}; three texts to fit to.", ladder),
    "calibration": Part(
        "Texts to fit to", f"`{calibration.RECIPE}` at one plane on {SMALL}; three drawings each.", calibration
    ),
    "budget": Part(
        "Bits and what they buy",
        f"`{budget.RECIPE}` with `--bits` on {SMALL}. That no random choice of depths at the same bits beats the "
        "one made is left to a test, `random_assignments_that_cost_no_more_lose_no_less`: the command takes no list "
        "of depths.",
        budget,
    ),
    "recurrent": Part(
        "Recurrent networks without training for it",
        "An LSTM and a GRU of 32 that read digits row by row, trained as f32; percent of 450 digits read right, the "
        "classifier kept. What is drawn is averaged over eight seeds, `±` half the range. λ is the slope of the "
        "gates, σ(λz); these networks were trained with 1.",
        recurrent,
    ),
    "features": Part(
        "Features", "How well classes of digits are told apart: D is inter-class by intra-class distance.", features
    ),
    "training": Part(
        "Training", "`examples/train`, short runs that show an order at best; its README has longer ones.", training
    ),
    "smollm2": Part(
        "SmolLM2-135M",
        "`tests/python/ternary_table.py`: fitted to 16,384 tokens of Python's reference, perplexity of 8,192 others.",
        smollm2_table,
    ),
}
