"""Writes a Llama-like decoder as ONNX, in the spellings that exporters use.

    from decoder import Config, Ternary, export
    export(Path("model.onnx"), config, weights, style="decomposed17", linears="f32")

`config` is a `Config`. `weights` maps names to f32 arrays, or to `Ternary` for a linear layer (an
object with `__getitem__` and `__contains__` is enough; each name is read once, so a lazy mapping
streams a model larger than memory). Linear weights are `[out, in]`, as in torch; names are those
of transformers without the `model.` in front:

    embed_tokens.weight                               [vocab, hidden]
    layers.{i}.input_layernorm.weight                 [hidden]
    layers.{i}.self_attn.{q,k,v}_proj.weight          [heads·dim or kv_heads·dim, hidden]
    layers.{i}.self_attn.attn_sub_norm.weight         [heads·dim]        optional (BitNet)
    layers.{i}.self_attn.o_proj.weight                [hidden, heads·dim]
    layers.{i}.post_attention_layernorm.weight        [hidden]
    layers.{i}.mlp.{gate,up}_proj.weight              [ffn, hidden]
    layers.{i}.mlp.ffn_sub_norm.weight                [ffn]              optional (BitNet)
    layers.{i}.mlp.down_proj.weight                   [hidden, ffn]
    norm.weight                                       [hidden]
    lm_head.weight                                    [vocab, hidden]    optional: else the embedding's
    layers.{i}.….{any}_proj.bias                      [out]              with `biases`

`q_proj` and `k_proj` are for the half rotation of transformers (dimension i turns with i + dim/2).

`style`: "decomposed17" (primitive operators) or "opset23" (RMSNormalization, RotaryEmbedding,
Attention). `linears`, for `Ternary` weights: "f32", "nbits2" (com.microsoft MatMulNBits, with
`block` and `accuracy_level`), "qdq8", "qdq4", "qdq2" (DequantizeLinear of int8, int4, int2). The
opset is the lowest that allows both. `external_data` puts weights into `<path>.data`.

The model's inputs: `input_ids` i64[batch,seq], `attention_mask` i64[batch,past+seq] (1 where a
token may be seen), `position_ids` i64[batch,seq], `past_key_values.{i}.{key,value}`
f32[batch,kv_heads,past,dim]. Its outputs: `logits` f32[batch,seq,vocab] and `present.{i}.{key,value}`
f32[batch,kv_heads,past+seq,dim].
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto

from graph import Graph
from linear import LINEARS, Ternary, linear
from styles import STYLES, reduce_last

__all__ = ["Config", "Ternary", "export"]


@dataclass(frozen=True)
class Config:
    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    # Length of the rotary tables in style "opset23".
    max_positions: int = 2048
    # "silu" (SwiGLU) or "relu2" (squared ReLU); both gate: act(gate(x)) * up(x).
    activation: str = "silu"
    # BitNet b1.58: the input of each projection is rounded to int8 steps, one scale a token.
    quantize_activations: bool = False
    # Every projection has a bias (ternary weights trained with one, arXiv 2509.23809).
    biases: bool = False


def export(
    path: Path,
    config: Config,
    weights,
    style: str = "decomposed17",
    linears: str = "f32",
    *,
    block: int = 64,
    accuracy_level: int = 0,
    external_data: bool = False,
) -> None:
    """Writes and checks the model; see the module's documentation."""
    path = Path(path)
    opset = max(STYLES[style].opset, LINEARS[linears])
    g = Graph("decoder", opset, path.with_name(path.name + ".data") if external_data else None)
    _Decoder(g, config, weights, STYLES[style](g, config), (linears, block, accuracy_level)).write()
    g.save(path, "trine-tests")


class _Decoder:
    def __init__(self, g: Graph, config: Config, weights, style, spelling: tuple):
        self.g, self.config, self.weights, self.style, self.spelling = g, config, weights, style, spelling

    def write(self) -> None:
        g, c = self.g, self.config
        ids = g.input("input_ids", TensorProto.INT64, ["batch", "seq"])
        attention_mask = g.input("attention_mask", TensorProto.INT64, ["batch", "past+seq"])
        position_ids = g.input("position_ids", TensorProto.INT64, ["batch", "seq"])
        caches = [self._cache(i) for i in range(c.layers)]
        self.style.begin(position_ids, self._visible(ids, attention_mask, caches[0][0][0]))
        embedding = g.weight("embed_tokens.weight", self.weights["embed_tokens.weight"])
        with g.scope("embed_tokens"):
            x = g.op("Gather", embedding, ids)
        for i, (past, present) in enumerate(caches):
            with g.scope(f"layers.{i}"):
                x = self._layer(x, f"layers.{i}", past, present)
        self._head(self._norm(x, "norm"), embedding)
        g.output("logits", TensorProto.FLOAT, ["batch", "seq", c.vocab])
        for _, present in caches:
            for name in present:
                g.output(name, TensorProto.FLOAT, ["batch", c.kv_heads, "past+seq", c.head_dim])

    def _cache(self, layer: int) -> tuple[tuple[str, str], tuple[str, str]]:
        c = self.config
        shape = ["batch", c.kv_heads, "past", c.head_dim]
        past = tuple(f"past_key_values.{layer}.{part}" for part in ("key", "value"))
        for name in past:
            self.g.input(name, TensorProto.FLOAT, shape)
        return past, (f"present.{layer}.key", f"present.{layer}.value")

    def _visible(self, ids: str, attention_mask: str, past_key: str) -> str:
        """Which keys a query may see: bool `[batch, 1, seq, past+seq]`."""
        g = self.g
        with g.scope("mask"):
            index = g.constant(1, np.int64)
            seq = g.op("Gather", g.op("Shape", ids), index, axis=0)
            past = g.op("Gather", g.op("Shape", past_key), g.constant(2, np.int64), axis=0)
            total, zero = g.op("Add", past, seq), g.constant(0, np.int64)
            queries = g.op("Unsqueeze", g.op("Range", past, total, index), g.ints(1))
            keys = g.op("Unsqueeze", g.op("Range", zero, total, index), g.ints(0))
            causal = g.op("Unsqueeze", g.op("LessOrEqual", keys, queries), g.ints(0, 1))
            given = g.op("Cast", attention_mask, to=TensorProto.BOOL)
            return g.op("And", causal, g.op("Unsqueeze", given, g.ints(1, 2)))

    def _layer(self, x: str, name: str, past: tuple, present: tuple) -> str:
        g = self.g
        h = self._norm(x, f"{name}.input_layernorm")
        with g.scope("self_attn"):
            attn = f"{name}.self_attn"
            inputs = self._quantized(h, f"{attn}.q_proj")
            q, k, v = (self._linear(inputs, f"{attn}.{p}_proj") for p in "qkv")
            h = self.style.attention(q, k, v, past, present)
            h = self._norm(h, f"{attn}.attn_sub_norm", optional=True)
            h = self._linear(self._quantized(h, f"{attn}.o_proj"), f"{attn}.o_proj")
        x = g.op("Add", x, h)
        h = self._norm(x, f"{name}.post_attention_layernorm")
        with g.scope("mlp"):
            mlp = f"{name}.mlp"
            inputs = self._quantized(h, f"{mlp}.gate_proj")
            gate = self._activation(self._linear(inputs, f"{mlp}.gate_proj"))
            h = g.op("Mul", gate, self._linear(inputs, f"{mlp}.up_proj"))
            h = self._norm(h, f"{mlp}.ffn_sub_norm", optional=True)
            h = self._linear(self._quantized(h, f"{mlp}.down_proj"), f"{mlp}.down_proj")
        return g.op("Add", x, h)

    def _norm(self, x: str, name: str, optional: bool = False) -> str:
        weight = f"{name}.weight"
        if optional and weight not in self.weights:
            return x
        with self.g.scope(name.split(".")[-1]):
            return self.style.norm(x, self.g.weight(weight, self.weights[weight]))

    def _linear(self, x: str, name: str) -> str:
        with self.g.scope(name.split(".")[-1]):
            y = linear(self.g, x, f"{name}.weight", self.weights[f"{name}.weight"], *self.spelling)
            if not self.config.biases:
                return y
            return self.g.op("Add", y, self.g.weight(f"{name}.bias", self.weights[f"{name}.bias"]))

    def _activation(self, x: str) -> str:
        with self.g.scope("act_fn"):
            if self.config.activation == "silu":
                return self.g.op("Mul", x, self.g.op("Sigmoid", x))
            relu = self.g.op("Relu", x)
            return self.g.op("Mul", relu, relu)

    def _quantized(self, x: str, name: str) -> str:
        """`round(x·127/absmax)·absmax/127` by token (BitNet b1.58, arXiv:2402.17764)."""
        g = self.g
        if not self.config.quantize_activations:
            return x
        with g.scope(f"{name.split('.')[-1]}_input"):
            absmax = g.op("Clip", reduce_last(g, "ReduceMax", g.op("Abs", x)), g.constant(1e-5, np.float32))
            scale = g.op("Div", g.constant(127, np.float32), absmax)
            low, high = g.constant(-128, np.float32), g.constant(127, np.float32)
            return g.op("Div", g.op("Clip", g.op("Round", g.op("Mul", x, scale)), low, high), scale)

    def _head(self, x: str, embedding: str) -> None:
        g = self.g
        with g.scope("lm_head"):
            if "lm_head.weight" in self.weights:
                weight = g.weight("lm_head.weight", np.asarray(self.weights["lm_head.weight"], np.float32).T)
            else:
                weight = g.op("Transpose", embedding, perm=[1, 0])
            g.op("MatMul", x, weight, outputs=["logits"])
