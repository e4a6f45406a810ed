"""How the models of this folder are written: nodes in order, and random weights that are ternary."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
FLOAT, HALF, I64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


class Graph:
    """Nodes in order, each of which is named by what it gives."""

    def __init__(self, seed, opset=20):
        self.random = np.random.default_rng(seed)
        self.nodes, self.consts, self.inputs, self.outputs, self.opset = [], {}, [], [], opset

    def input(self, name, elem, dims):
        self.inputs.append(helper.make_tensor_value_info(name, elem, dims))
        return name

    def output(self, name, elem, dims):
        self.outputs.append(helper.make_tensor_value_info(name, elem, dims))

    def const(self, name, value):
        self.consts.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name

    def ints(self, *values):
        return self.const("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def op(self, kind, *operands, to=None, domain="", outputs=None, **attributes):
        names = outputs or [to or f"{kind.lower()}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, operands, names, domain=domain, **attributes))
        return names[0]

    def save(self, path):
        graph = helper.make_graph(self.nodes, path.stem, self.inputs, self.outputs, list(self.consts.values()))
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.save(model, path)

    def ternary(self, name, k, n, scale=1.0, dtype=np.float32):
        trits = self.random.integers(-1, 2, (k, n))
        return self.const(name, (trits * scale).astype(dtype))


def cast(g, x, elem):
    name = g.op("Cast", x)
    g.nodes[-1].attribute.append(helper.make_attribute("to", elem))
    return name
