"""Weights of a few bits: MatMulNBits and GatherBlockQuantized."""

import numpy as np
from onnx import TensorProto, helper

FOUR = {
    np.int8: helper.tensor_dtype_to_np_dtype(TensorProto.INT4),
    np.uint8: helper.tensor_dtype_to_np_dtype(TensorProto.UINT4),
}


def cases(Case):
    yield from products(Case)
    yield from rows(Case)


def packed(fields: np.ndarray, bits: int) -> np.ndarray:
    """Fields of the last axis in bytes, low bits first; each row begins at a byte."""
    each = 8 // bits
    fields = np.concatenate([fields, np.zeros((*fields.shape[:-1], -fields.shape[-1] % each), fields.dtype)], -1)
    fields = fields.reshape(*fields.shape[:-1], -1, each).astype(np.uint32)
    return (fields << (bits * np.arange(each, dtype=np.uint32))).sum(-1).astype(np.uint8)


def products(Case):
    def one(name, bits, block, n=6, k=48, zero="none", real=np.float32, bias=False, batch=(3,), **attributes):
        rounds = attributes.get("accuracy_level") == 4
        case, random = Case(f"MatMulNBits_{name}", off=0.02 if rounds else 1e-5, compiled=1e-5), np.random.default_rng(bits * 100 + block)
        blocks = -(-k // block)
        q = random.integers(0, 1 << bits, (n, blocks, block))
        x = random.standard_normal((*batch, k)).astype(real)
        scales = random.uniform(0.02, 0.05, (n, blocks)).astype(real)
        inputs = [case.input(x), case.constant(packed(q, bits)), case.constant(scales)]
        if zero == "packed":
            zeros = packed(random.integers(0, 1 << bits, (n, blocks)), bits)
            inputs.append(case.constant(zeros))
        elif zero == "real":
            inputs.append(case.constant(random.uniform(0, (1 << bits) - 1, (n, blocks)).astype(real)))
        else:
            inputs.append("")
        inputs += ["", case.constant(random.standard_normal(n).astype(real))] if bias else []
        while inputs[-1] == "":
            inputs.pop()
        case.output(*case.node("MatMulNBits", inputs, N=n, K=k, bits=bits, block_size=block, **attributes))
        return case

    for bits in (2, 4, 8):
        yield one(f"{bits}", bits, 16)
        yield one(f"{bits}_short_block", bits, 32, k=40, zero="packed")
        yield one(f"{bits}_bias", bits, 32, zero="packed", bias=True, batch=(2, 3))
        if bits != 8:
            yield one(f"{bits}_real_zeros", bits, 16, zero="real", bias=bits != 2)
        yield one(f"{bits}_half", bits, 16, real=np.float16, zero="packed")
        yield one(f"{bits}_flat_half", bits, 32, real=np.float16, k=64)
    for bits in (4, 8):
        # Rows of activations whose blocks differ by far, which one scale a row would lose.
        yield one(f"{bits}_int8", bits, 32, k=128, accuracy_level=4)


def rows(Case):
    def one(name, bits, kind=np.uint8, shape=(11, 32), block=16, gather=0, quantize=1, zero=False, real=np.float32,
            ids=((0, 3, 10), (-1, 5, 3)), far=np.int64):
        case, random = Case(f"GatherBlockQuantized_{name}"), np.random.default_rng(bits)
        low, high = (-8, 8) if kind is np.int8 else (0, 1 << bits)
        q = random.integers(low, high, shape)
        scale_shape = [-(-d // block) if axis == quantize % len(shape) else d for axis, d in enumerate(shape)]
        zeros = random.integers(low, high, scale_shape)
        # Types of four bits are packed by the format itself, bytes by hand.
        as_stored = lambda x: x.astype(FOUR[kind]) if bits == 4 and name.startswith("i4") else packed(x, bits)
        inputs = [case.constant(as_stored(q)), case.input(np.array(ids, far))]
        inputs.append(case.constant(random.uniform(0.02, 0.5, scale_shape).astype(real)))
        if zero:
            inputs.append(case.constant(as_stored(zeros)))
        case.output(*case.node("GatherBlockQuantized", inputs, bits=bits, block_size=block, gather_axis=gather,
                               quantize_axis=quantize))
        return case

    for bits in (2, 4, 8):
        yield one(f"u8_{bits}", bits)
        yield one(f"u8_{bits}_zeros", bits, zero=True, shape=(11, 80))
        yield one(f"u8_{bits}_half", bits, real=np.float16, far=np.int32, shape=(11, 64), block=32)
        yield one(f"u8_{bits}_scalar", bits, ids=4)
        yield one(f"u8_{bits}_cube", bits, shape=(5, 3, 32), quantize=2, ids=(4, 0, 9))
        yield one(f"u8_{bits}_short_block", bits, shape=(7, 24), ids=(6, 2), zero=True)
    for kind in (np.int8, np.uint8):
        word = f"i4_{np.dtype(kind).name}"
        yield one(word, 4, kind)
        yield one(f"{word}_zeros", 4, kind, zero=True)
        yield one(f"{word}_columns", 4, kind, shape=(32, 6), gather=1, quantize=0, ids=(5, 0, 2), zero=True)
        yield one(f"{word}_same_axis", 4, kind, shape=(32, 6), gather=0, quantize=0, ids=(31, 0, 17), zero=True)
        yield one(f"{word}_negative_axes", 4, kind, shape=(3, 5, 32), gather=-2, quantize=-1, ids=(4, 0))
