"""``compare``: how far two models are apart on the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .errors import InvalidArgument

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Comparison", "Difference", "Runs", "compare"]


class Named(Protocol):
    """What describes an output: an object of Trine's or of onnxruntime's."""

    @property
    def name(self) -> str:
        """The name of the output."""
        ...


class Runs(Protocol):
    """A session, of Trine's or of onnxruntime's."""

    def get_outputs(self) -> Sequence[Named]:
        """What ``run`` gives."""
        ...

    def run(self, output_names: Sequence[str] | None, input_feed: dict[str, Any], /) -> Sequence[Any]:
        """Runs the model."""
        ...


@dataclass(frozen=True)
class Difference:
    """How far two arrays are apart."""

    name: str
    same_bits: bool
    max_abs: float
    """The largest absolute difference; infinite where one alone is not a number."""
    relative: float
    """The root of the summed squared differences, over that of the first array's squares."""


@dataclass(frozen=True)
class Comparison:
    """How far two models are apart."""

    outputs: tuple[Difference, ...]

    @property
    def same_bits(self) -> bool:
        """Whether all outputs are the same to the bit."""
        return all(output.same_bits for output in self.outputs)

    @property
    def max_abs(self) -> float:
        """The largest absolute difference of any output."""
        return max((output.max_abs for output in self.outputs), default=0.0)


def compare(first: Runs, second: Runs, feed: Mapping[str, npt.ArrayLike]) -> Comparison:
    """Runs two sessions on the same inputs, and says how far their outputs are apart, by name.

    Either may be a session of onnxruntime. Both must have the outputs of the first.
    """
    names = [output.name for output in first.get_outputs()]
    missing = set(names) - {output.name for output in second.get_outputs()}
    if missing:
        raise InvalidArgument(f"the second model has no output `{min(missing)}`")
    left, right = first.run(names, dict(feed)), second.run(names, dict(feed))
    return Comparison(tuple(_difference(*each) for each in zip(names, left, right)))


def _difference(name: str, left: Any, right: Any) -> Difference:
    if left.shape != right.shape:
        raise InvalidArgument(f"output `{name}` has the shapes {left.shape} and {right.shape}")
    same = left.dtype == right.dtype and left.tobytes() == right.tobytes()
    a, b = (array.astype(np.float64) for array in (left, right))
    # Infinities that are equal, and numbers that neither has, are no difference.
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(equal, 0.0, np.abs(a - b))
    apart = np.where(np.isnan(apart), np.inf, apart)
    norm = float(np.sqrt(np.square(a[np.isfinite(a)]).sum()))
    off = float(np.sqrt(np.square(apart).sum()))
    relative = off / norm if norm > 0 else (0.0 if off == 0 else float("inf"))
    return Difference(name, same, float(apart.max(initial=0.0)), relative)
