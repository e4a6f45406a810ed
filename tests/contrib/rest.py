"""Ops that onnxruntime's optimizer writes, and others of its operator set."""

import numpy as np

from attention import noise


def cases(Case):
    yield from convolutions(Case)
    yield from products(Case)
    yield from shapes(Case)
    yield from embeddings(Case)
    yield from recurrent(Case)
    yield from without_kernels(Case)


def convolutions(Case):
    activations = {
        "Relu": None, "Tanh": None, "Sigmoid": None, "LeakyRelu": [0.3], "Clip": [-0.5, 0.75], "HardSigmoid": [0.3, 0.4],
    }
    for name, params in activations.items():
        case = Case(f"FusedConv_{name}")
        inputs = [case.input(noise(1, 2, 4, 5, 5)), case.constant(noise(2, 6, 2, 3, 3)), case.constant(noise(3, 6))]
        extra = {} if params is None else {"activation_params": params}
        case.output(*case.node("FusedConv", inputs, activation=name, group=2, pads=[1, 1, 1, 1], **extra))
        yield case
    case = Case("FusedConv_residual")
    inputs = [case.input(noise(1, 1, 4, 5, 5)), case.constant(noise(2, 6, 4, 3, 3)), case.constant(noise(3, 6))]
    inputs.append(case.input(noise(4, 1, 6, 3, 3)))
    case.output(*case.node("FusedConv", inputs, activation="Relu"))
    yield case
    case = Case("ConvTransposeWithDynamicPads")
    inputs = [case.input(noise(1, 1, 2, 4, 4)), case.constant(noise(2, 2, 3, 3, 3))]
    inputs += [case.constant(np.array([1, 0, 1, 1], np.int64)), case.constant(noise(3, 3))]
    case.output(*case.node("ConvTransposeWithDynamicPads", inputs, strides=[2, 2]))
    yield case


def products(Case):
    for name, extra in {
        "Relu": {}, "LeakyRelu": {"activation_alpha": 0.2}, "Sigmoid": {}, "Tanh": {},
        "HardSigmoid": {"activation_alpha": 0.3, "activation_beta": 0.4}, "Elu": {"activation_alpha": 0.7},
    }.items():
        case = Case(f"FusedGemm_{name}")
        inputs = [case.input(noise(1, 5, 4)), case.constant(noise(2, 6, 5)), case.constant(noise(3, 6))]
        attributes = dict(alpha=0.5, beta=2.0, transA=1, transB=1, activation=name)
        case.output(*case.node("FusedGemm", inputs, **attributes, **extra))
        yield case
    case = Case("TransposeMatMul")
    inputs = [case.input(noise(1, 2, 5, 4)), case.input(noise(2, 2, 6, 5))]
    case.output(*case.node("TransposeMatMul", inputs, transA=1, transB=1, alpha=0.5))
    yield case
    for name, a, b, attributes in (
        ("a", (4, 2, 3), (2, 3, 5), dict(transBatchA=1)),
        ("both", (4, 2, 3), (5, 2, 3), dict(transBatchA=1, transBatchB=1, transB=1)),
        ("of_four", (3, 2, 4, 5), (2, 4, 5, 6), dict(transBatchA=1)),
        ("a_transposed", (3, 2, 4), (2, 3, 5), dict(transBatchA=1, transA=1)),
    ):
        case = Case(f"FusedMatMul_batches_{name}")
        if name == "a_transposed":
            a, b = (4, 2, 3), (2, 4, 5)
        inputs = [case.input(noise(1, *a)), case.input(noise(2, *b))]
        case.output(*case.node("FusedMatMul", inputs, **attributes))
        yield case
    case = Case("MatMulInteger16")
    random = np.random.default_rng(1)
    inputs = [case.input(random.integers(-300, 300, shape).astype(np.int16)) for shape in ((3, 4), (4, 5))]
    case.output(*case.node("MatMulInteger16", inputs))
    yield case
    for kinds in ((np.uint8, np.int8), (np.int8, np.int8), (np.uint8, np.uint8)):
        case = Case("MatMulIntegerToFloat_" + "_".join(np.dtype(k).name for k in kinds))
        a, b = (random.integers(0, 60, shape).astype(k) for k, shape in zip(kinds, ((3, 8), (8, 5))))
        inputs = [case.input(a), case.constant(b), case.constant(np.float32(0.03)), case.constant(noise(4, 5))]
        inputs += [case.constant(np.array(7, kinds[0])), case.constant(random.integers(0, 9, 5).astype(kinds[1]))]
        case.output(*case.node("MatMulIntegerToFloat", inputs + [case.constant(noise(5, 5))]))
        yield case


def shapes(Case):
    case = Case("Inverse")
    case.output(*case.node("Inverse", [case.input(noise(1, 2, 4, 4) + 3 * np.eye(4, dtype=np.float32))]))
    yield case
    for upper, k in ((1, 0), (0, 1), (1, -1)):
        case = Case(f"Trilu_{upper}_{k}")
        inputs = [case.input(noise(1, 2, 3, 4)), case.constant(np.array(k, np.int64))]
        case.output(*case.node("Trilu", inputs, upper=upper))
        yield case
    for mode in ("constant", "reflect", "edge"):
        case = Case(f"Pad_{mode}")
        inputs = [case.input(noise(1, 3, 4)), case.constant(np.array([1, 0, 2, 3], np.int64))]
        inputs += [case.constant(np.array([0.5], np.float32))] if mode == "constant" else []
        case.output(*case.node("Pad", inputs, mode=mode))
        yield case
    case = Case("ExpandDims")
    case.output(*case.node("ExpandDims", [case.input(noise(1, 3, 4)), case.constant(np.int32(-1))]))
    yield case
    case = Case("GatherND")
    inputs = [case.input(noise(1, 3, 4, 2)), case.input(np.array([[0, 3], [2, 1]], np.int64))]
    case.output(*case.node("GatherND", inputs))
    yield case
    case = Case("Range")
    inputs = [case.constant(np.array(v, np.int64)) for v in (2, 11)]
    case.output(*case.node("Range", inputs))
    yield case
    case = Case("UnfoldTensor")
    case.output(*case.node("UnfoldTensor", [case.input(noise(1, 2, 9))], dim=1, size=3, step=2))
    yield case
    case = Case("CDist_euclidean")
    inputs = [case.input(noise(1, 3, 4)), case.input(noise(2, 5, 4))]
    case.output(*case.node("CDist", inputs, metric="euclidean"))
    yield case
    case = Case("CDist_sqeuclidean")
    inputs = [case.input(noise(1, 3, 4)), case.input(noise(2, 5, 4))]
    case.output(*case.node("CDist", inputs, metric="sqeuclidean"))
    yield case


def embeddings(Case):
    random = np.random.default_rng(1)
    ids, kinds = random.integers(0, 7, (2, 4)), random.integers(0, 2, (2, 4))
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1]])
    for name, masked in (("plain", False), ("masked", True)):
        case = Case(f"EmbedLayerNormalization_{name}")
        inputs = [case.input(x.astype(np.int32)) for x in (ids, kinds)]
        inputs += [case.constant(noise(i, *shape)) for i, shape in enumerate(((7, 8), (5, 8), (2, 8), (8,), (8,)))]
        inputs += [case.input(mask.astype(np.int32))] if masked else []
        case.output(*case.node("EmbedLayerNormalization", inputs, 3, epsilon=1e-5))
        yield case
    case = Case("QEmbedLayerNormalization")
    inputs = [case.input(x.astype(np.int32)) for x in (ids, kinds)]
    for shape in ((7, 8), (5, 8), (2, 8), (8,), (8,)):
        inputs.append(case.constant(random.integers(0, 256, shape).astype(np.uint8)))
    inputs.append(case.input(mask.astype(np.int32)))
    inputs += [case.constant(np.float32(s)) for s in (0.02, 0.03, 0.01, 0.02, 0.05)]
    inputs += [case.constant(np.array(z, np.uint8)) for z in (128, 120, 130, 3, 127)]
    case.output(*case.node("QEmbedLayerNormalization", inputs, 2, epsilon=1e-5))
    yield case


def recurrent(Case):
    """DynamicQuantizeLSTM rounds its inputs to eight bits at run time."""
    random = np.random.default_rng(2)
    for name, each, both, kind in (
        ("plain", False, False, np.int8), ("a_scale_a_gate", True, False, np.int8), ("both_ways", False, True, np.uint8),
    ):
        # Of which f32 is what eight bits approximate.
        case, ways, width, hidden = Case(f"DynamicQuantizeLSTM_{name}", off=0.02), 1 + both, 4, 3
        low, high, zero = (-60, 61, 0) if kind is np.int8 else (70, 190, 128)
        w, r = (random.integers(low, high, (ways, rows, 4 * hidden)).astype(kind) for rows in (width, hidden))
        shape = (ways, 4 * hidden) if each else (ways,)
        scale = random.uniform(0.005, 0.01, shape).astype(np.float32)
        zeros = np.full(shape, zero, kind)
        inputs = [case.input(noise(1, 5, 2, width)), case.constant(w), case.constant(r)]
        inputs += [case.constant(noise(2, ways, 8 * hidden)), "", "", "", ""]
        inputs += [case.constant(x) for x in (scale, zeros, scale, zeros)]
        direction = "bidirectional" if both else "forward"
        case.output(*case.node("DynamicQuantizeLSTM", inputs, 3, hidden_size=hidden, direction=direction))
        yield case


def without_kernels(Case):
    """Operators for which onnxruntime has kernels of other machines only, by their documented formulas."""

    def answered(case, y, *answers):
        case.output(*y)
        case.answers = {name: np.asarray(a, np.float32) for name, a in zip(y, answers)}
        return case

    def group_norm(x, gain, bias, groups, eps):
        n, h, w, c = x.shape
        g = x.astype(np.float64).reshape(n, h * w, groups, c // groups)
        mean, var = g.mean((1, 3), keepdims=True), g.var((1, 3), keepdims=True)
        return ((g - mean) / np.sqrt(var + eps)).reshape(x.shape) * gain + bias

    silu = lambda y: y / (1 + np.exp(-y))
    x, gain, bias = noise(1, 2, 3, 4, 8), noise(2, 8), noise(3, 8)
    for activation in (0, 1):
        for last in (0, 1):
            case = Case(f"GroupNorm_{activation}_{last}")
            stored = x if last else x.transpose(0, 3, 1, 2)
            inputs = [case.input(stored), case.constant(gain), case.constant(bias)]
            y = case.node("GroupNorm", inputs, groups=4, epsilon=1e-3, activation=activation, channels_last=last)
            want = group_norm(x, gain, bias, 4, 1e-3)
            want = silu(want) if activation else want
            yield answered(case, y, want if last else want.transpose(0, 3, 1, 2))
    for name, skip in (("whole", noise(4, 2, 3, 4, 8)), ("flat", noise(4, 2, 8)), ("spread", noise(4, 2, 1, 1, 8))):
        case = Case(f"SkipGroupNorm_{name}")
        inputs = [case.input(x), case.constant(gain), case.constant(bias), case.input(skip), case.constant(noise(5, 8))]
        y = case.node("SkipGroupNorm", inputs, 2, groups=2, activation=1)
        total = x + (skip if skip.ndim == 4 else skip[:, None, None]) + noise(5, 8)
        yield answered(case, y, silu(group_norm(total, gain, bias, 2, 1e-5)), total)
    for name, shape, inner in (("inner", (4, 1, 3), 1), ("outer", (1, 2, 3), 0)):
        case = Case(f"BiasSoftmax_{name}")
        data, added = noise(1, 4, 2, 3), noise(2, *shape)
        y = case.node("BiasSoftmax", [case.input(data), case.input(added)], axis=2, is_inner_broadcast=inner)
        e = np.exp(data.astype(np.float64) + added)
        yield answered(case, y, e / e.sum(-1, keepdims=True))
    case = Case("BiasAdd")
    data, skip = noise(1, 2, 3, 8), noise(2, 2, 3, 8)
    yield answered(case, case.node("BiasAdd", [case.input(data), case.constant(gain), case.input(skip)]), data + gain + skip)
    case = Case("BiasSplitGelu")
    data = noise(1, 2, 3, 8) + gain
    erf = np.vectorize(__import__("math").erf)
    left, right = data[..., :4], data[..., 4:].astype(np.float64)
    y = case.node("BiasSplitGelu", [case.input(data - gain), case.constant(gain)])
    yield answered(case, y, left * right * 0.5 * (1 + erf(right / np.sqrt(2))))
    for n in (8, 6):
        case = Case(f"Rfft_{n}")
        signal = noise(1, 3, n)
        turned = np.fft.rfft(signal.astype(np.float64))
        pairs = np.stack([turned.real, turned.imag], -1).astype(np.float32)
        yield answered(case, case.node("Rfft", [case.input(signal)], normalized=0, onesided=1, signal_ndim=1), pairs)
        case = Case(f"Irfft_{n}")
        y = case.node("Irfft", [case.input(pairs)], normalized=0, onesided=1, signal_ndim=1)
        yield answered(case, y, np.fft.irfft(pairs[..., 0].astype(np.float64) + 1j * pairs[..., 1], n))
    case = Case("Rfft_plane")
    signal = noise(1, 2, 3, 4, 6)
    turned = np.fft.rfft2(signal.astype(np.float64))
    pairs = np.stack([turned.real, turned.imag], -1).astype(np.float32)
    yield answered(case, case.node("Rfft", [case.input(signal)], normalized=0, onesided=1, signal_ndim=2), pairs)
    case = Case("Irfft_plane")
    y = case.node("Irfft", [case.input(pairs)], normalized=0, onesided=1, signal_ndim=2)
    yield answered(case, y, np.fft.irfft2(pairs[..., 0].astype(np.float64) + 1j * pairs[..., 1], (4, 6)))
    for op, z in (("NhwcConv", False), ("NhwcFusedConv", True)):
        case = Case(op)
        image, w, b = noise(1, 2, 5, 5, 4), noise(2, 6, 4, 3, 3), noise(3, 6)
        windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (3, 3), (1, 2))
        want = np.einsum("nhwcij,mcij->nhwm", windows, w) + b
        inputs = [case.input(image), case.constant(w), case.constant(b)]
        extra = {}
        if z:
            inputs.append(case.input(noise(4, 2, 3, 3, 6)))
            want, extra = np.maximum(want + noise(4, 2, 3, 3, 6), 0), {"activation": "Relu"}
        yield answered(case, case.node(op, inputs, **extra), want)
