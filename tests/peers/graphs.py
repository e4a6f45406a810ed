"""Asks onnxruntime what random graphs give, and compares with what Trine's interpreter gave.

    TRINE_GRAPHS=0..500 TRINE_GRAPHS_OUT=target/drawn cargo test --test graphs
    python3 tests/peers/graphs.py target/drawn

Every value of a graph is an output. Where a graph's outputs differ, each node is run by itself on Trine's own
operands, so that a difference is one of an op and not of what led to it; the first such node is printed.
"""

import argparse
import collections
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
import env

RELATIVE = {"float32": 2e-4, "float64": 1e-6, "float16": 5e-3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what TRINE_GRAPHS_OUT named")
    parser.add_argument("--verbose", action="store_true", help="print what onnxruntime refuses, too")
    arguments = parser.parse_args()
    env.enter()

    outcomes = collections.Counter()
    different = 0
    for folder in sorted((f for f in arguments.folder.iterdir() if f.name.isdigit()), key=lambda f: int(f.name)):
        outcome, lines = compare(folder)
        outcomes[outcome] += 1
        different += outcome == "different"
        if lines and (outcome == "different" or arguments.verbose):
            print(f"{folder.name}: {outcome}")
            print(*(f"    {line}" for line in lines), sep="\n", flush=True)
    print(", ".join(f"{count} {name}" for name, count in outcomes.most_common()))
    sys.exit(different > 0)


def compare(folder: Path) -> tuple[str, list[str]]:
    """How a graph goes, and what there is to say of it."""
    import numpy as np
    import onnx

    model = onnx.load(folder / "model.onnx")
    runs = []
    while (folder / f"out{len(runs)}.npz").exists():
        i = len(runs)
        runs.append((dict(np.load(folder / f"in{i}.npz")), dict(np.load(folder / f"out{i}.npz"))))
    try:
        graph = session(model)
    except Exception as error:
        return "refused", [first_line(error)]
    taken = {i.name for i in graph.get_inputs()}
    names = [o.name for o in graph.get_outputs()]
    widened = {o.name for o in model.graph.output if o.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16}
    for inputs, expected in runs:
        try:
            got = dict(zip(names, graph.run(None, {k: v for k, v in inputs.items() if k in taken}), strict=True))
        except Exception as error:
            return "not run", [first_line(error)]
        if any(name not in widened and difference(got[name], expected[name]) for name in names):
            lines = by_node(model, inputs, expected, widened)
            if lines:
                return "different", lines
    return "same", []


def by_node(model, inputs, expected, widened) -> list[str]:
    """The first node that gives other results on Trine's operands, and what they are."""
    from onnx import helper, numpy_helper

    values = inputs | expected | {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for node in model.graph.node:
        own = [name for name in dict.fromkeys([*node.input, *captured(node)]) if name]
        if node.op_type == "Constant" or any(name in widened for name in [*own, *node.output]):
            continue
        if any(name not in values for name in own):
            continue
        constants = {t.name for t in model.graph.initializer}
        parameters = [info(name, values[name]) for name in own if name not in constants]
        outputs = [o for o in model.graph.output if o.name in node.output]
        kept = [t for t in model.graph.initializer if t.name in own]
        single = helper.make_graph([node], "node", parameters, outputs, kept)
        alone = helper.make_model(single, opset_imports=model.opset_import, ir_version=model.ir_version)
        try:
            got = session(alone).run(None, {name: values[name] for name in own if name not in constants})
        except Exception as error:
            return [f"{node.op_type} alone: {first_line(error)}"]
        for output, value in zip(outputs, got, strict=True):
            found = difference(value, expected[output.name])
            if found:
                operands = [f"{name}: {values[name].dtype}{list(values[name].shape)}" for name in own]
                attributes = [f"{a.name}={helper.get_attribute_value(a)}" for a in node.attribute if not a.HasField("g")]
                line = f"{node.op_type}-{version(model, node)}({', '.join(operands)}) {' '.join(attributes)}"
                return [line, f"{output.name}: {found}"]
    return []


def captured(node) -> list[str]:
    """Names that the bodies of a node take from around it."""
    names = []
    for attribute in node.attribute:
        if attribute.HasField("g"):
            made = {i.name for i in attribute.g.input}
            for inner in attribute.g.node:
                names += [n for n in [*inner.input, *captured(inner)] if n and n not in made]
                made |= set(inner.output)
            names += [o.name for o in attribute.g.output if o.name not in made]
    return names


def difference(got, expected) -> str:
    """Where and how two arrays differ; empty if they do not."""
    import numpy as np

    if got.dtype != expected.dtype or got.shape != expected.shape:
        return f"onnxruntime gives {got.dtype}{list(got.shape)}, Trine {expected.dtype}{list(expected.shape)}"
    if got.dtype.kind != "f":
        bad = got != expected
    else:
        relative = RELATIVE[got.dtype.name]
        finite = np.abs(expected[np.isfinite(expected)])
        scale = float(finite.max()) if finite.size else 0.0
        with np.errstate(all="ignore"):
            a, b = got.astype(np.float64), expected.astype(np.float64)
            close = np.abs(a - b) <= relative * np.abs(b) + relative / 20 * scale
        bad = ~((got == expected) | (np.isnan(got) & np.isnan(expected)) | (close & np.isfinite(got)))
    if not bad.any():
        return ""
    at = tuple(int(i[0]) for i in np.nonzero(bad)) if bad.ndim else ()
    return f"{int(bad.sum())} of {bad.size} differ, at {list(at)} onnxruntime gives {got[at]}, Trine {expected[at]}"


def session(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def info(name, value):
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def version(model, node) -> int:
    return next(o.version for o in model.opset_import if o.domain == node.domain)


def first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


if __name__ == "__main__":
    main()
