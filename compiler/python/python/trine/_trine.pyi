"""What of the package is Rust."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

__version__: str

def main(arguments: Sequence[str]) -> int:
    """Runs the command ``trine`` with arguments, the first of which is the name of the program; says what to exit with.

    What the arguments themselves are answered with, as ``--help`` is or a wrong one, ends the process.
    """

def cpus() -> list[str]:
    """The CPUs that ``trine.compile`` takes as targets by name."""

def ternarize(
    model: str, output: str, data: dict[str, npt.ArrayLike] | list[int] | None, asked: dict[str, Any]
) -> str:
    """Rounds the weights of a model and writes it into a folder; says what became of each layer, as JSON."""

@final
class Program:
    """A compiled model, which sessions share."""

    def __new__(cls, source: bytes | str, options: dict[str, Any]) -> Self: ...

@final
class NodeArg:
    """An input or an output."""

    @property
    def name(self) -> str:
        """Its name."""
    @property
    def type(self) -> str:
        """Its type as onnxruntime spells it, such as ``tensor(float)``."""
    @property
    def shape(self) -> list[int | str]:
        """Its sizes: numbers, and open ones as text."""

@final
class ModelMetadata:
    """What an ONNX model says of itself. Text is empty where it says nothing, as all is of a model in another form."""

    @property
    def producer_name(self) -> str:
        """What made it."""
    @property
    def graph_name(self) -> str:
        """The name of its graph."""
    @property
    def domain(self) -> str:
        """Its name space, such as ``org.example``."""
    @property
    def description(self) -> str:
        """What it is."""
    @property
    def graph_description(self) -> str:
        """What its graph is."""
    @property
    def version(self) -> int:
        """Its version; where it gives none, the largest integer of 64 bits, as onnxruntime has it."""
    @property
    def custom_metadata_map(self) -> dict[str, str]:
        """Whatever else its maker wrote, by name."""

class Session:
    """A running instance of a program."""

    def __new__(cls, program: Program, threads: int, state_capacity: int | None = None) -> Self: ...
    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, npt.ArrayLike],
        run_options: None = None,
    ) -> list[npt.NDArray[Any]]:
        """Runs on inputs by name, and returns the outputs that are named, or all.

        Arrays that are contiguous, in row-major order and of the input's type are read where they lie, and must not be
        written to meanwhile; others are made so first. Types are never converted, but for lists of plain numbers. The arrays
        that are returned are new ones.
        """
    def get_inputs(self) -> list[NodeArg]:
        """What ``run`` takes, without what the session holds."""
    def get_outputs(self) -> list[NodeArg]:
        """What ``run`` gives, without what the session holds."""
    def get_modelmeta(self) -> ModelMetadata:
        """What the model says of itself, if it was read from ONNX: compiled files do not keep it."""
    @property
    def filled(self) -> int:
        """How many positions the states hold."""
    @property
    def threads(self) -> int:
        """How many threads share each kernel."""
    def truncate(self, filled: int) -> None:
        """Forgets the positions of the states from ``filled`` on."""
    def reset(self) -> None:
        """Forgets all that the states hold, as if nothing had run."""

@final
class CompiledModel:
    """A model, and its code for some targets."""

    def __new__(cls, source: bytes | str, targets: list[str], options: dict[str, Any]) -> Self: ...
    @property
    def targets(self) -> list[str]:
        """What it is compiled for."""
    def save(self, path: str) -> None:
        """Writes it to a file."""
    def ir(self, stage: str) -> str:
        """The model at a stage, as text."""
    def explain_json(self) -> str:
        """What became of each layer, and the kernels, as JSON."""
    def program(self) -> Program:
        """What of it runs here."""

class Decoder:
    """A language model and what it has read."""

    def __new__(
        cls, program: Program, threads: int, capacity: int, genai_config: str | None = None
    ) -> Self: ...
    def feed(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Reads tokens, at least one, and returns the logits of what comes next: one for each token of the vocabulary."""
    def next(
        self, tokens: Sequence[int], temperature: float, top_p: float, seed: int, step: int
    ) -> int:
        """Reads tokens, and draws the next one. Draws of one seed differ by ``step``, which the caller counts."""
    def __len__(self) -> int:
        """How many tokens were read."""
    def reset(self) -> None:
        """Forgets all that was read."""
