"""ONNX graphs evaluated by numpy, from the operators' documentation: a witness that shares no code with any engine.

It knows the operators that quantized models of `zoo.py` have. Sums are exact: integers are wide, and products of floats
are summed in f64. Everything else is computed in f32, as the graph says. Where an activation falls between two steps of
8 bits, the last bit of a float decides, and all that follows moves with it; so a witness that is given a generator of
random numbers changes the last bit of what each operator computes, which shows how much of a difference is rounding.
Slow, and no shape is inferred.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

Array = np.ndarray
Operator = Callable[["Node"], list[Array]]


class Unknown(Exception):
    """An operator that is not written here."""


class Specification:
    """A model, to be run on feeds."""

    def __init__(self, path: Path, rounding: np.random.Generator | None = None):
        self._model = onnx.load(path)
        graph = self._model.graph
        self._rounding = rounding
        self._nodes, self._outputs = graph.node, [output.name for output in graph.output]
        self._constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        missing = sorted({node.op_type for node in graph.node} - OPERATORS.keys())
        if missing:
            raise Unknown(", ".join(missing))

    def run(self, feed: dict[str, Array]) -> dict[str, Array]:
        values = self._evaluate(feed)
        return {name: values[name] for name in self._outputs}

    def expose(self, feed: dict[str, Array], path: Path) -> None:
        """Writes the model with all values for outputs, so that an engine tells them."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        values = self._evaluate(feed)
        for name in self._computed():
            if name not in self._outputs:
                elem = helper.np_dtype_to_tensor_dtype(values[name].dtype)
                model.graph.output.append(helper.make_tensor_value_info(name, elem, None))
        onnx.save(model, path)

    def strays(self, feed: dict[str, Array], found: dict[str, Array]) -> Counter[str]:
        """Operators of nodes that made something else of what an engine gave them than is specified."""
        values = self._constants | feed | found
        strays: Counter[str] = Counter()
        for node in self._nodes:
            results = _evaluated(node, [values.get(name) for name in node.input])
            values |= {name: r for name, r in zip(node.output, results, strict=False) if name not in found}
            pairs = [(r, found[name]) for name, r in zip(node.output, results, strict=False) if name in found]
            strays[node.op_type] += not all(_agree(*pair) for pair in pairs)
        return +strays

    def _computed(self) -> list[str]:
        return [name for node in self._nodes if node.op_type != "Constant" for name in node.output if name]

    def _evaluate(self, feed: dict[str, Array]) -> dict[str, Array]:
        values = self._constants | feed
        for node in self._nodes:
            results = _evaluated(node, [values.get(name) for name in node.input])
            if self._rounding and node.op_type not in EXACT:
                results = [self._moved(result) for result in results]
            values |= {name: result for name, result in zip(node.output, results, strict=False) if name}
        return values

    def _moved(self, values: Array) -> Array:
        """Floats by at most one unit of their last place."""
        if values.dtype.kind != "f":
            return values
        directions = self._rounding.choice(np.array([-np.inf, 0, np.inf], values.dtype), values.shape)
        with np.errstate(over="ignore"):
            return np.where(directions == 0, values, np.nextafter(values, directions))


def _evaluated(node: NodeProto, inputs: list[Array | None]) -> list[Array]:
    """The results of one node."""
    with np.errstate(all="ignore"):
        # Numpy gives scalars for arrays without axes.
        results = [np.asarray(result) for result in OPERATORS[node.op_type](Node(node, inputs))]
    # Sums of f64 are rounded once.
    return [result.astype(np.float32) if result.dtype.kind == "f" else result for result in results]


def _agree(expected: Array, found: Array) -> bool:
    """Integers of 8 bits may lie on either side of a half, floats apart by what a sum in another order makes."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    if expected.dtype.kind == "f":
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
        return np.allclose(found, expected, rtol=0, atol=1e-4 * scale, equal_nan=True)
    if expected.dtype == np.uint8:
        return int(np.abs(expected.astype(int) - found).max(initial=0)) <= 1
    return np.array_equal(expected, found)


class Node:
    """A node with the values it reads; those that are left out are None."""

    def __init__(self, proto: NodeProto, inputs: list[Array | None]):
        self.inputs = inputs
        self._attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}

    def __getitem__(self, index: int) -> Array | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def get(self, name: str, default=None):
        return self._attributes.get(name, default)

    def ints(self, index: int, name: str | None = None) -> list[int] | None:
        """An input that old operator sets have as an attribute."""
        given = self[index] if self[index] is not None else self.get(name)
        return None if given is None else [int(i) for i in np.ravel(given)]


def elementwise(function: Callable[..., Array]) -> Operator:
    return lambda node: [function(*node.inputs)]


def _constant(node: Node) -> list[Array]:
    return [numpy_helper.to_array(node.get("value"))]


def _constant_of_shape(node: Node) -> list[Array]:
    value = node.get("value")
    fill = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
    return [np.full([int(d) for d in node[0]], fill[0])]


def _cast(node: Node) -> list[Array]:
    return [node[0].astype(helper.tensor_dtype_to_np_dtype(node.get("to")))]


def _concat(node: Node) -> list[Array]:
    return [np.concatenate(node.inputs, node.get("axis"))]


def _div(node: Node) -> list[Array]:
    a, b = node.inputs
    # Integers are divided towards zero.
    return [a / b if a.dtype.kind == "f" else (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)]


def _expand(node: Node) -> list[Array]:
    return [node[0] * np.ones([int(d) for d in node[1]], node[0].dtype)]


def _gather(node: Node) -> list[Array]:
    return [np.take(node[0], node[1], node.get("axis", 0))]


def _range(node: Node) -> list[Array]:
    return [np.arange(*(value.item() for value in node.inputs)).astype(node[0].dtype)]


def _reduce_mean(node: Node) -> list[Array]:
    axes = node.ints(1, "axes")
    return [np.mean(node[0], None if axes is None else tuple(axes), keepdims=bool(node.get("keepdims", 1)))]


def _reshape(node: Node) -> list[Array]:
    dims = [int(d) for d in node[1]]
    if not node.get("allowzero", 0):
        dims = [node[0].shape[i] if d == 0 else d for i, d in enumerate(dims)]
    return [node[0].reshape(dims)]


def _scatter_nd(node: Node) -> list[Array]:
    result, indices = node[0].copy(), node[1]
    for place in np.ndindex(*indices.shape[:-1]):
        result[tuple(indices[place])] = node[2][place]
    return [result]


def _shape(node: Node) -> list[Array]:
    return [np.array(node[0].shape[slice(node.get("start", 0), node.get("end"))], np.int64)]


def _slice(node: Node) -> list[Array]:
    starts, ends = node.ints(1, "starts"), node.ints(2, "ends")
    axes = node.ints(3, "axes") or list(range(len(starts)))
    steps = node.ints(4) or [1] * len(starts)
    cut = [slice(None)] * node[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = node[0].shape[axis]
        # Backwards, an end before the first element is none; python would count it from the back.
        cut[axis] = slice(start, None if step < 0 and end < -size else end, step)
    return [node[0][tuple(cut)]]


def _softmax(node: Node) -> list[Array]:
    powers = np.exp(node[0] - node[0].max(node.get("axis", -1), keepdims=True))
    return [powers / powers.sum(node.get("axis", -1), keepdims=True)]


def _squeeze(node: Node) -> list[Array]:
    axes = node.ints(1, "axes")
    return [np.squeeze(node[0], None if axes is None else tuple(axes))]


def _transpose(node: Node) -> list[Array]:
    return [np.transpose(node[0], node.get("perm"))]


def _unsqueeze(node: Node) -> list[Array]:
    return [np.expand_dims(node[0], tuple(node.ints(1, "axes")))]


def _arg_max(node: Node) -> list[Array]:
    found = np.argmax(node[0], node.get("axis", 0))
    return [np.expand_dims(found, node.get("axis", 0)) if node.get("keepdims", 1) else found]


def _matmul(node: Node) -> list[Array]:
    return [np.matmul(node[0].astype(np.float64), node[1].astype(np.float64))]


def _matmul_integer(node: Node) -> list[Array]:
    a, b = (_centred(node[i], node[i + 2], axis) for i, axis in ((0, -2), (1, -1)))
    return [np.matmul(a, b).astype(np.int32)]


def _centred(values: Array, zero: Array | None, axis: int) -> Array:
    """Without its zero point, of which there may be one a row or column; f64 holds every sum of such products."""
    if zero is None:
        return values.astype(np.float64)
    zero = zero.astype(np.float64)
    if zero.ndim == 1 and zero.size > 1 and axis == -2:
        zero = zero[:, None]
    return values.astype(np.float64) - zero


def _conv_integer(node: Node) -> list[Array]:
    x, w = _centred(node[0], node[2], 0), node[1].astype(np.float64)
    if node[3] is not None:
        w = w - node[3].astype(np.float64).reshape(-1, *[1] * (w.ndim - 1))
    if node.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Unknown("ConvInteger with auto_pad")
    rank = w.ndim - 2
    pads = list(node.get("pads", [0] * 2 * rank))
    strides, steps = node.get("strides", [1] * rank), node.get("dilations", [1] * rank)
    # Padding is the zero point, which is 0 here.
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    spans = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], steps, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, tuple(range(2, 2 + rank)))
    windows = windows[(..., *(slice(None, None, s) for s in strides), *[slice(None)] * rank)]
    windows = windows[(..., *(slice(None, None, d) for d in steps))]
    groups = node.get("group", 1)
    windows, kernels = np.split(windows, groups, 1), np.split(w, groups, 0)
    over = [1, *range(2 + rank, 2 + 2 * rank)]
    sums = [np.tensordot(a, b, (over, range(1, b.ndim))) for a, b in zip(windows, kernels, strict=True)]
    return [np.concatenate([np.moveaxis(s, -1, 1) for s in sums], 1).astype(np.int32)]


def _dynamic_quantize(node: Node) -> list[Array]:
    return list(quantized(node[0]))


def quantized(x: Array) -> tuple[Array, Array, Array]:
    """Elements, scale and zero point: 8 bits over a range that has 0 in it, halves to even."""
    low, high = min(x.min(), 0), max(x.max(), 0)
    scale = x.dtype.type((high - low) / x.dtype.type(255))
    if scale == 0:
        return np.zeros(x.shape, np.uint8), scale, np.uint8(0)
    zero = np.uint8(np.clip(np.rint(-low / scale), 0, 255))
    return np.clip(np.rint(x / scale) + x.dtype.type(zero), 0, 255).astype(np.uint8), scale, zero


def _dequantize(node: Node) -> list[Array]:
    x, scale, zero = node[0], node[1], node[2]
    if scale.ndim:
        dims = [1] * x.ndim
        dims[node.get("axis", 1)] = -1
        scale, zero = scale.reshape(dims), None if zero is None else zero.reshape(dims)
    centred = x.astype(np.int64) - (0 if zero is None else zero.astype(np.int64))
    return [centred.astype(scale.dtype) * scale]


def _dynamic_quantize_lstm(node: Node) -> list[Array]:
    """Weights are `[directions, inputs, 4 * hidden]`; gates stand in the order input, output, forget, cell.

    Its documentation does not say over which values activations share a scale. They stay floats here, as in the
    LSTM that was quantized, of which any 8 bits are an approximation.
    """
    if node[4] is not None or node[7] is not None or node.get("activations"):
        raise Unknown("DynamicQuantizeLSTM with lengths, peepholes or activations")
    directions = {b"forward": [1], b"reverse": [-1], b"bidirectional": [1, -1]}[node.get("direction", b"forward")]
    x, hidden = node[0], node.get("hidden_size")
    y = np.zeros((len(x), len(directions), x.shape[1], hidden), np.float32)
    last_h, last_c = [], []
    for d, step in enumerate(directions):
        w = _weights(node[1][d], node[8][d], node[9][d])
        r = _weights(node[2][d], node[10][d], node[11][d])
        bias = node[3][d][: 4 * hidden] + node[3][d][4 * hidden :] if node[3] is not None else 0
        h, c = (np.zeros((x.shape[1], hidden), np.float32) if node[i] is None else node[i][d] for i in (5, 6))
        from_x = x.astype(np.float64) @ w
        for t in range(len(x))[::step]:
            sums = (from_x[t] + h.astype(np.float64) @ r).astype(np.float32) + bias
            i, o, f, g = np.split(sums, 4, -1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
            y[t, d] = h
        last_h.append(h)
        last_c.append(c)
    return [y, np.stack(last_h), np.stack(last_c)]


def _weights(weights: Array, scale: Array, zero: Array) -> Array:
    return (weights.astype(np.float64) - zero.astype(np.float64)) * scale.astype(np.float64)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# Operators that compute no float, or move it unchanged.
EXACT = {
    "Abs", "Concat", "Constant", "ConstantOfShape", "Expand", "Floor", "Gather", "Identity", "Min", "Neg", "Reshape",
    "ScatterND", "Slice", "Squeeze", "Transpose", "Unsqueeze", "Where", "Cast", "Range",
}  # fmt: skip

OPERATORS: dict[str, Operator] = {
    "Abs": elementwise(np.abs),
    "Add": elementwise(np.add),
    "ArgMax": _arg_max,
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "ConvInteger": _conv_integer,
    "DequantizeLinear": _dequantize,
    "Div": _div,
    "DynamicQuantizeLSTM": _dynamic_quantize_lstm,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "Equal": elementwise(np.equal),
    "Expand": _expand,
    "Floor": elementwise(np.floor),
    "Gather": _gather,
    "Greater": elementwise(np.greater),
    "Identity": elementwise(np.copy),
    "Less": elementwise(np.less),
    "Log": elementwise(np.log),
    "MatMul": _matmul,
    "MatMulInteger": _matmul_integer,
    "Min": elementwise(np.minimum),
    "Mul": elementwise(np.multiply),
    "Neg": elementwise(np.negative),
    "Pow": elementwise(np.power),
    "Range": _range,
    "ReduceMean": _reduce_mean,
    "Reshape": _reshape,
    "ScatterND": _scatter_nd,
    "Shape": _shape,
    "Sigmoid": elementwise(_sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Sqrt": elementwise(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": elementwise(np.subtract),
    "Tanh": elementwise(np.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": elementwise(np.where),
}
