"""A backend of ONNX, on which its own test runner runs: ``onnx.backend.test.BackendTest(trine.backend, __name__)``.

It needs the package ``onnx``, and ``ml_dtypes`` for types that numpy does not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, shape_inference
from onnx.backend.base import Backend, BackendRep

from .session import InferenceSession

__all__ = ["TrineBackend", "TrineBackendRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


class TrineBackendRep(BackendRep):
    """A model that is compiled and runs on arrays in the order of its inputs."""

    def __init__(self, session: InferenceSession) -> None:
        self.session = session
        self._names = [node.name for node in session.get_inputs()]

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Runs on one array, on a list of them in the order of the inputs, or on a dictionary by name."""
        if isinstance(inputs, Mapping):
            feed = dict(inputs)
        else:
            given = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
            # `zip` would drop what is too many.
            feed = dict(zip(self._names, given, strict=True))
        return tuple(self.session.run(None, feed))


class TrineBackend(Backend):
    """What ONNX asks of a backend."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> TrineBackendRep:
        """Compiles a model; keywords are those of ``InferenceSession``."""
        if not cls.supports_device(device):
            raise ValueError(f"there is no device `{device}`, only the CPU")
        return TrineBackendRep(InferenceSession(model.SerializeToString(), **kwargs))

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Compiles a model, and runs it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Runs one node, whose outputs are of the types and shapes of ``outputs_info`` or those that follow."""
        given = [inputs] if isinstance(inputs, np.ndarray) else [np.asarray(value) for value in inputs]
        names = [name for name in node.input if name]
        if len(names) != len(given):
            raise ValueError(f"the node has {len(names)} inputs, got {len(given)}")
        values = [_value(name, array.dtype, array.shape) for name, array in zip(names, given)]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        if outputs_info is not None:
            outputs = [_value(value.name, dtype, shape) for value, (dtype, shape) in zip(outputs, outputs_info)]
        opset = helper.make_opsetid("", kwargs.pop("opset_version", onnx.defs.onnx_opset_version()))
        model = helper.make_model(helper.make_graph([node], "node", values, outputs), opset_imports=[opset])
        return cls.run_model(shape_inference.infer_shapes(model), given, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models run on the device: on the CPU alone."""
        return device.split(":")[0] == "CPU"


def _value(name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))


def is_compatible(model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
    """Whether the model is to be tried: all are."""
    return TrineBackend.is_compatible(model, device, **kwargs)


def prepare(model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> TrineBackendRep:
    """As ``TrineBackend.prepare``."""
    return TrineBackend.prepare(model, device, **kwargs)


def run_model(model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
    """As ``TrineBackend.run_model``."""
    return TrineBackend.run_model(model, inputs, device, **kwargs)


def run_node(
    node: onnx.NodeProto,
    inputs: Any,
    device: str = "CPU",
    outputs_info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None = None,
    **kwargs: Any,
) -> tuple[Any, ...]:
    """As ``TrineBackend.run_node``."""
    return TrineBackend.run_node(node, inputs, device, outputs_info, **kwargs)


def supports_device(device: str) -> bool:
    """As ``TrineBackend.supports_device``."""
    return TrineBackend.supports_device(device)
