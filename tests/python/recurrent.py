"""Makes small models of one recurrent layer each and what onnxruntime answers: NAME.onnx, NAME.in.npz and NAME.out.npz.

    python3 tests/python/env.py tests/python/recurrent.py FOLDER
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from cache import build_once, digest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime_run import write
from ort_session import session

SEQ, BATCH, INPUT, HIDDEN = 7, 3, 5, 6
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}

# Operator, attributes, and which of the optional inputs there are.
CASES = {
    "lstm": ("LSTM", {}, "b"),
    "lstm_plain": ("LSTM", {}, ""),
    "lstm_reverse": ("LSTM", {"direction": "reverse"}, "bhc"),
    "lstm_bidirectional": ("LSTM", {"direction": "bidirectional"}, "bhc"),
    "lstm_peepholes": ("LSTM", {}, "bhcp"),
    "lstm_clip": ("LSTM", {"clip": 0.4}, "b"),
    "lstm_lengths": ("LSTM", {"direction": "bidirectional"}, "bl"),
    "gru": ("GRU", {}, "b"),
    "gru_linear": ("GRU", {"linear_before_reset": 1}, "bh"),
    "gru_reverse": ("GRU", {"direction": "reverse"}, "bh"),
    "gru_bidirectional": ("GRU", {"direction": "bidirectional", "linear_before_reset": 1}, "b"),
    "rnn": ("RNN", {}, "b"),
    "rnn_relu": ("RNN", {"activations": ["Relu"]}, "bh"),
    "rnn_bidirectional": ("RNN", {"direction": "bidirectional"}, "b"),
    "rnn_lengths": ("RNN", {}, "bl"),
}


def make(name: str, folder: Path) -> None:
    operator, attributes, optional = CASES[name]
    random = np.random.default_rng(sum(name.encode()))
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows, lstm = GATES[operator] * HIDDEN, operator == "LSTM"

    def draw(*shape):
        return random.uniform(-1, 1, (directions, *shape)).astype(np.float32)

    constants = {"w": draw(rows, INPUT), "r": draw(rows, HIDDEN)}
    inputs = {"x": random.normal(size=(SEQ, BATCH, INPUT)).astype(np.float32)}
    names = ["x", "w", "r"] + [""] * (5 if lstm else 3)
    if "b" in optional:
        names[3], constants["b"] = "b", draw(2 * rows)
    if "l" in optional:
        names[4], inputs["lengths"] = "lengths", np.array([SEQ, 2, 4], np.int32)
    if "h" in optional:
        names[5], inputs["h0"] = "h0", draw(BATCH, HIDDEN)
    if "c" in optional:
        names[6], inputs["c0"] = "c0", draw(BATCH, HIDDEN)
    if "p" in optional:
        names[7], constants["p"] = "p", draw(3 * HIDDEN)
    outputs = ["y", "h", "c"] if lstm else ["y", "h"]
    types = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}
    graph = helper.make_graph(
        [helper.make_node(operator, names, outputs, name=name, hidden_size=HIDDEN, **attributes)],
        name,
        [helper.make_tensor_value_info(n, types[a.dtype], a.shape) for n, a in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(value, n) for n, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 14)])
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    results = session(path, 1).run(None, inputs)
    write(folder / f"{name}.in.npz", inputs)
    write(folder / f"{name}.out.npz", dict(zip(outputs, results, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    build_once(folder, digest(Path(__file__)), lambda new: [make(name, new) for name in CASES])


if __name__ == "__main__":
    main()
