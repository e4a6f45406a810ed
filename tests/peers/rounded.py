"""Linear layers rounded for onnxruntime: int8 by dynamic quantization, and MatMulNBits of 2, 4 and 8 bits.

Also in whole models, whose layers are replaced one by one, and which are written again with all else as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graph import PAGE
from linear import pack

BITS = {"nbits2": 2, "nbits4": 4, "nbits8": 8}
SPELLINGS = ["int8", *BITS]
# Not all rows are rounded at once: what is between weights and codes is larger than both.
ROWS = 4096


@dataclass(frozen=True)
class Rounded:
    """A layer as an operator of `com.microsoft`, without its first input. Tensors are named by a suffix."""

    op_type: str
    tensors: dict[str, np.ndarray]
    attributes: dict[str, int]


def rounded(weight: np.ndarray, spelling: str, block: int) -> Rounded:
    """`weight` is f32 `[out, in]`; `block` is for MatMulNBits, which may sum in int8 (accuracy_level 4)."""
    if spelling == "int8":
        scale = np.abs(weight).max(axis=1, keepdims=True) / np.float32(127)
        codes = np.rint(weight / np.where(scale == 0, np.float32(1), scale)).astype(np.int8)
        return Rounded("DynamicQuantizeMatMul", {"i8": np.ascontiguousarray(codes.T), "scale": scale[:, 0]}, {})
    bits, (n, k) = BITS[spelling], weight.shape
    codes, scales = blocks(weight, bits, block)
    attributes = {"K": k, "N": n, "bits": bits, "block_size": block, "accuracy_level": 4}
    return Rounded("MatMulNBits", {f"Q{bits}": codes, "scales": scales}, attributes)


def blocks(weight: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Packed codes u8 `[out, blocks, bytes]` and scales f32 `[out, blocks]`.

    The zero point is the one that MatMulNBits assumes, the middle of the codes.
    """
    n, k = weight.shape
    if k % block:
        raise SystemExit(f"{k} inputs are not blocks of {block}")
    packed = np.empty((n, k // block, block * bits // 8), np.uint8)
    scales = np.empty((n, k // block), np.float32)
    for rows in (slice(start, start + ROWS) for start in range(0, n, ROWS)):
        codes, scales[rows] = _codes(weight[rows].reshape(-1, k // block, block), 1 << bits - 1)
        packed[rows] = pack(codes.reshape(-1), bits).reshape(packed[rows].shape)
    return packed, scales


def _codes(values: np.ndarray, middle: int) -> tuple[np.ndarray, np.ndarray]:
    # As many steps up as down: zero and both ends are exact, so ternary weights are.
    scales = np.abs(values).max(axis=2, keepdims=True) / np.float32(middle - 1)
    codes = np.rint(values / np.where(scales == 0, np.float32(1), scales)) + middle
    return codes.astype(np.uint8), scales[:, :, 0]


def rewrite(source: Path, output: Path, spelling_of: Callable[[str], str | None], block: int) -> None:
    """Writes `source` as `output`, each constant MatMul in `spelling_of(name of its weight)`; None leaves it.

    A transposed embedding counts, by the embedding's name. Weights are external, and pass through one at a time.
    """
    model = onnx.load(source, load_external_data=False)
    graph, data = model.graph, output.with_name(f"{output.name}.data")
    initializers = {i.name: i for i in graph.initializer}
    turned = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Transpose" and n.input[0] in initializers}

    def read(name: str) -> np.ndarray:
        # A copy, for reading it moves the data into the message.
        tensor = TensorProto.FromString(initializers[name].SerializeToString())
        return numpy_helper.to_array(tensor, str(source.parent))

    def weight(operand: str) -> np.ndarray:
        return read(turned[operand]) if operand in turned else np.ascontiguousarray(read(operand).T)

    with open(data, "wb") as file:
        for node in [n for n in graph.node if n.op_type == "MatMul"]:
            name = turned.get(node.input[1], node.input[1])
            spelling = spelling_of(name) if name in initializers else None
            if spelling is None:
                continue
            layer = rounded(weight(node.input[1]), spelling, block)
            tensors = {f"{name}_{suffix}": array for suffix, array in layer.tensors.items()}
            graph.initializer.extend(_written(file, *tensor) for tensor in tensors.items())
            operands = [node.input[0], *tensors], node.output, node.name
            node.CopyFrom(helper.make_node(layer.op_type, *operands, domain="com.microsoft", **layer.attributes))
        _drop_unread(graph.node, graph, lambda node: node.output)
        _drop_unread(graph.initializer, graph, lambda tensor: [tensor.name])
        for tensor in graph.initializer:
            if tensor.name in initializers and tensor.data_location == TensorProto.EXTERNAL:
                tensor.CopyFrom(_written(file, tensor.name, read(tensor.name)))
    if all(opset.domain != "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    output.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(output))


def _written(file, name: str, array: np.ndarray) -> TensorProto:
    """The initializer of an array that is put into the data file."""
    file.write(bytes(-file.tell() % PAGE))
    dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = TensorProto(name=name, data_type=dtype, dims=array.shape, data_location=TensorProto.EXTERNAL)
    entries = {"location": Path(file.name).name, "offset": file.tell(), "length": array.nbytes}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    file.write(np.ascontiguousarray(array))
    return tensor


def _drop_unread(items, graph: onnx.GraphProto, names: Callable) -> None:
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    kept = [item for item in items if any(name in read for name in names(item))]
    del items[:]
    items.extend(kept)
