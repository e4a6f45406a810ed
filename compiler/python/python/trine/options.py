"""Options of sessions by the names that onnxruntime has for them."""

from __future__ import annotations

import enum

from .errors import InvalidArgument, Unsupported

__all__ = ["GraphOptimizationLevel", "SessionOptions"]


class GraphOptimizationLevel(enum.IntEnum):
    """How hard to optimise. Here there are three levels: those from ``ORT_ENABLE_EXTENDED`` up are the same."""

    ORT_DISABLE_ALL = 0
    """Level 0: the model as imported."""
    ORT_ENABLE_BASIC = 1
    """Level 1: passes that keep every bit."""
    ORT_ENABLE_EXTENDED = 2
    """Level 2: also passes that round elsewhere than the model does."""
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99

    @property
    def level(self) -> int:
        """The level as ``trine.compile`` takes it."""
        return min(int(self), 2)


class SessionOptions:
    """How to compile and run a model, by those names of onnxruntime's that mean the same here.

    Every other name raises ``trine.Unsupported``, which names it.
    """

    intra_op_num_threads: int
    """Threads that share each kernel; 0, the default, is one a core."""
    graph_optimization_level: GraphOptimizationLevel
    """How hard to optimise; the default is ``ORT_ENABLE_ALL``."""

    def __init__(self) -> None:
        self.intra_op_num_threads = 0
        self.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
        object.__setattr__(self, "_dims", {})

    def add_free_dimension_override_by_name(self, dim_name: str, dim_value: int) -> None:
        """Fixes an open size of the inputs everywhere."""
        self.free_dimensions[dim_name] = dim_value

    @property
    def free_dimensions(self) -> dict[str, int]:
        """The sizes that ``add_free_dimension_override_by_name`` fixed."""
        dims: dict[str, int] = self.__dict__["_dims"]
        return dims

    def __setattr__(self, name: str, value: object) -> None:
        if name == "intra_op_num_threads":
            if not isinstance(value, int) or value < 0:
                raise InvalidArgument(f"`intra_op_num_threads` is a number from 0 up, not {value!r}")
        elif name == "graph_optimization_level":
            if not isinstance(value, int):
                raise InvalidArgument(f"`graph_optimization_level` is a `GraphOptimizationLevel`, not {value!r}")
            value = GraphOptimizationLevel(value)
        else:
            raise Unsupported(f"`SessionOptions.{name}` means nothing to Trine")
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> object:
        raise Unsupported(f"`SessionOptions.{name}` means nothing to Trine")
