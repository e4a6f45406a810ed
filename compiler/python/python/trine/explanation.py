"""What became of a model's layers, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Optional

__all__ = ["Became", "Explanation", "Kernel", "Layer", "Miss", "Sums", "Ternary", "Weights"]

Family = Literal["linear", "recurrent", "norm", "attention", "activation", "other"]


@dataclass(frozen=True)
class Miss:
    """A rule that nearly matched a layer, and what kept it."""

    pass_name: str
    rule: str
    reason: str


@dataclass(frozen=True)
class Became:
    """The op that a layer was recognised as."""

    op: str
    """The op with its attributes."""
    pass_name: Optional[str]
    """The pass that made it; none where the model says so itself."""


@dataclass(frozen=True)
class Weights:
    """The constant that a linear layer multiplies by."""

    name: str
    type: str


@dataclass(frozen=True)
class Ternary:
    """How the weights of a layer are ternary."""

    weights: str
    n: int
    k: int
    group: int
    planes: int
    found: str
    """The method that made them so, or how they were spelt where they were ternary already."""
    error: float
    """The squared error, relative to the squared weights."""
    zeros: float
    """The share of zeros, from 0 to 1."""
    bits_per_weight: float


@dataclass(frozen=True)
class Layer:
    """A layer and what became of it."""

    family: Family
    node: str
    """The ONNX node."""
    op_type: str
    weights: Optional[Weights]
    became: Optional[Became]
    ternary: Optional[Ternary]
    misses: tuple[Miss, ...]


@dataclass(frozen=True)
class Sums:
    """What sums a quantized layer, and why it was chosen."""

    microkernel: str
    why: str


@dataclass(frozen=True)
class Kernel:
    """A kernel, and what it calls."""

    name: str
    calls: int
    """How often a run calls it."""
    sums: Optional[Sums]
    microkernels: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """What became of each layer, and the kernels."""

    layers: tuple[Layer, ...]
    kernels: tuple[Kernel, ...]

    @staticmethod
    def of(told: dict[str, Any]) -> Explanation:
        """The explanation as data, of what ``trine explain --json`` prints."""
        return Explanation(tuple(map(_layer, told["layers"])), tuple(map(_kernel, told["kernels"])))


def _layer(told: dict[str, Any]) -> Layer:
    weights, became, ternary = told["weights"], told["became"], told["ternary"]
    return Layer(
        family=told["family"],
        node=told["node"],
        op_type=told["op_type"],
        weights=Weights(**weights) if weights else None,
        became=Became(became["op"], became["pass"]) if became else None,
        ternary=Ternary(**ternary) if ternary else None,
        misses=tuple(Miss(miss["pass"], miss["rule"], miss["reason"]) for miss in told["misses"]),
    )


def _kernel(told: dict[str, Any]) -> Kernel:
    sums = told["sums"]
    return Kernel(
        name=told["name"],
        calls=told["calls"],
        sums=Sums(sums["microkernel"], str(sums["why"])) if sums else None,
        microkernels=tuple(told["microkernels"]),
    )
