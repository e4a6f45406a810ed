"""The QLinear family: each is its float formula between a dequantization and a quantization."""

import numpy as np

KINDS = (np.uint8, np.int8)


def integers(seed: int, kind, *shape: int) -> np.ndarray:
    bounds = np.iinfo(kind)
    return np.random.default_rng(seed).integers(bounds.min, bounds.max + 1, shape).astype(kind)


def cases(Case):
    for kind in KINDS:
        word = np.dtype(kind).name
        yield from elementwise(Case, kind, word)
        yield from pooled(Case, kind, word)
        yield from products(Case, kind, word)


def scalars(case, kind, scale, zero) -> list[str]:
    """Scale and zero point; None for one that is left out."""
    of_zero = "" if zero is None else case.constant(np.array(zero, kind))
    return [case.constant(np.float32(scale)), of_zero]


def middle(kind) -> int:
    return 128 if kind is np.uint8 else 3


def elementwise(Case, kind, word):
    m = middle(kind)
    for op in ("QLinearAdd", "QLinearMul"):
        for name, (a, b) in {"same": ((4, 33), (4, 33)), "row": ((2, 3, 5), (5,)), "scalar": ((7, 9), ())}.items():
            case = Case(f"{op}_{word}_{name}")
            inputs = [case.input(integers(1, kind, *a)), *scalars(case, kind, 0.021, m)]
            inputs += [case.input(integers(2, kind, *b)), *scalars(case, kind, 0.013, m - 7)]
            inputs += scalars(case, kind, 0.027 if op == "QLinearAdd" else 0.037, m + 5)
            case.output(*case.node(op, inputs))
            yield case
    unary = {"QLinearSigmoid": (0.05, 1 / 256), "QLinearLeakyRelu": (0.05, 0.04)}
    for op, (scale, result) in unary.items():
        every = np.arange(np.iinfo(kind).min, np.iinfo(kind).max + 1).astype(kind)
        for name, zero in (("every", m + 1), ("without_zeros", None)):
            case = Case(f"{op}_{word}_{name}")
            low = None if zero is None else int(np.iinfo(kind).min) if op == "QLinearSigmoid" else m
            inputs = [case.input(every), *scalars(case, kind, scale, zero), *scalars(case, kind, result, low)]
            attributes = {"alpha": 0.3} if op == "QLinearLeakyRelu" and zero is not None else {}
            case.output(*case.node(op, inputs, **attributes))
            yield case
    for name, shape, axis, opset in (("last", (3, 17), -1, 13), ("middle", (2, 5, 3), 1, 13), ("coerced", (2, 5, 3), 1, 11)):
        case = Case(f"QLinearSoftmax_{word}_{name}")
        inputs = [case.input(integers(3, kind, *shape)), *scalars(case, kind, 0.04, m)]
        inputs += scalars(case, kind, 1 / 256, int(np.iinfo(kind).min))
        case.output(*case.node("QLinearSoftmax", inputs, axis=axis, opset=opset))
        yield case
    case = Case(f"QLinearConcat_{word}")
    inputs = scalars(case, kind, 0.03, m)
    for i, (scale, zero) in enumerate(((0.03, m), (0.02, m + 4), (0.05, m - 6))):
        inputs += [case.input(integers(i, kind, 2, i + 2, 3)), *scalars(case, kind, scale, zero)]
    case.output(*case.node("QLinearConcat", inputs, axis=1))
    yield case
    case = Case(f"QLinearWhere_{word}")
    inputs = [case.input(np.random.default_rng(4).random((4, 6)) > 0.5)]
    for i, (scale, zero) in enumerate(((0.02, m + 4), (0.05, m - 6))):
        inputs += [case.input(integers(i, kind, 4, 6)), *scalars(case, kind, scale, zero)]
    case.output(*case.node("QLinearWhere", inputs + scalars(case, kind, 0.03, m)))
    yield case


def pooled(Case, kind, word):
    m = middle(kind)
    forms = {
        "plain": dict(kernel_shape=[2, 2]),
        "padded": dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        "padding_counts": dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        "ceil": dict(kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        "channels_last": dict(kernel_shape=[2, 2], channels_last=1),
    }
    for name, attributes in forms.items():
        case = Case(f"QLinearAveragePool_{word}_{name}")
        shape = (2, 5, 5, 3) if name == "channels_last" else (2, 3, 5, 5)
        inputs = [case.input(integers(1, kind, *shape)), *scalars(case, kind, 0.0297, m)]
        case.output(*case.node("QLinearAveragePool", inputs + scalars(case, kind, 0.0203, m - 9), **attributes))
        yield case
    for name, shape, last in (("plain", (2, 3, 5, 4), 0), ("channels_last", (2, 5, 4, 3), 1)):
        case = Case(f"QLinearGlobalAveragePool_{word}_{name}")
        inputs = [case.input(integers(1, kind, *shape)), *scalars(case, kind, 0.03, m)]
        inputs += scalars(case, kind, 0.011, m - 9)
        case.output(*case.node("QLinearGlobalAveragePool", inputs, channels_last=last))
        yield case
    case = Case(f"NhwcMaxPool_{word}")
    x = case.input(integers(1, kind, 2, 5, 5, 3))
    case.output(*case.node("NhwcMaxPool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]))
    yield case


def products(Case, kind, word):
    """Weights stay small: onnxruntime's sums of pairs of u8 and s8 saturate where a machine has no VNNI."""
    random, m = np.random.default_rng(5), middle(kind)

    def small(*shape):
        return random.integers(-30, 31, shape).astype(np.int8)

    for name, attributes, each, bias, quantized in (
        ("plain", {}, False, False, True),
        ("transposed", dict(transA=1, transB=1), True, True, True),
        ("scaled_to_floats", dict(alpha=0.5), True, True, False),
        ("to_floats", {}, False, False, False),
    ):
        case = Case(f"QGemm_{word}_{name}")
        a, b = ((8, 4), (6, 8)) if attributes.get("transA") else ((4, 8), (8, 6))
        inputs = [case.input(integers(1, kind, *a)), *scalars(case, kind, 0.02, m), case.constant(small(*b))]
        scale = random.uniform(0.01, 0.02, 6 if each else ()).astype(np.float32)
        inputs += [case.constant(scale), case.constant(np.full(6 if each else (), 2, np.int8))]
        inputs.append(case.constant(random.integers(-500, 500, 6).astype(np.int32)) if bias else "")
        inputs += scalars(case, kind, 0.07, m + 3) if quantized else []
        while inputs[-1] == "":
            inputs.pop()
        case.output(*case.node("QGemm", inputs, **attributes))
        yield case
    for last in (0, 1):
        case = Case(f"QLinearConv_{word}_{'channels_last' if last else 'plain'}")
        shape = (1, 5, 5, 4) if last else (1, 4, 5, 5)
        inputs = [case.input(integers(1, kind, *shape)), *scalars(case, kind, 0.02, m), case.constant(small(6, 2, 3, 3))]
        scale = random.uniform(0.01, 0.02, 6).astype(np.float32)
        inputs += [case.constant(scale), case.constant(np.zeros(6, np.int8)), *scalars(case, kind, 0.09, m + 3)]
        inputs.append(case.constant(random.integers(-500, 500, 6).astype(np.int32)))
        case.output(*case.node("QLinearConv", inputs, group=2, pads=[1, 1, 1, 1], channels_last=last))
        yield case
