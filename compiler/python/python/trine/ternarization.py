"""``ternarize``: a model whose weights become ternary, fitted to data."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional, Union

from . import _trine
from .errors import InvalidArgument
from .session import source

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["KeptLayer", "RoundedLayer", "Ternarized", "ternarize"]

# The recipes of the command: for data, and for the weights alone.
_FITTED = "gptq+cd+compensate{group=128,planes=2,scales=16}"
_PLAIN = "exact"


@dataclass(frozen=True)
class RoundedLayer:
    """A layer whose weights were rounded, and what it cost."""

    weights: str
    """The constant that held them."""
    node: str
    n: int
    k: int
    bits: float
    """Bits a weight, all counted."""
    zeros: float
    """The share of zeros, from 0 to 1."""
    weight_error: float
    """The squared error of the weights, relative to their squares."""
    output_error: Optional[float]
    """The same of what the layer gives for the data it was fitted to."""
    held_out_error: Optional[float]
    """The same for data that was held out."""


@dataclass(frozen=True)
class KeptLayer:
    """A layer that stays as it was."""

    weights: str
    n: int
    k: int
    why: str


@dataclass(frozen=True)
class Ternarized:
    """A model that was made ternary."""

    path: Path
    """The model: ``model.onnx``, or ``model.ir`` where ONNX cannot say it."""
    recipe: str
    layers: tuple[RoundedLayer, ...]
    kept: tuple[KeptLayer, ...]


def ternarize(
    model: Union[str, os.PathLike[str]],
    output: Union[str, os.PathLike[str]],
    data: Union[Mapping[str, npt.ArrayLike], Sequence[int], None] = None,
    recipe: Optional[str] = None,
    *,
    bits: Optional[float] = None,
    keep: Sequence[str] = (),
    context: int = 512,
    tokens: int = 16384,
    seed: int = 0,
    threads: int = 0,
    max_memory: int = 3 << 30,
    format: Optional[Literal["onnx", "nbits", "ir"]] = None,
) -> Ternarized:
    """Rounds the weights of a model to {-1, 0, +1} times scales, and writes it into the folder ``output``. Lossy.

    ``data`` is what it is fitted to: arrays by the names of inputs, examples along the first axis; or, for a language model,
    token ids, of which ``tokens`` are taken in windows of ``context``. An eighth of either is held out. Without data a recipe
    is needed that goes by the weights alone, as ``exact`` does, which is the default then.

    ``recipe`` is a method of ``trine list methods``, with options in braces. ``bits`` chooses the depth of each layer so that
    all take so many bits a weight. Weights whose names match one of ``keep``, ``*`` standing for anything, stay, and so does
    the last layer unless ``keep`` has ``none``. ``max_memory`` is in bytes.

    ``format`` is ``nbits``, ONNX with 2-bit ``MatMulNBits`` of onnxruntime, or ``ir`` where ONNX cannot say the result, unless
    another is asked for; ``onnx`` is plain f32 weights, which any runtime runs and which are many times the size.
    """
    path = source(model)
    if isinstance(path, bytes):
        raise InvalidArgument("`model` is a path")
    if isinstance(keep, str):
        raise InvalidArgument("`keep` is a list of names, not text")
    asked: dict[str, Any] = {
        "recipe": recipe or (_PLAIN if data is None else _FITTED),
        "bits": bits,
        "keep": list(keep),
        "context": context,
        "tokens": tokens,
        "seed": seed,
        "threads": threads,
        "max_memory": max_memory,
        "format": format,
    }
    given = None if data is None else dict(data) if isinstance(data, Mapping) else list(data)
    told: dict[str, Any] = json.loads(_trine.ternarize(path, os.fspath(output), given, asked))
    return Ternarized(
        path=Path(told["path"]),
        recipe=told["recipe"],
        layers=tuple(RoundedLayer(**layer) for layer in told["layers"]),
        kept=tuple(KeptLayer(**layer) for layer in told["kept"]),
    )
