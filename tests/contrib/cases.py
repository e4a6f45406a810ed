#!/usr/bin/env python3
"""Writes cases.npz beside it: nodes of onnxruntime's operator set with inputs, and what onnxruntime makes of them.

Its one array is a model whose nodes are the cases, by name: attribute `graph` is the case, `in` and `out` are its inputs
and outputs, so that all of them are compressed together. `tests/contrib_cases.rs` runs them: integers are to be equal,
floats near. What cannot be asked of onnxruntime, because it has no kernel for the CPU, is written in numpy by the
operator's documented formula.

    python3 tests/contrib/cases.py        # needs numpy, onnx and onnxruntime 1.32
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import attention
import quantized
import rest
import weights

HERE = pathlib.Path(__file__).parent


class Case:
    """A model that grows a node at a time."""

    def __init__(self, name: str, opset: int = 21, off: float = 1e-5, compiled: float | None = None):
        """`off` is how far floats may be, over the largest; and `compiled`, where passes round as onnxruntime does."""
        self.name, self.opset, self.off, self.compiled = name, opset, off, off if compiled is None else compiled
        self.nodes, self.inputs, self.constants, self.outputs, self.feeds = [], [], [], [], {}
        self.answers: dict[str, np.ndarray] = {}

    def input(self, array, dims=None) -> str:
        """An input, whose dimensions may have names."""
        array = np.asarray(array)
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, element(array), dims or array.shape))
        self.feeds[name] = array
        return name

    def constant(self, array) -> str:
        name = f"c{len(self.constants)}"
        array = np.asarray(array)
        if array.dtype in (FOUR_SIGNED, FOUR_UNSIGNED):
            tensor = helper.make_tensor(name, element(array), array.shape, array.astype(np.int32).ravel())
        else:
            tensor = numpy_helper.from_array(array, name)
        self.constants.append(tensor)
        return name

    def node(self, op: str, inputs: list, outputs=1, domain="com.microsoft", **attributes) -> list[str]:
        """A node of inputs that are names or, as "", absent; `outputs` says how many, or which."""
        wanted = range(outputs) if isinstance(outputs, int) else outputs
        results = [f"y{len(self.nodes)}_{i}" if i in wanted else "" for i in range(max(wanted) + 1)]
        self.nodes.append(helper.make_node(op, inputs, results, domain=domain, **attributes))
        return results

    def output(self, *names: str) -> None:
        for name in names:
            if name:
                self.outputs.append(onnx.ValueInfoProto(name=name))

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "case", self.inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def run(self) -> dict[str, np.ndarray]:
        if self.answers:
            return self.answers
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(self.model().SerializeToString(), options, ["CPUExecutionProvider"])
        names = [o.name for o in self.outputs]
        return dict(zip(names, session.run(names, self.feeds)))


FOUR_SIGNED = helper.tensor_dtype_to_np_dtype(TensorProto.INT4)
FOUR_UNSIGNED = helper.tensor_dtype_to_np_dtype(TensorProto.UINT4)


def element(array: np.ndarray) -> int:
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def main() -> None:
    nodes, refused = [], []
    for family in (attention, quantized, weights, rest):
        for case in family.cases(Case):
            try:
                answers = case.run()
            except Exception as error:
                refused.append(f"{case.name}: {error}")
                continue
            tensors = lambda arrays: [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]
            graph, given, wanted = case.model().graph, tensors(case.feeds), tensors(answers)
            node = helper.make_node("Case", [], [], name=case.name, graph=graph)
            node.attribute.append(onnx.AttributeProto(name="in", type=onnx.AttributeProto.TENSORS, tensors=given))
            node.attribute.append(onnx.AttributeProto(name="out", type=onnx.AttributeProto.TENSORS, tensors=wanted))
            node.attribute.append(helper.make_attribute("opset", case.opset))
            node.attribute.append(helper.make_attribute("off", [case.off, case.compiled]))
            nodes.append(node)
    names = [node.name for node in nodes]
    refused += [f"two cases are called {name}" for name in set(names) if names.count(name) > 1]
    if refused:
        sys.exit("\n".join(refused))
    model = helper.make_model(helper.make_graph(nodes, "cases", [], []))
    np.savez_compressed(HERE / "cases.npz", cases=np.frombuffer(model.SerializeToString(), np.uint8))
    print(f"{len(nodes)} cases")


if __name__ == "__main__":
    main()
