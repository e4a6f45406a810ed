"""Linear layers as exporters spell them: plain MatMul, DequantizeLinear + MatMul, MatMulNBits.

A weight is `[out, in]` as in torch. A float array always becomes a MatMul; a `Ternary` one is
written in the spelling asked for, each of which holds exactly the same values.
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from graph import Graph

# The lowest opset in which each spelling is legal.
LINEARS = {"f32": 17, "nbits2": 17, "qdq8": 17, "qdq4": 21, "qdq2": 25}
QDQ_TYPES = {"qdq8": (TensorProto.INT8, 8), "qdq4": (TensorProto.INT4, 4), "qdq2": (TensorProto.INT2, 2)}


@dataclass(frozen=True)
class Ternary:
    """`trits` in {-1, 0, 1}, int8 `[out, in]`, times `scale`: a scalar or f32 `[out]`."""

    trits: np.ndarray
    scale: np.ndarray

    def row_scales(self) -> np.ndarray:
        """f32 `[out]`."""
        scale = np.asarray(self.scale, np.float32)
        return np.ascontiguousarray(np.broadcast_to(scale, self.trits.shape[:1]))

    def dense(self) -> np.ndarray:
        """f32 `[out, in]`."""
        return self.trits.astype(np.float32) * self.row_scales()[:, None]


def linear(g: Graph, x: str, name: str, weight, spelling: str, block: int, accuracy_level: int) -> str:
    """`x · weightᵀ`; `name` is the initializer's. `block` and `accuracy_level` are for MatMulNBits."""
    if not isinstance(weight, Ternary):
        return g.op("MatMul", x, g.weight(name, weight.astype(np.float32, copy=False).T))
    if spelling == "f32":
        return g.op("MatMul", x, g.weight(name, weight.dense().T))
    if spelling == "nbits2":
        return _matmul_nbits(g, x, name, weight, block, accuracy_level)
    dtype, bits = QDQ_TYPES[spelling]
    trits = np.ascontiguousarray(weight.trits.T)
    quantized = g.raw_weight(f"{name}_quantized", dtype, trits.shape, pack(trits.reshape(-1), bits))
    scale = g.weight(f"{name}_scale", weight.row_scales())
    return g.op("MatMul", x, g.op("DequantizeLinear", quantized, scale, axis=1))


def _matmul_nbits(g: Graph, x: str, name: str, weight: Ternary, block: int, accuracy_level: int) -> str:
    """Two bits a weight, `q = trit + 2`: 2 is the zero point the operator assumes when it has none."""
    n, k = weight.trits.shape
    blocks = -(-k // block)
    codes = np.full((n, blocks * block), 2, np.int8)
    codes[:, :k] += weight.trits
    packed = pack(codes.reshape(-1), 2).reshape(n, blocks, block // 4)
    scales = np.repeat(weight.row_scales()[:, None], blocks, axis=1)
    attributes = {"accuracy_level": accuracy_level} if accuracy_level else {}
    return g.op(
        "MatMulNBits",
        x,
        g.weight(f"{name}_Q2", packed),
        g.weight(f"{name}_scales", scales),
        domain="com.microsoft",
        K=k,
        N=n,
        bits=2,
        block_size=block,
        **attributes,
    )


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Packs int8 codes into bytes, first code in the lowest bits, the last byte filled with zeros."""
    per_byte = 8 // bits
    codes = codes.view(np.uint8) & np.uint8((1 << bits) - 1)
    codes = np.pad(codes, (0, -len(codes) % per_byte)).reshape(-1, per_byte)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return np.bitwise_or.reduce(codes << shifts, axis=1)
