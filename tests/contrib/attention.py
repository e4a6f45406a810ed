"""GroupQueryAttention, Attention and QAttention in every form that exporters write."""

import numpy as np


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def tables(positions: int, half: int) -> tuple[np.ndarray, np.ndarray]:
    angles = np.arange(positions)[:, None] * 100.0 ** (-np.arange(half) / half)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def cases(Case):
    yield from grouped(Case)
    yield from merged(Case)
    yield from quantized(Case)


def grouped(Case):
    """GroupQueryAttention: `lengths` counts the tokens of each sequence after the step."""

    def one(name, lengths, new, past=0, room=None, heads=4, kv=2, d=16, half=8, packed=False, bias=None, sink=False,
            ids=None, queries=None, keep=1, **attributes):
        case, batch = Case(f"gqa_{name}"), len(lengths)
        q, k, v = (noise(i, batch, new, h * d) for i, h in ((1, heads), (2, kv), (3, kv)))
        rows = past if room is None else room
        # What lies beyond a sequence's past is noise that nobody is to see.
        inputs = [case.input(np.concatenate([q, k, v], 2)), "", ""] if packed else [case.input(x) for x in (q, k, v)]
        has_past = past or room is not None or keep == 2
        inputs += [case.input(noise(i, batch, kv, rows, d)) for i in (4, 5)] if has_past else ["", ""]
        total = max(lengths)
        inputs += [case.input(np.array(lengths, np.int32) - 1), case.constant(np.int32(total))]
        if attributes.get("do_rotary"):
            inputs += [case.constant(t) for t in tables(24, half)]
        else:
            inputs += ["", ""]
        inputs.append("" if ids is None else case.input(np.array(ids, np.int64)))
        inputs.append("" if bias is None else case.input(noise(6, *bias)))
        inputs.append(case.constant(noise(7, heads)) if sink else "")
        inputs += ["", "", "", ""]
        inputs.append("" if queries is None else case.input(np.array(queries, np.int32)))
        while inputs[-1] == "":
            inputs.pop()
        y = case.node("GroupQueryAttention", inputs, 3 if keep else 1, num_heads=heads, kv_num_heads=kv, **attributes)
        case.output(*y)
        return defined(case, lengths, new, queries)

    yield one("prompt", [5], 5)
    yield one("prompt_without_results", [5], 5, keep=0)
    yield one("prompt_of_two", [5, 5], 5)
    yield one("prompt_padded", [5, 3], 5)
    yield one("prompt_empty_past", [5], 5, keep=2)
    yield one("prompt_shared", [5], 5, room=9)
    yield one("decode", [5], 1, past=4)
    yield one("decode_lengths_differ", [5, 3], 1, past=4)
    yield one("decode_shared", [5], 1, room=8)
    yield one("decode_shared_lengths_differ", [5, 3], 1, room=8)
    yield one("decode_shared_full", [8], 1, room=8)
    yield one("chunk", [7], 3, past=4)
    yield one("chunk_shared", [7], 3, room=9)
    yield one("packed", [5], 1, past=4, packed=True)
    yield one("packed_prompt_rotary", [4], 4, packed=True, do_rotary=1)
    yield one("rotary", [5], 1, past=4, do_rotary=1)
    yield one("rotary_interleaved", [5], 1, past=4, do_rotary=1, rotary_interleaved=1)
    # onnxruntime takes tables of eight pairs at a time.
    yield one("rotary_part", [5], 1, past=4, d=32, half=8, do_rotary=1)
    yield one("rotary_part_interleaved", [5], 1, past=4, d=32, half=8, do_rotary=1, rotary_interleaved=1)
    yield one("rotary_part_prompt", [5], 5, d=32, half=8, do_rotary=1)
    yield one("rotary_lengths_differ", [5, 3], 1, past=4, do_rotary=1)
    yield one("rotary_padded_prompt", [5, 3], 5, do_rotary=1)
    yield one("position_ids", [5], 1, past=4, do_rotary=1, ids=[[7]])
    yield one("position_ids_of_a_chunk", [7], 3, past=4, do_rotary=1, ids=[[9, 4, 11]])
    yield one("position_ids_of_a_prompt", [3], 3, do_rotary=1, ids=[[2, 3, 4]])
    yield one("window", [7], 1, past=6, local_window_size=3)
    yield one("window_prompt", [7], 7, local_window_size=3)
    yield one("window_shared", [7], 1, room=9, local_window_size=3)
    yield one("window_lengths_differ", [7, 4], 1, past=6, local_window_size=2)
    yield one("softcap", [5], 1, past=4, softcap=0.5)
    yield one("scale", [5], 5, scale=0.25)
    yield one("bias", [5], 1, past=4, bias=(1, 4, 1, 5))
    yield one("bias_prompt", [4, 4], 4, bias=(2, 1, 4, 4))
    yield one("smooth", [5], 1, past=4, smooth_softmax=1)
    yield one("smooth_prompt_capped", [5], 5, smooth_softmax=1, softcap=2.0)
    yield one("smooth_window", [7], 1, room=8, smooth_softmax=1, local_window_size=3)
    yield one("sink", [5], 1, past=4, sink=True)
    yield one("sink_prompt", [5, 5], 5, sink=True, bias=(1, 1, 5, 5))
    yield one("sink_shared", [5], 1, room=8, sink=True)
    yield one("everything", [7, 5], 1, room=9, d=32, half=8, packed=True, do_rotary=1, rotary_interleaved=1, softcap=1.5,
              local_window_size=4, sink=True, scale=0.3)
    yield one("sees_both_ways", [5], 5, causal=0)
    yield one("queries_padded", [7, 3], 4, room=12, queries=[3, 1], do_rotary=1)


def defined(case, lengths, new, queries):
    """Cuts from the results what onnxruntime leaves open: rows of padding, and cache rows that no token has."""
    counts = queries or [min(new, n) for n in lengths]
    if all(c == new for c in counts) and len(set(lengths)) == 1 and len(case.outputs) == 1:
        return case
    axes = case.constant(np.array([0, 1], np.int64))
    deep = case.constant(np.array([0, 2], np.int64))
    results, case.outputs = [o.name for o in case.outputs], []
    for b, (n, count) in enumerate(zip(lengths, counts)):
        for result, ax, end in zip(results, (axes, deep, deep), (count, n, n)):
            start = case.constant(np.array([b, 0], np.int64))
            end = case.constant(np.array([b + 1, end], np.int64))
            case.output(*case.node("Slice", [result, start, end, ax], domain=""))
    return case


def merged(Case):
    """Attention, whose projections are one product."""

    def one(name, batch=2, seq=3, width=6, heads=2, sizes=None, mask=None, past=None, bias=True, extra=None, **attributes):
        case = Case(f"attention_{name}")
        columns = sum(sizes) if sizes else 3 * 8
        inputs = [case.input(noise(1, batch, seq, width)), case.constant(noise(2, width, columns))]
        inputs.append(case.constant(noise(3, columns)) if bias else "")
        inputs.append("" if mask is None else case.input(np.array(mask, np.int32)))
        inputs.append("" if past is None else case.input(noise(4, 2, batch, heads, past, 8 // heads)))
        inputs.append("" if extra is None else case.input(noise(5, *extra)))
        while inputs[-1] == "":
            inputs.pop()
        if sizes:
            attributes["qkv_hidden_sizes"] = sizes
        case.output(*case.node("Attention", inputs, 1 if past is None and sizes else 2, num_heads=heads, **attributes))
        return case

    yield one("plain")
    yield one("without_bias", bias=False)
    yield one("sizes_differ", sizes=[8, 8, 12])
    yield one("causal", unidirectional=1)
    yield one("scaled", scale=0.3)
    yield one("mask_of_keys", mask=[[1, 1, 0], [1, 1, 1]])
    yield one("mask_filter_value", mask=[[1, 1, 0], [1, 1, 1]], mask_filter_value=-1.0)
    yield one("mask_of_pairs", mask=[[[1, 0, 1], [1, 1, 0], [1, 1, 1]], [[1, 1, 1], [0, 1, 1], [0, 0, 1]]])
    yield one("ends", mask=[2, 3])
    yield one("ends_and_starts", mask=[2, 3, 0, 1])
    yield one("past", past=4, unidirectional=1)
    yield one("past_masked", past=2, mask=[[0, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    yield one("causal_masked", mask=[[0, 1, 1], [1, 1, 1]], unidirectional=1)
    yield one("biased", extra=(1, 2, 3, 3))
    yield one("biased_masked", extra=(2, 1, 3, 3), mask=[[1, 1, 0], [1, 1, 1]])


def quantized(Case):
    """QAttention, whose product with the weights is of integers."""

    def one(name, kinds=(np.uint8, np.int8), each=False, mask=None, past=None, zeros=True, **attributes):
        case, (x_kind, w_kind), random = Case(f"qattention_{name}"), kinds, np.random.default_rng(1)
        columns, shift = 24, {np.uint8: 60, np.int8: 0}
        x = random.integers(-60, 60, (2, 3, 6)) + shift[x_kind]
        w = random.integers(-60, 60, (6, columns)) + shift[w_kind]
        scales = random.uniform(0.005, 0.02, columns if each else ()).astype(np.float32)
        inputs = [case.input(x.astype(x_kind)), case.constant(w.astype(w_kind)), case.constant(noise(3, columns))]
        inputs += [case.constant(np.float32(0.02)), case.constant(scales)]
        inputs.append("" if mask is None else case.input(np.array(mask, np.int32)))
        if zeros:
            of_w = np.full(columns if each else (), shift[w_kind] + 2, w_kind)
            inputs += [case.constant(np.array(shift[x_kind] + 3, x_kind)), case.constant(of_w)]
        else:
            inputs += ["", ""]
        inputs.append("" if past is None else case.input(noise(4, 2, 2, 2, past, 4)))
        while inputs[-1] == "":
            inputs.pop()
        case.output(*case.node("QAttention", inputs, 2, num_heads=2, **attributes))
        return case

    yield one("plain")
    yield one("without_zeros", zeros=False)
    yield one("a_scale_a_column", each=True)
    yield one("unsigned_weights", kinds=(np.uint8, np.uint8))
    yield one("mask_of_keys", mask=[[1, 1, 0], [1, 1, 1]])
    yield one("ends", mask=[2, 3])
    yield one("past", past=2, unidirectional=1)
