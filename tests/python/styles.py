"""The two ways exporters spell a decoder's norm, rotary embedding and attention.

`Decomposed` is what tracing a framework's model gives before those operators existed: only
primitive ONNX operators. `Fused` uses the operators of opset 23. Both read the same inputs and
compute the same function, so a compiler must get from either to the same program.
"""

import numpy as np
from onnx import TensorProto

from graph import Graph

LOWEST = np.finfo(np.float32).min


class Decomposed:
    """RMSNorm, half-rotation rotary and grouped-query attention in primitive operators."""

    opset = 17

    def __init__(self, g: Graph, config):
        self.g, self.config = g, config

    def begin(self, position_ids: str, visible: str) -> None:
        """Computes what all layers share. `visible` is the bool mask `[batch, 1, seq, past+seq]`."""
        g = self.g
        half = self.config.head_dim // 2
        with g.scope("rotary_emb"):
            inverse = g.constant(inverse_frequencies(self.config).reshape(1, half, 1), np.float32)
            positions = g.op("Cast", g.op("Unsqueeze", position_ids, g.ints(1)), to=TensorProto.FLOAT)
            angles = g.op("Transpose", g.op("MatMul", inverse, positions), perm=[0, 2, 1])
            angles = g.op("Unsqueeze", g.op("Concat", angles, angles, axis=-1), g.ints(1))
            self.cos, self.sin = g.op("Cos", angles), g.op("Sin", angles)
        with g.scope("mask"):
            zero, lowest = g.constant(0, np.float32), g.constant(LOWEST, np.float32)
            self.mask = g.op("Where", visible, zero, lowest)

    def norm(self, x: str, gain: str) -> str:
        g = self.g
        square = g.op("Pow", x, g.constant(2, np.float32))
        mean = reduce_last(g, "ReduceMean", square)
        root = g.op("Sqrt", g.op("Add", mean, g.constant(self.config.norm_eps, np.float32)))
        inverse = g.op("Div", g.constant(1, np.float32), root)
        return g.op("Mul", gain, g.op("Mul", x, inverse))

    def attention(self, q: str, k: str, v: str, past: tuple[str, str], present: tuple[str, str]) -> str:
        g, c = self.g, self.config
        q = self._rotate(self._split_heads(q, c.heads))
        k = self._rotate(self._split_heads(k, c.kv_heads))
        v = self._split_heads(v, c.kv_heads)
        k = g.op("Concat", past[0], k, axis=2, outputs=[present[0]])
        v = g.op("Concat", past[1], v, axis=2, outputs=[present[1]])
        k, v = self._repeat_heads(k), self._repeat_heads(v)
        scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
        scores = g.op("Mul", scores, g.constant(c.head_dim**-0.5, np.float32))
        weights = g.op("Softmax", g.op("Add", scores, self.mask), axis=-1)
        heads = g.op("Transpose", g.op("MatMul", weights, v), perm=[0, 2, 1, 3])
        return g.op("Reshape", heads, g.ints(0, 0, c.heads * c.head_dim))

    def _split_heads(self, x: str, heads: int) -> str:
        """`[batch, seq, heads·dim]` to `[batch, heads, seq, dim]`."""
        x = self.g.op("Reshape", x, self.g.ints(0, 0, heads, self.config.head_dim))
        return self.g.op("Transpose", x, perm=[0, 2, 1, 3])

    def _rotate(self, x: str) -> str:
        g, half = self.g, self.config.head_dim // 2
        low = g.op("Slice", x, g.ints(0), g.ints(half), g.ints(3), g.ints(1))
        high = g.op("Slice", x, g.ints(half), g.ints(np.iinfo(np.int64).max), g.ints(3), g.ints(1))
        turned = g.op("Concat", g.op("Neg", high), low, axis=-1)
        return g.op("Add", g.op("Mul", x, self.cos), g.op("Mul", turned, self.sin))

    def _repeat_heads(self, x: str) -> str:
        """Each key-value head once for every query head that reads it."""
        g, c = self.g, self.config
        if c.heads == c.kv_heads:
            return x
        shape = g.op("Shape", x)
        batch, length = (g.op("Gather", shape, g.ints(axis), axis=0) for axis in (0, 2))
        kv, repeats, dim = g.ints(c.kv_heads), g.ints(c.heads // c.kv_heads), g.ints(c.head_dim)
        wide = g.op("Expand", g.op("Unsqueeze", x, g.ints(2)), g.op("Concat", batch, kv, repeats, length, dim, axis=0))
        return g.op("Reshape", wide, g.op("Concat", batch, g.ints(c.heads), length, dim, axis=0))


class Fused:
    """RMSNormalization, RotaryEmbedding and Attention with its cache, of opset 23."""

    opset = 23

    def __init__(self, g: Graph, config):
        self.g, self.config = g, config

    def begin(self, position_ids: str, visible: str) -> None:
        positions = np.arange(self.config.max_positions, dtype=np.float32)
        angles = np.outer(positions, inverse_frequencies(self.config))
        self.cos = self.g.weight("cos_cache", np.cos(angles))
        self.sin = self.g.weight("sin_cache", np.sin(angles))
        # `is_causal` counts from the first key, which is wrong once there is a past: hence a mask.
        self.position_ids, self.mask = position_ids, visible

    def norm(self, x: str, gain: str) -> str:
        return self.g.op("RMSNormalization", x, gain, axis=-1, epsilon=self.config.norm_eps)

    def attention(self, q: str, k: str, v: str, past: tuple[str, str], present: tuple[str, str]) -> str:
        g, c = self.g, self.config
        q, k = self._rotate(q, c.heads), self._rotate(k, c.kv_heads)
        y = f"{present[0]}.attention"
        g.op(
            "Attention", q, k, v, self.mask, *past,
            outputs=[y, *present], q_num_heads=c.heads, kv_num_heads=c.kv_heads, scale=c.head_dim**-0.5,
        )  # fmt: skip
        return y

    def _rotate(self, x: str, heads: int) -> str:
        return self.g.op("RotaryEmbedding", x, self.cos, self.sin, self.position_ids, num_heads=heads)


STYLES = {"decomposed17": Decomposed, "opset23": Fused}


def inverse_frequencies(config) -> np.ndarray:
    """f32 `[head_dim / 2]`, `theta^(-2i/head_dim)` (RoFormer, arXiv:2104.09864)."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    return (1.0 / config.rope_theta**exponents).astype(np.float32)


def reduce_last(g: Graph, op_type: str, x: str) -> str:
    """A reduction of the last axis; opset 18 turned the axes from an attribute into an input."""
    if g.opset < 18:
        return g.op(op_type, x, axes=[-1], keepdims=1)
    return g.op(op_type, x, g.ints(-1), keepdims=1)
