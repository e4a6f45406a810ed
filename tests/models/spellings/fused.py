"""A layer of a llama by exporters that write norms, rotary positions and attention as operators of their own."""

import pathlib

import numpy as np
from graph import FLOAT, HALF, I64, MICROSOFT, Graph, cast
from onnx import TensorProto, numpy_helper

HERE = pathlib.Path(__file__).parent


class Llama:
    """A layer of a llama of exporters that write norms, rotary positions and attention as operators of their own."""

    def __init__(self, seed, elem, opset):
        self.g, self.elem, self.dtype = Graph(seed, opset), elem, np.float32 if elem == FLOAT else np.float16
        self.hidden, self.heads, self.shared, self.d, self.ffn, self.vocabulary = 32, 2, 1, 16, 48, 40
        self.longest = 192

    def linear(self, x, name, k, n):
        return self.g.op("MatMul", x, self.g.ternary(f"{name}.weight", k, n, 0.05, self.dtype), to=f"/{name}/MatMul")

    def gain(self, name):
        gain = 1 + 0.1 * self.g.random.standard_normal(self.hidden)
        return self.g.const(f"{name}.weight", gain.astype(self.dtype))

    def tables(self):
        angles = np.outer(np.arange(self.longest), 1e4 ** (-np.arange(0, self.d, 2) / self.d))
        return [self.g.const(f"{f.__name__}_cache", f(angles).astype(self.dtype)) for f in (np.cos, np.sin)]

    def caches(self, *dims):
        return [self.g.input(f"past_key_values.0.{kind}", self.elem, dims) for kind in ("key", "value")]

    def embedded(self, ids):
        table = 0.5 * self.g.random.standard_normal((self.vocabulary, self.hidden))
        return self.g.op("Gather", self.g.const("embed_tokens.weight", table.astype(self.dtype)), ids)

    def add_norm(self, x, skip, name):
        """The norm of a sum, and the sum."""
        outputs = [name, "", "", f"{name}.sum"]
        self.g.op("SkipSimplifiedLayerNormalization", x, skip, self.gain(name), domain=MICROSOFT, outputs=outputs,
                  epsilon=1e-5)
        return outputs[0], outputs[3]

    def projected(self, x):
        """Queries, keys and values."""
        counts = {"q_proj": self.heads, "k_proj": self.shared, "v_proj": self.shared}
        return [self.linear(x, name, self.hidden, count * self.d) for name, count in counts.items()]

    def ended(self, path, x, mixed, *dims, caches=("present.0.key", "present.0.value")):
        """All after attention. `dims` are those of caches that are given back."""
        g, hidden, ffn = self.g, self.hidden, self.ffn
        mixed = self.linear(mixed, "o_proj", self.heads * self.d, hidden)
        normed, x = self.add_norm(x, mixed, "post_attention_layernorm")
        gate = self.linear(normed, "gate_proj", hidden, ffn)
        gate = g.op("Mul", gate, g.op("Sigmoid", gate))
        gated = g.op("Mul", gate, self.linear(normed, "up_proj", hidden, ffn))
        normed, _ = self.add_norm(x, self.linear(gated, "down_proj", ffn, hidden), "norm")
        head = (0.2 * g.random.standard_normal((hidden, self.vocabulary))).astype(self.dtype)
        y = g.op("MatMul", normed, g.const("lm_head.weight", head), to="logits")
        g.output(y, self.elem, ["batch_size", "sequence_length", self.vocabulary])
        for cache in caches:
            g.output(cache, self.elem, dims)
        g.save(path)


def mobius_llama(name, window=None):
    """ONNX's own Attention with a mask of booleans, whose length has another name than that of the caches; with a window,
    as Gemma's layers have it, a mask of numbers by how many tokens are before each."""
    m = Llama(6, FLOAT, 24)
    g, d, shared = m.g, m.d, m.shared
    ids = g.input("input_ids", I64, ["batch_size", "sequence_length"])
    seen = g.input("attention_mask", I64, ["batch_size", "past_seq_len + seq_len"])
    positions = g.input("position_ids", I64, ["batch_size", "sequence_length"])
    past = m.caches("batch_size", shared, "past_sequence_length", d)
    x = m.embedded(ids)
    cos, sin = (g.op("Gather", table, positions) for table in m.tables())
    if window:
        count = g.op("CumSum", seen, g.const("axis", np.int64(1)))
        key = g.op("Unsqueeze", count, g.ints(1))
        seq, total = g.op("Shape", ids, start=1, end=2), g.op("Shape", seen, start=1, end=2)
        query = g.op("Unsqueeze", g.op("Slice", count, g.op("Sub", total, seq), total, g.ints(1)), g.ints(2))
        near = g.op("Less", g.op("Sub", query, key), g.const("window", np.int64(window)))
        visible = g.op("And", g.op("GreaterOrEqual", query, key), near)
        visible = g.op("And", cast(g, g.op("Unsqueeze", seen, g.ints(1)), TensorProto.BOOL), visible)
        lowest = g.const("lowest", np.finfo(np.float32).min)
        mask = g.op("Unsqueeze", g.op("Where", visible, g.const("nothing", np.float32(0)), lowest), g.ints(1))
    else:
        mask = g.op("Unsqueeze", cast(g, seen, TensorProto.BOOL), g.ints(1))
        sizes = [g.op("Shape", x, start=axis, end=axis + 1) for x, axis in ((ids, 0), (ids, 1), (seen, 1))]
        mask = g.op("Unsqueeze", g.op("Expand", mask, g.op("Concat", *sizes, axis=0)), g.ints(1))
    normed = g.op("RMSNormalization", x, m.gain("input_layernorm"), axis=-1, epsilon=1e-5)
    q, k, v = m.projected(normed)
    q = g.op("RotaryEmbedding", q, cos, sin, num_heads=m.heads, rotary_embedding_dim=0, interleaved=0)
    k = g.op("RotaryEmbedding", k, cos, sin, num_heads=shared, rotary_embedding_dim=0, interleaved=0)
    outputs = ["mixed", "present.0.key", "present.0.value"]
    g.op("Attention", q, k, v, mask, *past, outputs=outputs, q_num_heads=m.heads, kv_num_heads=shared, is_causal=1,
         scale=d**-0.5, softcap=0.0)
    m.ended(HERE / f"{name}.onnx", x, "mixed", "batch_size", shared, "past_sequence_length + sequence_length", d)


def mobius_grouped():
    """The same for onnxruntime's provider: q, k and v of one product, and a length by which caches grow that is summed."""
    m = Llama(10, FLOAT, 24)
    g, d, shared = m.g, m.d, m.shared
    ids = g.input("input_ids", I64, ["batch_size", "sequence_length"])
    seen = g.input("attention_mask", I64, ["batch_size", "past_seq_len + seq_len"])
    past = m.caches("batch_size", shared, "past_sequence_length", d)
    x = m.embedded(ids)
    lengths = g.op("Sub", g.op("ReduceSum", seen, g.ints(1), keepdims=0), g.const("one", np.int64(1)))
    lengths = cast(g, lengths, TensorProto.INT32)
    total = cast(g, g.op("Gather", g.op("Shape", seen), g.const("one", np.int64(1))), TensorProto.INT32)
    normed = g.op("RMSNormalization", x, m.gain("input_layernorm"), axis=-1, epsilon=1e-5)
    qkv = m.linear(normed, "qkv_proj", m.hidden, (m.heads + 2 * shared) * d)
    outputs = ["mixed", "present.0.key", "present.0.value"]
    g.op("GroupQueryAttention", qkv, "", "", *past, lengths, total, *m.tables(), domain=MICROSOFT, outputs=outputs,
         num_heads=m.heads, kv_num_heads=shared, scale=d**-0.5, do_rotary=1, rotary_interleaved=0)
    m.ended(HERE / "mobius_llama_grouped.onnx", x, "mixed", "batch_size", shared,
            "past_sequence_length + sequence_length", d)


def mobius_static():
    """Caches of a fixed size into which keys and values are scattered, and no mask but how much of them is written."""
    m = Llama(11, FLOAT, 24)
    g, d, shared = m.g, m.d, m.shared
    ids = g.input("input_ids", I64, ["batch_size", "sequence_length"])
    positions = g.input("position_ids", I64, ["batch_size", "sequence_length"])
    dims = ["batch_size", m.longest, shared * d]
    caches = [g.input(f"{kind}_cache.0", FLOAT, dims) for kind in ("key", "value")]
    at = g.input("write_indices", I64, ["batch_size"])
    written = g.input("nonpad_kv_seqlen", I64, ["batch_size"])
    x = m.embedded(ids)
    cos, sin = (g.op("Gather", table, positions) for table in m.tables())
    normed = g.op("RMSNormalization", x, m.gain("input_layernorm"), axis=-1, epsilon=1e-5)
    q, k, v = m.projected(normed)
    q = g.op("RotaryEmbedding", q, cos, sin, num_heads=m.heads, rotary_embedding_dim=0, interleaved=0)
    k = g.op("RotaryEmbedding", k, cos, sin, num_heads=shared, rotary_embedding_dim=0, interleaved=0)
    k = g.op("TensorScatter", caches[0], k, at, to="updated_key_cache.0", axis=1)
    v = g.op("TensorScatter", caches[1], v, at, to="updated_value_cache.0", axis=1)
    mixed = g.op("Attention", q, k, v, "", "", "", written, q_num_heads=m.heads, kv_num_heads=shared, is_causal=1,
                 scale=d**-0.5, softcap=0.0)
    m.ended(HERE / "mobius_llama_static.onnx", x, mixed, *dims, caches=(k, v))


def genai_llama():
    """q, k and v of one product that GroupQueryAttention takes apart; caches whose heads have a size with a name."""
    m = Llama(7, FLOAT, 22)
    g, d, shared = m.g, m.d, m.shared
    ids = g.input("input_ids", I64, ["batch_size", "sequence_length"])
    seen = g.input("attention_mask", I64, ["batch_size", "total_sequence_length"])
    past = m.caches("batch_size", shared, "past_sequence_length", "kv_cache_dim")
    lengths = g.op("Sub", g.op("ReduceSum", seen, g.ints(1), keepdims=0), g.ints(1))
    lengths = cast(g, lengths, TensorProto.INT32)
    total = cast(g, g.op("Gather", g.op("Shape", seen), g.const("axis", np.int64(1)), axis=0), TensorProto.INT32)
    x = m.embedded(ids)
    normed = g.op("SimplifiedLayerNormalization", x, m.gain("input_layernorm"), axis=-1, epsilon=1e-5, stash_type=1)
    qkv = m.linear(normed, "qkv_proj", m.hidden, (m.heads + 2 * shared) * d)
    outputs = ["mixed", "present.0.key", "present.0.value"]
    g.op("GroupQueryAttention", qkv, "", "", *past, lengths, total, *m.tables(), "", "", "", domain=MICROSOFT,
         outputs=outputs, num_heads=m.heads, kv_num_heads=shared, scale=d**-0.5, local_window_size=-1, softcap=0.0,
         do_rotary=1, rotary_interleaved=0)
    m.ended(HERE / "genai_llama_f32.onnx", x, "mixed", "batch_size", shared, "total_sequence_length", "kv_cache_dim")


def genai_llama_half():
    """MultiHeadAttention after keys and values that are repeated, since no provider but CUDA groups heads of f16."""
    m = Llama(8, HALF, 22)
    g, d, shared, heads = m.g, m.d, m.shared, m.heads
    ids = g.input("input_ids", I64, ["batch_size", "sequence_length"])
    seen = g.input("attention_mask", I64, ["batch_size", "total_sequence_length"])
    positions = g.input("position_ids", I64, ["batch_size", "sequence_length"])
    past = m.caches("batch_size", shared, "past_sequence_length", "kv_cache_dim")
    zero, one = g.const("zero", np.int64(0)), g.const("one", np.int64(1))

    def size(x, axis):
        return g.op("Gather", g.op("Shape", x), g.const(f"axis_{axis}", np.int64(axis)), axis=0)

    def listed(x):
        return g.op("Unsqueeze", x, g.ints(0))

    def of_ones(shape):
        return g.op("ConstantOfShape", g.op("Shape", shape), value=numpy_helper.from_array(np.ones(1, np.int64)))

    def wanted(*sizes):
        """A shape for Expand, in which -1 would stand for 1."""
        shape = g.op("Concat", *sizes, axis=0)
        negative = g.op("Mul", of_ones(shape), g.const("minus", np.int64(-1)))
        return g.op("Where", g.op("Equal", shape, negative), of_ones(shape), shape)

    seq = size(ids, 1)
    square = g.op("Concat", listed(seq), listed(seq), axis=0)
    lowest = np.array([-65504], np.float16)
    square = g.op("ConstantOfShape", square, value=numpy_helper.from_array(lowest))

    def last(x):
        return g.op("Squeeze", g.op("Slice", g.op("Shape", x), g.ints(-1), g.ints(2**63 - 1), g.ints(0)), g.ints(0))

    column = g.op("Concat", listed(last(square)), g.ints(1), axis=0)
    places = g.op("Range", zero, last(square), one)
    later = g.op("Less", places, g.op("Reshape", g.op("Add", places, one), column))
    nothing = g.const("nothing", np.float16(0))
    causal = g.op("Where", later, nothing, square)
    causal = g.op("Unsqueeze", g.op("Unsqueeze", causal, g.ints(0)), g.ints(1))
    total = listed(g.op("Add", seq, size(past[0], 2)))
    causal = g.op("Expand", causal, wanted(listed(size(ids, 0)), g.ints(1), listed(seq), total))
    padding = g.op("Unsqueeze", g.op("Unsqueeze", seen, g.ints(1)), g.ints(2))
    padding = g.op("Expand", padding, wanted(listed(size(seen, 0)), g.ints(1), listed(seq), listed(size(seen, 1))))
    padding = g.op("Sub", g.const("everything", np.float16(1)), cast(g, padding, HALF))
    padding = g.op("Where", cast(g, padding, TensorProto.BOOL), g.const("lowest", lowest[0]), padding)
    mask = g.op("Tile", g.op("Add", padding, causal), g.ints(1, heads, 1, 1))

    x = m.embedded(ids)
    normed = g.op("SimplifiedLayerNormalization", x, m.gain("input_layernorm"), axis=-1, epsilon=1e-5, stash_type=1)
    cos, sin = m.tables()

    def turned(x, count):
        return g.op("RotaryEmbedding", x, positions, cos, sin, domain=MICROSOFT, interleaved=0, num_heads=count,
                    rotary_embedding_dim=0)

    def repeated(x, past, name):
        x = g.op("Transpose", g.op("Reshape", x, g.ints(0, 0, shared, -1)), perm=[0, 2, 1, 3])
        x = g.op("Concat", past, x, axis=2, to=name)
        sizes = [listed(size(x, axis)) for axis in range(4)]
        wide = g.op("Reshape", g.op("Concat", *sizes[:2], g.ints(heads // shared), *sizes[2:], axis=0), g.ints(-1))
        x = g.op("Expand", g.op("Unsqueeze", x, g.ints(2)), wanted(wide))
        many = g.op("Mul", sizes[1], g.const("times", np.int64(heads // shared)))
        x = g.op("Reshape", x, g.op("Concat", sizes[0], many, *sizes[2:], axis=0))
        return g.op("Reshape", g.op("Transpose", x, perm=[0, 2, 1, 3]), g.ints(0, 0, heads * d))

    q, k, v = m.projected(normed)
    q = turned(q, heads)
    k = repeated(turned(k, shared), past[0], "present.0.key")
    v = repeated(v, past[1], "present.0.value")
    mixed = g.op("MultiHeadAttention", q, k, v, "", "", mask, "", "", domain=MICROSOFT, num_heads=heads, scale=d**-0.5,
                 unidirectional=0)
    m.ended(HERE / "genai_llama_f16.onnx", x, mixed, "batch_size", shared, "total_sequence_length", "kv_cache_dim")
