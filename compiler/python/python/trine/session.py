"""``InferenceSession``: onnxruntime's signature, and Trine behind it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from . import _trine
from .errors import InvalidArgument, InvalidModel
from .options import SessionOptions

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["InferenceSession", "get_available_providers", "get_device"]

PROVIDER = "CPUExecutionProvider"

Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview]
Provider = Union[str, tuple[str, Mapping[str, Any]]]


class InferenceSession(_trine.Session):
    """A running instance of a model.

    ``path_or_bytes`` is an ``.onnx`` file or the bytes of one, an ``.ir`` file, a ``.trine`` file or its bytes, or a
    folder that holds ``model.onnx`` or ``onnx/model.onnx``, as those of Hugging Face do. A ``.trine`` file is code: load
    only what you trust.

    ``providers`` is as onnxruntime has it, and must name the CPU. ``state_capacity`` has the session hold the states of a
    model, such as caches of keys and values, for so many positions: they are then no longer among inputs and outputs.
    ``threads`` is short for the option ``intra_op_num_threads``. Further keywords say how to compile, as for
    ``trine.compile``.

    Threads of Python may share a session, which runs for one at a time. Sessions run at once, without Python's lock.
    """

    def __new__(
        cls,
        path_or_bytes: Source,
        sess_options: SessionOptions | None = None,
        providers: Sequence[Provider] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        *,
        state_capacity: int | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> Self:
        _check_providers(providers, provider_options)
        if sess_options is not None:
            threads = sess_options.intra_op_num_threads if threads is None else threads
            # What is compiled already has its level.
            if not _is_compiled(path_or_bytes):
                options.setdefault("level", sess_options.graph_optimization_level.level)
            if sess_options.free_dimensions:
                options["dims"] = {**sess_options.free_dimensions, **(options.get("dims") or {})}
        program = _trine.Program(source(path_or_bytes), options)
        return super().__new__(cls, program, threads or 0, state_capacity)

    @classmethod
    def of_program(
        cls, program: _trine.Program, *, state_capacity: int | None = None, threads: int = 0
    ) -> Self:
        """A session of a program that others share."""
        return super().__new__(cls, program, threads, state_capacity)

    def get_providers(self) -> list[str]:
        """What runs the model: the CPU."""
        return [PROVIDER]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """The options of the provider, of which there are none."""
        return {PROVIDER: {}}


def get_available_providers() -> list[str]:
    """What can run models: the CPU."""
    return [PROVIDER]


def get_device() -> str:
    """What runs models, in onnxruntime's word."""
    return "CPU"


def source(path_or_bytes: Source) -> bytes | str:
    """What is to be read for a model: bytes, or the file that is it or that lies in the folder that is it."""
    if isinstance(path_or_bytes, (bytes, bytearray, memoryview)):
        return bytes(path_or_bytes)
    path = Path(path_or_bytes)
    if not path.is_dir():
        return os.fspath(path_or_bytes)
    candidates = [path / "model.onnx", path / "onnx" / "model.onnx"]
    for candidate in candidates:
        if candidate.is_file():
            return str(candidate)
    raise InvalidModel(f"`{path}` holds neither `model.onnx` nor `onnx/model.onnx`")


def _is_compiled(path_or_bytes: Source) -> bool:
    if isinstance(path_or_bytes, (bytes, bytearray, memoryview)):
        return bytes(path_or_bytes[:4]) == b"\x89TRN"
    return Path(path_or_bytes).suffix == ".trine"


def _check_providers(
    providers: Sequence[Provider] | None, provider_options: Sequence[Mapping[str, Any]] | None
) -> None:
    """Others than the CPU's are passed over, as onnxruntime does with those that it lacks."""
    if providers is not None:
        names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        if names and PROVIDER not in names:
            raise InvalidArgument(f"`providers` names {', '.join(names)}; there is {PROVIDER} only")
    for given in provider_options or ():
        if given:
            raise InvalidArgument(f"{PROVIDER} has no option `{next(iter(given))}`")
