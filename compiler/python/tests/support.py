"""Where the tests' models are, and models that are made on the way."""

import os
import unittest
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

MODELS = Path(__file__).resolve().parents[3] / "tests" / "models"
MLP = MODELS / "digits" / "mlp.onnx"
LM = MODELS / "lm" / "f32.onnx"


def reference(name: str) -> np.ndarray:
    """What the Rust library gave, as the test that started this one wrote it."""
    path = os.environ.get("TRINE_REFERENCE")
    if not path:
        raise unittest.SkipTest("TRINE_REFERENCE names no file: tests/wheel.rs writes one")
    with np.load(path) as arrays:
        return arrays[name]


def images(count: int = 3) -> np.ndarray:
    with np.load(MODELS / "digits" / "data.npz") as data:
        return data["mlp.x"][:count]


def model(nodes, inputs, outputs, initializers=(), opset: int = 23) -> bytes:
    """An ONNX model; inputs and outputs are `(name, type, shape)`."""
    info = [[helper.make_tensor_value_info(*value) for value in values] for values in (inputs, outputs)]
    graph = helper.make_graph(nodes, "test", *info, list(initializers))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=11)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def identity(elem: int, shape) -> bytes:
    return model([helper.make_node("Identity", ["x"], ["y"])], [("x", elem, shape)], [("y", elem, shape)])


def addition() -> bytes:
    """`y = a + b` of floats, whose sizes are open."""
    shape = ["rows", 4]
    values = [(name, TensorProto.FLOAT, shape) for name in ("a", "b")]
    return model([helper.make_node("Add", ["a", "b"], ["y"])], values, [("y", TensorProto.FLOAT, shape)])


def same_bits(got: np.ndarray, want: np.ndarray) -> bool:
    return got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()
