"""Makes the models of this folder: the smallest graphs in which exporters write what ternary models are made of.

Each is spelt as the exporter does that its name says, operator by operator, with random weights and no framework: `python3
make.py` needs numpy and onnx, and writes the same bytes each time.
"""

import math
import pathlib
import sys
import typing

import numpy as np
from fused import genai_llama, genai_llama_half, mobius_grouped, mobius_llama, mobius_static
from graph import FLOAT, HALF, I64, MICROSOFT, Graph, cast
from onnx import TensorProto, numpy_helper

HERE = pathlib.Path(__file__).parent
TRUE = numpy_helper.from_array(np.ones(1, np.bool_))


def own_rows(g, x, reciprocal, floor=1e-5):
    """What a row is multiplied by, and the row rounded to int8, as transformers' BitLinear has it."""
    largest = g.op("ReduceMax", g.op("Abs", x), g.ints(-1), keepdims=1)
    if floor is not None:
        largest = g.op("Clip", largest, g.const("floor", np.float32(floor)))
    levels = g.const("levels", np.float32(127))
    up = g.op("Mul", g.op("Reciprocal", largest), levels) if reciprocal else g.op("Div", levels, largest)
    low, high = g.const("low", np.float32(-128)), g.const("high", np.float32(127))
    return up, g.op("Clip", g.op("Round", g.op("Mul", x, up)), low, high)


def autobitlinear():
    """PyTorch 2.15's `127 / x`, undone before the product."""
    g = Graph(1)
    up, q = own_rows(g, g.input("x", FLOAT, ["b", 64]), reciprocal=True)
    y = g.op("MatMul", g.op("Div", q, up), g.ternary("w", 64, 48))
    g.output(g.op("Mul", y, g.const("weight_scale", np.array([0.08], np.float32)), to="y"), FLOAT, ["b", 48])
    g.save(HERE / "autobitlinear.onnx")


def bitlinear():
    """int8 in between, and both scales undone after the product."""
    g = Graph(2)
    up, q = own_rows(g, g.input("x", FLOAT, ["b", 64]), reciprocal=True)
    for elem in (TensorProto.INT8, TensorProto.BFLOAT16, FLOAT):
        q = cast(g, q, elem)
    scales = g.op("Mul", g.const("weight_scale", np.array([12.5], np.float32)), up)
    g.output(g.op("Div", g.op("MatMul", q, g.ternary("w", 64, 48)), scales, to="y"), FLOAT, ["b", 48])
    g.save(HERE / "bitlinear.onnx")


def matmul_integer():
    """The same with integers multiplied, and rows of zeros that have no floor."""
    g = Graph(3)
    up, q = own_rows(g, g.input("x", FLOAT, ["b", 64]), reciprocal=False, floor=None)
    q = cast(g, q, TensorProto.INT8)
    sums = cast(g, g.op("MatMulInteger", q, g.ternary("w", 64, 48, dtype=np.int8)), FLOAT)
    scales = g.op("Mul", g.const("weight_scale", np.array([12.5], np.float32)), up)
    g.output(g.op("Div", sums, scales, to="y"), FLOAT, ["b", 48])
    g.save(HERE / "matmul_integer.onnx")


def bitnet_masters():
    """The feed-forward part of a BitNet by torch.export: weights that the graph itself makes ternary, and a relu squared."""
    g = Graph(9)
    hidden, ffn = 64, 48
    x = g.input("x", FLOAT, ["b", hidden])
    two = g.const("two", np.float32(2))

    def rounded(x):
        """What is read, rounded to int8 and back."""
        up, q = own_rows(g, x, reciprocal=True)
        return g.op("Div", q, up)

    def linear(x, name, k, n):
        masters = g.const(f"{name}.weight", (k**-0.5 * g.random.standard_normal((n, k))).astype(np.float32))
        mean = g.op("Squeeze", g.op("ReduceMean", g.op("Abs", masters), keepdims=1, noop_with_empty_axes=0))
        up = g.op("Reciprocal", g.op("Clip", mean, g.const("floor", np.float32(1e-5))))
        low, high = g.const("minus_one", np.float32(-1)), g.const("plus_one", np.float32(1))
        trits = g.op("Clip", g.op("Round", g.op("Mul", masters, up)), low, high)
        return g.op("MatMul", x, g.op("Transpose", g.op("Div", trits, up), perm=[1, 0]))

    normed = rounded(rms_norm(g, x, "post_attention_layernorm", hidden, FLOAT))
    gate = g.op("Pow", g.op("Relu", linear(normed, "gate_proj", hidden, ffn)), two)
    gated = g.op("Mul", gate, linear(normed, "up_proj", hidden, ffn))
    down = linear(rounded(rms_norm(g, gated, "ffn_sub_norm", ffn, FLOAT)), "down_proj", ffn, hidden)
    g.output(g.op("Add", x, down, to="y"), FLOAT, ["b", hidden])
    g.save(HERE / "bitnet_masters.onnx")


def rms_norm(g, x, name, width, elem):
    """As dynamo decomposes it: in f32, whatever the model is."""
    gain = (1 + 0.1 * g.random.standard_normal(width)).astype(np.float32 if elem == FLOAT else np.float16)
    wide = x if elem == FLOAT else cast(g, x, FLOAT)
    square = g.op("Pow", wide, g.const("two", np.float32(2)))
    mean = g.op("ReduceMean", square, g.ints(-1), keepdims=1)
    root = g.op("Sqrt", g.op("Add", mean, g.const("eps", np.float32(1e-5))))
    y = g.op("Mul", wide, g.op("Reciprocal", root))
    y = y if elem == FLOAT else cast(g, y, elem)
    return g.op("Mul", g.const(name, gain), y)


def rotate(g, x, cos, sin, d):
    low = g.op("Slice", x, g.ints(0), g.ints(d // 2), g.ints(3))
    high = g.op("Slice", x, g.ints(d // 2), g.ints(2**63 - 1), g.ints(3))
    turned = g.op("Concat", g.op("Neg", high), low, axis=-1)
    return g.op("Add", g.op("Mul", x, cos), g.op("Mul", turned, sin))


def dynamo_decoder(name, elem, padding="broadcast"):
    """A layer of a llama by torch.export, with its caches: scaled dot-product attention as torchlib spells it.

    `padding` says how the mask of padding is read: broadcast; by the row and the key of each place, as transformers 5 does
    ("indexed"); or so from a mask made flat, as optimum traces that ("flat"), whose scores are f32 whatever the model is."""
    g = Graph(4)
    dtype = np.float32 if elem == FLOAT else np.float16
    hidden, heads, shared, d, ffn, vocabulary = 32, 4, 2, 8, 48, 40
    ids = g.input("input_ids", I64, ["batch", "seq"])
    seen = g.input("attention_mask", I64, ["batch", "total" if padding == "indexed" else "past+seq"])
    positions = g.input("position_ids", I64, ["batch", "seq"])
    past = [g.input(f"past_key_values.0.{kind}", elem, ["batch", shared, "past", d]) for kind in ("key", "value")]
    table = g.const("embed", (0.5 * g.random.standard_normal((vocabulary, hidden))).astype(dtype))
    x = g.op("Gather", table, ids)
    batch = g.op("Shape", ids, start=0, end=1)
    seq = g.op("Shape", ids, start=1, end=2)

    frequencies = g.const("inv_freq", (1e4 ** (-np.arange(0, d, 2) / d)).astype(np.float32).reshape(1, d // 2, 1))
    where = cast(g, g.op("Unsqueeze", positions, g.ints(1)), FLOAT)
    angles = g.op("Transpose", g.op("MatMul", frequencies, where), perm=[0, 2, 1])
    angles = g.op("Concat", angles, angles, axis=-1)
    cos, sin = (g.op("Unsqueeze", g.op(kind, angles), g.ints(1)) for kind in ("Cos", "Sin"))
    if elem != FLOAT:
        cos, sin = cast(g, cos, elem), cast(g, sin, elem)

    normed = rms_norm(g, x, "input_norm", hidden, elem)

    def linear(x, name, k, n):
        return g.op("MatMul", x, g.ternary(name, k, n, 0.05, dtype))

    def split(x, n):
        shape = g.op("Concat", batch, seq, g.ints(n), g.ints(d), axis=0)
        return g.op("Transpose", g.op("Reshape", x, shape), perm=[0, 2, 1, 3])

    q = rotate(g, split(linear(normed, "q_proj", hidden, heads * d), heads), cos, sin, d)
    k = rotate(g, split(linear(normed, "k_proj", hidden, shared * d), shared), cos, sin, d)
    v = split(linear(normed, "v_proj", hidden, shared * d), shared)
    k = g.op("Concat", past[0], k, axis=2, to="present.0.key")
    v = g.op("Concat", past[1], v, axis=2, to="present.0.value")
    total = g.op("Shape", k, start=2, end=3)

    def repeated(x):
        wide = g.op("Concat", batch, g.ints(shared), g.ints(heads // shared), total, g.ints(d), axis=0)
        return g.op("Expand", g.op("Unsqueeze", x, g.ints(2)), wide)

    # Positions that a query may look at, and those that are no padding.
    scalar_total, first = g.op("Squeeze", total, g.ints(0)), g.op("Squeeze", g.op("Sub", total, seq), g.ints(0))
    zero, one = g.const("zero", np.int64(0)), g.const("one", np.int64(1))
    keys = g.op("Range", zero, scalar_total, one)
    queries = g.op("Unsqueeze", g.op("Range", first, scalar_total, one), g.ints(1))
    causal = g.op("LessOrEqual", g.op("Unsqueeze", keys, g.ints(0)), queries)
    known = cast(g, seen, TensorProto.BOOL)
    if padding == "indexed":
        causal = g.op("And", g.const("new_ones", np.bool_(True)), g.op("Unsqueeze", causal, g.ints(0, 1)))
        row = g.op("Range", zero, g.op("Squeeze", g.op("Shape", past[0], start=0, end=1)), one)
        row = g.op("Unsqueeze", g.op("Unsqueeze", row, g.ints(1, 2)), g.ints(3))
        key = g.op("Unsqueeze", keys, g.ints(0, 1, 2))
        whole = g.op("Shape", g.op("Max", row, key), start=0)
        row, key = (g.op("Unsqueeze", g.op("Expand", x, whole), g.ints(-1)) for x in (row, key))
        visible = g.op("And", causal, g.op("GatherND", known, g.op("Concat", row, key, axis=-1), batch_dims=0))
        visible = g.op("Expand", visible, g.op("Concat", batch, g.ints(1), seq, total, axis=0))
    elif padding == "flat":
        everything = g.op("ConstantOfShape", g.const("scalar", np.array([], np.int64)), value=TRUE)
        causal = g.op("And", everything, g.op("Unsqueeze", causal, g.ints(0, 1)))
        length = g.op("Gather", g.op("Shape", known), one, axis=0)
        row = g.op("Range", zero, g.op("Gather", g.op("Shape", x), zero, axis=0), one)
        row = g.op("Mul", g.op("Unsqueeze", row, g.ints(1, 2, 3)), length)
        place = g.op("Add", g.op("Unsqueeze", keys, g.ints(0, 1, 2)), row)
        known = g.op("Gather", g.op("Flatten", known, axis=2), place, axis=0)
        visible = g.op("And", causal, g.op("Reshape", known, g.op("Shape", place)))
    else:
        known = g.op("Unsqueeze", known, g.ints(1, 2))
        visible = g.op("And", g.op("Unsqueeze", causal, g.ints(0, 1)), known)
    scored = np.float32 if padding == "flat" else dtype
    lowest = g.const("lowest", scored(np.finfo(np.float32).min if padding == "flat" else -np.inf))
    nothing = g.const("nothing", scored(0))
    mask = g.op("Where", visible, nothing, lowest)

    merged = g.op("Reshape", repeated(k), g.op("Concat", g.ints(-1), total, g.ints(d), axis=0))
    merged = g.op("Transpose", merged, perm=[0, 2, 1])
    turned = g.op("Reshape", merged, g.op("Concat", batch, g.ints(heads), g.ints(d), total, axis=0))
    values = g.op("Reshape", repeated(v), g.op("Concat", batch, g.ints(heads), total, g.ints(d), axis=0))
    root = g.const("root", dtype(1 / math.sqrt(math.sqrt(d))))
    scores = g.op("MatMul", g.op("Mul", q, root), g.op("Mul", turned, root))
    if scored != dtype:
        scores, values = cast(g, scores, FLOAT), cast(g, values, FLOAT)
    weights = g.op("Softmax", g.op("Add", scores, mask), axis=-1)
    weights = g.op("Where", g.op("IsNaN", weights), nothing, weights)
    mixed = g.op("Transpose", g.op("MatMul", weights, values), perm=[0, 2, 1, 3])
    mixed = g.op("Reshape", mixed, g.op("Concat", batch, seq, g.ints(-1), axis=0))
    mixed = g.op("MatMul", mixed, g.ternary("o_proj", heads * d, hidden, 0.05, scored))
    x = g.op("Add", x, mixed) if scored == dtype else cast(g, g.op("Add", cast(g, x, FLOAT), mixed), elem)

    normed = rms_norm(g, x, "post_norm", hidden, elem)
    gate = linear(normed, "gate_proj", hidden, ffn)
    gate = g.op("Mul", gate, g.op("Sigmoid", gate))
    x = g.op("Add", x, linear(g.op("Mul", gate, linear(normed, "up_proj", hidden, ffn)), "down_proj", ffn, hidden))
    normed = rms_norm(g, x, "norm", hidden, elem)
    head = g.const("lm_head", (0.2 * g.random.standard_normal((hidden, vocabulary))).astype(dtype))
    g.output(g.op("MatMul", normed, head, to="logits"), elem, ["batch", "seq", vocabulary])
    for kind in ("key", "value"):
        g.output(f"present.0.{kind}", elem, ["batch", shared, "past+seq", d])
    g.save(HERE / f"{name}.onnx")


class Size(typing.NamedTuple):
    """Of a decoder. `block` is how many weights share a scale, `longest` how many positions have angles."""

    layers: int
    hidden: int
    heads: int
    shared: int
    d: int
    ffn: int
    vocabulary: int
    block: int
    longest: int


TINY = Size(1, 64, 4, 2, 16, 96, 40, 32, 64)
BONSAI = Size(28, 2048, 16, 8, 128, 6144, 151936, 128, 4096)


def genai_decoder(path, size, packed_rows):
    """A 2-bit Qwen3 in f16 as onnxruntime-genai writes it: GroupQueryAttention behind norms of each head. `packed_rows`: the
    embedding is the head's weights, of which GatherBlockQuantized reads rows."""
    g = Graph(5, opset=21)
    hidden, d = size.hidden, size.d
    ids = g.input("input_ids", I64, ["batch_size", "sequence_length"])
    seen = g.input("attention_mask", I64, ["batch_size", "total_sequence_length"])

    def half(name, *dims, scale=1.0, offset=0.0):
        return g.const(name, (offset + scale * g.random.standard_normal(dims, np.float32)).astype(np.float16))

    def weights(name, k, n):
        # Codes 1, 2 and 3, less a zero of 2.
        trits = g.random.integers(1, 4, (n, k // size.block, size.block), np.uint8)
        packed = sum(trits[..., i::4] << (2 * i) for i in range(4)).astype(np.uint8)
        scales = (0.02 + 0.05 * g.random.random((n, k // size.block), np.float32)) * (8 / k**0.5)
        return g.const(f"{name}.weight", packed), g.const(f"{name}.scales", scales.astype(np.float16))

    def nbits(x, name, k, n, of=None):
        of = of or weights(name, k, n)
        return g.op("MatMulNBits", x, *of, domain=MICROSOFT, K=k, N=n, bits=2, block_size=size.block)

    def norm(x, name, width):
        gain = half(name, width, scale=0.1, offset=1.0)
        return g.op("SimplifiedLayerNormalization", x, gain, axis=-1, epsilon=1e-6)

    def add_norm(x, skip, name):
        outputs = [f"{name}.y", "", "", f"{name}.sum"]
        gain = half(name, hidden, scale=0.1, offset=1.0)
        g.op("SkipSimplifiedLayerNormalization", x, skip, gain, domain=MICROSOFT, outputs=outputs, epsilon=1e-6)
        return outputs[0], outputs[3]

    lengths = g.op("Sub", g.op("ReduceSum", seen, g.ints(1), keepdims=0), g.ints(1))
    lengths = cast(g, lengths, TensorProto.INT32)
    total = g.op("Gather", g.op("Shape", seen), g.const("axis", np.int64(1)))
    total = cast(g, total, TensorProto.INT32)
    head = weights("lm_head", hidden, size.vocabulary)
    if packed_rows:
        table = g.op("Reshape", head[0], g.ints(size.vocabulary, hidden // 4))
        x = g.op("GatherBlockQuantized", table, ids, head[1], domain=MICROSOFT, bits=2, block_size=size.block,
                 gather_axis=0, quantize_axis=1)
    else:
        x = g.op("Gather", half("embed", size.vocabulary, hidden, scale=0.5), ids)
    angles = np.outer(np.arange(size.longest), 1e6 ** (-np.arange(0, d, 2) / d))
    tables = [g.const(name, f(angles).astype(np.float16)) for name, f in (("cos", np.cos), ("sin", np.sin))]

    normed = norm(x, "input_norm.0", hidden)
    for i in range(size.layers):
        dims = ["batch_size", size.shared, "past_sequence_length", d]
        past = [g.input(f"past_key_values.{i}.{kind}", HALF, dims) for kind in ("key", "value")]

        def of_heads(x, name, n):
            split = g.op("Reshape", x, g.ints(0, -1, n, d))
            return g.op("Reshape", norm(split, name, d), g.ints(0, -1, n * d))

        q = of_heads(nbits(normed, f"q_proj.{i}", hidden, size.heads * d), f"q_norm.{i}", size.heads)
        k = of_heads(nbits(normed, f"k_proj.{i}", hidden, size.shared * d), f"k_norm.{i}", size.shared)
        v = nbits(normed, f"v_proj.{i}", hidden, size.shared * d)
        outputs = [f"mixed.{i}", f"present.{i}.key", f"present.{i}.value"]
        g.op("GroupQueryAttention", q, k, v, *past, lengths, total, *tables, domain=MICROSOFT, outputs=outputs,
             num_heads=size.heads, kv_num_heads=size.shared, do_rotary=1)
        normed, x = add_norm(x, nbits(outputs[0], f"o_proj.{i}", size.heads * d, hidden), f"post_norm.{i}")
        gate = nbits(normed, f"gate_proj.{i}", hidden, size.ffn)
        gate = g.op("Mul", gate, g.op("Sigmoid", gate))
        up = nbits(normed, f"up_proj.{i}", hidden, size.ffn)
        down = nbits(g.op("Mul", gate, up), f"down_proj.{i}", size.ffn, hidden)
        normed, x = add_norm(x, down, f"input_norm.{i + 1}")
    g.output(g.op("Identity", nbits(normed, "lm_head", hidden, size.vocabulary, head), to="logits"), HALF,
             ["batch_size", "sequence_length", size.vocabulary])
    for i in range(size.layers):
        for kind in ("key", "value"):
            g.output(f"present.{i}.{kind}", HALF, ["batch_size", size.shared, "total_sequence_length", d])
    g.save(path)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        # A whole model: `make.py bonsai.onnx` has the shapes of a Qwen3 of 1.7B, `make.py bonsai.onnx 2` its first layers.
        layers = int(sys.argv[2]) if len(sys.argv) > 2 else BONSAI.layers
        genai_decoder(pathlib.Path(sys.argv[1]), BONSAI._replace(layers=layers), packed_rows=True)
        sys.exit()
    autobitlinear()
    bitlinear()
    matmul_integer()
    bitnet_masters()
    dynamo_decoder("dynamo_llama_f32", FLOAT)
    dynamo_decoder("dynamo_llama_f16", HALF)
    dynamo_decoder("dynamo_llama_indexed_mask", FLOAT, padding="indexed")
    dynamo_decoder("optimum_llama_f32", FLOAT, padding="flat")
    dynamo_decoder("optimum_llama_f16", HALF, padding="flat")
    genai_decoder(HERE / "genai_qwen3_f16.onnx", TINY, packed_rows=False)
    mobius_llama("mobius_llama")
    mobius_llama("mobius_llama_window", window=3)
    mobius_grouped()
    mobius_static()
    genai_llama()
    genai_llama_half()
