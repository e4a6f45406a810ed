"""A small ONNX graph writer: nodes named by scope, weights streamed to an external file.

`onnx.helper` makes protobuf messages one at a time; this keeps the list of nodes, names every
value after the node that makes it (`/layers.0/mlp/Mul`), shares equal constants, and writes big
weights straight to disk, so that a model larger than memory can be written.
"""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

# Runtimes map external data by page, so each tensor starts on one.
PAGE = 4096


class Graph:
    """Collects one ONNX graph. `data` names the external data file, or None to keep weights inline."""

    def __init__(self, name: str, opset: int, data: Path | None = None):
        self.name = name
        self.opset = opset
        self._data_name = data.name if data else None
        self._data = open(data, "wb") if data else None
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple, str] = {}
        self._used: dict[str, int] = {}
        self._scopes: list[str] = []
        self._domains: set[str] = set()

    @contextmanager
    def scope(self, name: str):
        """Prefixes the names of the nodes made inside with `name`."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def op(self, op_type: str, *inputs: str, outputs: int | list[str] = 1, domain: str = "", **attributes):
        """Adds a node and returns its output name, or a tuple of them.

        `outputs` is how many to name after the node, or the names themselves; an input "" is absent.
        """
        name = self._unique("/".join(["", *self._scopes, op_type]))
        if isinstance(outputs, int):
            outputs = [f"{name}_output_{i}" for i in range(outputs)]
        self._nodes.append(
            helper.make_node(op_type, list(inputs), list(outputs), name=name, domain=domain, **attributes)
        )
        self._domains.add(domain)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def constant(self, value, dtype) -> str:
        """A small initializer; the same value is stored once."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._unique("constant")
            self._initializers.append(onnx.numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """An int64 vector, as shapes and axes are given."""
        return self.constant(values, np.int64)

    def weight(self, name: str, array: np.ndarray) -> str:
        """An initializer named `name`; external where the graph has a data file."""
        array = np.ascontiguousarray(array)
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        return self.raw_weight(name, dtype, array.shape, array)

    def raw_weight(self, name: str, dtype: int, shape: tuple[int, ...], data: np.ndarray) -> str:
        """An initializer whose little-endian (for sub-byte types: packed) bytes are those of `data`."""
        tensor = TensorProto(name=self._unique(name), data_type=dtype, dims=shape)
        if self._data is None:
            tensor.raw_data = data.tobytes()
        else:
            self._data.write(bytes(-self._data.tell() % PAGE))
            entries = {"location": self._data_name, "offset": self._data.tell(), "length": data.nbytes}
            self._data.write(memoryview(data).cast("B"))
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
        self._initializers.append(tensor)
        return tensor.name

    def input(self, name: str, dtype: int, shape: list) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: int, shape: list) -> str:
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def save(self, path: Path, producer: str) -> None:
        """Checks the model and writes it; the data file must be beside `path`."""
        if self._data is not None:
            self._data.close()
        opsets = [helper.make_opsetid(d, 1 if d else self.opset) for d in sorted(self._domains | {""})]
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, self._initializers)
        # The oldest version that will do is the one that most readers know.
        version = helper.find_min_ir_version_for(opsets, ignore_unknown=True)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=version, producer_name=producer)
        path.write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(path))

    def _unique(self, name: str) -> str:
        count = self._used.get(name, 0)
        self._used[name] = count + 1
        return f"{name}_{count}" if count else name
