"""``compile``: a model for one CPU or several, in a file, and what became of it on the way."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Literal, Union

from . import _trine
from .explanation import Explanation
from .session import InferenceSession, Source, source

__all__ = ["CompiledModel", "cpus"]

Stage = Literal["imported", "optimized", "lowered", "kernels"]


class CompiledModel:
    """What ``trine.compile`` makes of a model."""

    _model: _trine.CompiledModel

    def __init__(self, model: _trine.CompiledModel) -> None:
        self._model = model

    @property
    def targets(self) -> list[str]:
        """The CPUs that it is compiled for."""
        return self._model.targets

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it to a file, which sessions load without compiling. The file is complete or not there at all."""
        self._model.save(os.fspath(path))

    def ir(self, stage: Stage = "lowered") -> str:
        """The model as text, without its weights, at a stage:

        - ``imported``: as it was read.
        - ``optimized``: after the passes that recognise and simplify, before layers become what kernels compute.
        - ``lowered``: after all passes.
        - ``kernels``: with the ops grouped into the kernels that are compiled.
        """
        return self._model.ir(stage)

    def explain(self) -> Explanation:
        """What became of each layer, and the kernels of the first target."""
        return Explanation.of(json.loads(self._model.explain_json()))

    def session(self, *, state_capacity: int | None = None, threads: int = 0) -> InferenceSession:
        """A session that runs it here, on the best of its targets that this machine has. All sessions share the weights."""
        return InferenceSession.of_program(self.program(), state_capacity=state_capacity, threads=threads)

    def program(self) -> _trine.Program:
        """What sessions share."""
        return self._model.program()

    def __repr__(self) -> str:
        return f"CompiledModel(targets={self.targets!r})"


def cpus() -> list[str]:
    """The CPUs that ``trine.compile`` takes as targets by name, besides ``native``, ``baseline`` and architectures."""
    return _trine.cpus()


def compile_model(path: Source, target: Union[str, Sequence[str]], options: dict[str, Any]) -> CompiledModel:
    """``trine.compile`` with its options in one dictionary."""
    targets = [target] if isinstance(target, str) else list(target)
    return CompiledModel(_trine.CompiledModel(source(path), targets, options))
