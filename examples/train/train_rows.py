"""Trains a small LSTM and a small GRU that read scikit-learn's 8x8 digits row by row, and exports both as ONNX.

    target/venv-train/bin/python examples/train/train_rows.py

Writes `rows_lstm.onnx` and `rows_gru.onnx` (opset 17, plain f32 weights: what becomes of them is the compiler's
business), `rows.npz`: the test images as `x` `[examples, 8, 8]`, and their labels `y`; and `images.npz`: all images as
they are, `x` `[1797, 64]` from 0 to 16, and labels.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import optax
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).resolve().parents[2]
HIDDEN, ROWS, PIXELS, CLASSES = 32, 8, 8, 10


class Lstm:
    """Gates `i, o, f, c`, as ONNX orders them."""

    name, op, gates = "rows_lstm", "LSTM", 4

    def step(self, w, state, gates):
        h, c = state
        i, o, f, new = jnp.split(gates + h @ w["r"].T + w["bias_r"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(new)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h


class Gru:
    """Gates `z, r, h`, as ONNX orders them, the reset in front of the product with the state."""

    name, op, gates = "rows_gru", "GRU", 3

    def step(self, w, state, gates):
        h, c = state
        r_zr, r_n = w["r"][: 2 * HIDDEN], w["r"][2 * HIDDEN :]
        b_zr, b_n = w["bias_r"][: 2 * HIDDEN], w["bias_r"][2 * HIDDEN :]
        z, r = jnp.split(jax.nn.sigmoid(gates[:, : 2 * HIDDEN] + h @ r_zr.T + b_zr), 2, -1)
        n = jnp.tanh(gates[:, 2 * HIDDEN :] + (r * h) @ r_n.T + b_n)
        h = (1 - z) * n + z * h
        return (h, c), h


def initial(layer, key):
    rows = layer.gates * HIDDEN
    keys = jax.random.split(key, 3)
    uniform = lambda k, shape, n: jax.random.uniform(k, shape, minval=-1, maxval=1) / np.sqrt(n)
    return {
        "w": uniform(keys[0], (rows, PIXELS), PIXELS),
        "r": uniform(keys[1], (rows, HIDDEN), HIDDEN),
        "bias_w": jnp.zeros(rows),
        "bias_r": jnp.zeros(rows),
        "head": uniform(keys[2], (CLASSES, HIDDEN), HIDDEN),
        "head_bias": jnp.zeros(CLASSES),
    }


def logits(layer, w, x):
    gates = jnp.swapaxes(x, 0, 1) @ w["w"].T + w["bias_w"]
    zero = jnp.zeros((x.shape[0], HIDDEN))
    (h, _), _ = jax.lax.scan(lambda state, g: layer.step(w, state, g), (zero, zero), gates)
    return h @ w["head"].T + w["head_bias"]


def train(layer, x, y, steps, batch, rate, decay, seed):
    weights = initial(layer, jax.random.key(seed))
    schedule = optax.cosine_decay_schedule(rate, steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=decay))

    def loss(w, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(logits(layer, w, x), y).mean()

    @jax.jit
    def update(w, state, x, y):
        gradient = jax.grad(loss)(w, x, y)
        change, state = optimizer.update(gradient, state, w)
        return optax.apply_updates(w, change), state

    state, order = optimizer.init(weights), np.random.default_rng(seed)
    for _ in range(steps):
        some = order.integers(0, len(x), batch)
        weights, state = update(weights, state, x[some], y[some])
    return {name: np.asarray(value, np.float32) for name, value in weights.items()}


def export(layer, w, path):
    constants = {
        "w": w["w"][None],
        "r": w["r"][None],
        "bias": np.concatenate([w["bias_w"], w["bias_r"]])[None],
        "head": w["head"],
        "head_bias": w["head_bias"],
        "last": np.array([0], np.int64),
    }
    states = ["every", "h", "c"][: 3 if layer.op == "LSTM" else 2]
    nodes = [
        helper.make_node("Transpose", ["x"], ["rows"], name="by_rows", perm=[1, 0, 2]),
        helper.make_node(layer.op, ["rows", "w", "r", "bias"], states, name="recurrent", hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["h", "last"], ["state"], name="state"),
        helper.make_node("Gemm", ["state", "head", "head_bias"], ["logits"], name="head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        layer.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", ROWS, PIXELS])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "tests/models/digits", help="folder to write")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--decay", type=float, default=1e-3, help="weight decay")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    pixels = {"x": images.astype(np.uint8), "y": labels.astype(np.uint8)}
    np.savez_compressed(arguments.output / "images.npz", **pixels)
    images = (images.reshape(-1, ROWS, PIXELS) / 16).astype(np.float32)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)
    for layer in (Lstm(), Gru()):
        options = [getattr(arguments, name) for name in ("steps", "batch", "rate", "decay", "seed")]
        weights = train(layer, x, y, *options)
        path = arguments.output / f"{layer.name}.onnx"
        export(layer, weights, path)
        got = onnxruntime.InferenceSession(path).run(None, {"x": x_test})[0]
        off = np.abs(got - logits(layer, weights, x_test)).max()
        print(f"{layer.name}: accuracy {(got.argmax(-1) == y_test).mean():.4f}, onnxruntime is {off:.1e} off")
    np.savez_compressed(arguments.output / "rows.npz", x=x_test, y=y_test.astype(np.int64))


if __name__ == "__main__":
    main()
