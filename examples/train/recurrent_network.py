"""An LSTM or a GRU that reads the rows of an 8x8 image, and its ONNX spelling.

With `W`, `U` and `V` ternary, x_t row t of the image, Q what makes a state ternary and σ(z) = 1 / (1 + e^(-λz)):

    LSTM    i, f, g, o = W x_t + U h + b        c = σ(f)·c + σ(i)·tanh(g)        h = Q(σ(o)·tanh(c))
    GRU     z, r, n = W x_t + b, plus U h       n = tanh(n_x + σ(r)·n_h)         h = Q(σ(z)·h + (1 - σ(z))·n)

and the logits are V h + d after the last row. λ, the slope, drives the gates to 0 and 1. `c` stays f32. Weights are
kept as `[out, in]`.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from onnx import TensorProto

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/python"))
from graph import Graph  # noqa: E402
from linear import Ternary  # noqa: E402

GATES = {"lstm": 4, "gru": 3}
ROWS = COLUMNS = 8
CLASSES = 10


def shapes(cell, width):
    gates = GATES[cell] * width
    return {
        "input_weight": (gates, COLUMNS),
        "input_bias": (gates,),
        "state_weight": (gates, width),
        "output_weight": (CLASSES, width),
        "output_bias": (CLASSES,),
    }


def logits(cell, slope, weights, x, quantize):
    """`f32[batch, 64]` → `f32[batch, 10]`; `quantize(h, t)` is Q at row `t`."""

    def gate(z):
        return jax.nn.sigmoid(slope * z)

    width = weights["state_weight"].shape[1]
    h = c = jnp.zeros((len(x), width))
    inputs = x.reshape(-1, ROWS, COLUMNS) @ weights["input_weight"].T + weights["input_bias"]
    for t in range(ROWS):
        of_input, of_state = inputs[:, t], h @ weights["state_weight"].T
        if cell == "lstm":
            i, f, g, o = jnp.split(of_input + of_state, 4, axis=-1)
            c = gate(f) * c + gate(i) * jnp.tanh(g)
            h = gate(o) * jnp.tanh(c)
        else:
            (z, r, n), (z_h, r_h, n_h) = (jnp.split(part, 3, axis=-1) for part in (of_input, of_state))
            z, n = gate(z + z_h), jnp.tanh(n + gate(r + r_h) * n_h)
            h = z * h + (1 - z) * n
        h = quantize(h, t)
    return h @ weights["output_weight"].T + weights["output_bias"]


def dense(weight):
    """f32 of a weight as it runs."""
    return weight.dense() if isinstance(weight, Ternary) else weight


def export(path: Path, cell: str, slope: float, weights: dict, round_states: bool) -> None:
    """Writes the network unrolled, in opset 17; weights are f32 arrays or `Ternary`, and Q is Round or nothing."""
    g = Graph(cell, 17)
    h = c = None  # zeros, which need no arithmetic
    g.input("x", TensorProto.FLOAT, ["batch", ROWS * COLUMNS])
    rows = g.op("Reshape", "x", g.ints(-1, ROWS, COLUMNS))
    names = {name: g.weight(name, np.asarray(dense(w)).T) for name, w in weights.items()}
    inputs = _linear(g, rows, "input", names)
    for t in range(ROWS):
        with g.scope(f"row.{t}"):
            of_input = g.op("Gather", inputs, g.constant(t, np.int64), axis=1)
            of_state = _linear(g, h, "state", names) if h else None
            if cell == "lstm":
                h, c = _lstm(g, slope, of_input, of_state, c)
            else:
                h = _gru(g, slope, of_input, of_state, h)
            if round_states:
                h = g.op("Round", h)
    g.op("Identity", _linear(g, h, "output", names), outputs=["logits"])
    g.output("logits", TensorProto.FLOAT, ["batch", CLASSES])
    g.save(path, "trine examples/train")


def _lstm(g, slope, of_input, of_state, c):
    gates = g.op("Add", of_input, of_state) if of_state else of_input
    i, f, u, o = g.op("Split", gates, outputs=4, axis=-1)
    new = g.op("Mul", _gate(g, i, slope), g.op("Tanh", u))
    c = g.op("Add", g.op("Mul", _gate(g, f, slope), c), new) if c else new
    return g.op("Mul", _gate(g, o, slope), g.op("Tanh", c)), c


def _gru(g, slope, of_input, of_state, h):
    z, r, n = g.op("Split", of_input, outputs=3, axis=-1)
    if h:
        z_h, r_h, n_h = g.op("Split", of_state, outputs=3, axis=-1)
        z, r = g.op("Add", z, z_h), g.op("Add", r, r_h)
        n = g.op("Add", n, g.op("Mul", _gate(g, r, slope), n_h))
    z, n = _gate(g, z, slope), g.op("Tanh", n)
    new = g.op("Mul", g.op("Sub", g.constant(1, np.float32), z), n)
    return g.op("Add", g.op("Mul", z, h), new) if h else new


def _gate(g, z, slope):
    return g.op("Sigmoid", g.op("Mul", z, g.constant(slope, np.float32)))


def _linear(g, x, part, names):
    """`x · weightᵀ + bias`; every row of the image has a MatMul of its own, with the same initializer."""
    y = g.op("MatMul", x, names[f"{part}_weight"])
    bias = f"{part}_bias"
    return g.op("Add", y, names[bias]) if bias in names else y
