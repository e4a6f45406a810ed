"""The cells of the exporter matrix: which exporter is given which checkpoint, by the command that a person gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from checkpoints import ALL, CHECKPOINTS, CHECKPOINTS_REAL, Checkpoint

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Exporter:
    """`environment` names the requirements beside this file: exporters pin each other out."""

    environment: str
    # The words of a command by the folder of the environment's programs, checkpoint, output, element type and options.
    command: Callable[[Path, Path, Path, str, tuple[str, ...]], list]
    # The ways in which it is run, by what a table calls them.
    variants: dict[str, tuple[str, ...]]


def by_torch(programs: Path, checkpoint: Path, output: Path, dtype: str, options: tuple[str, ...]) -> list:
    return [programs / "python", HERE / "torch_export.py", checkpoint, output, "--dtype", dtype, *options]


def by_mobius(programs: Path, checkpoint: Path, output: Path, dtype: str, options: tuple[str, ...]) -> list:
    return [programs / "mobius", "build", "--config", checkpoint, output, "--dtype", dtype, *options]


def by_genai(programs: Path, checkpoint: Path, output: Path, dtype: str, options: tuple[str, ...]) -> list:
    precision = () if "-p" in options else ("-p", {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}[dtype])
    builder = [programs / "python", "-m", "onnxruntime_genai.models.builder", "-e", "cpu", "-c", output / "cache"]
    return [*builder, "-i", checkpoint, "-o", output, *precision, *options]


def by_optimum(programs: Path, checkpoint: Path, output: Path, dtype: str, options: tuple[str, ...]) -> list:
    words = [programs / "optimum-cli", "export", "onnx", "--model", checkpoint, "--task", "text-generation-with-past"]
    return [*words, "--dtype", {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}[dtype], output, *options]


EXPORTERS = {
    "torch": Exporter(
        "exporters", by_torch, {"sdpa": ("--attention", "sdpa"), "eager": ("--attention", "eager")}
    ),
    "optimum": Exporter("optimum", by_optimum, {"": ()}),
    "mobius": Exporter(
        "exporters", by_mobius, {"": (), "ep-cpu": ("--ep", "cpu"), "static-cache": ("--static-cache",)}
    ),
    "genai": Exporter("exporters", by_genai, {"": (), "int4": ("-p", "int4")}),
}  # fmt: skip
# Those that are made of f32 alone: what they spell in another way does not depend on the type.
ONLY_F32 = ("eager", "int4", "static-cache")


@dataclass(frozen=True)
class Cell:
    exporter: str
    checkpoint: str
    dtype: str
    variant: str

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.exporter, self.variant, self.checkpoint, self.dtype)))

    @property
    def of(self) -> Checkpoint:
        return ALL[self.checkpoint]

    @property
    def rounded(self) -> bool:
        """Whether the exporter itself rounds weights, so that they need not stay ternary nor answer as torch does."""
        return self.variant == "int4"

    def command(self, programs: Path, checkpoint: Path, output: Path) -> list[str]:
        exporter = EXPORTERS[self.exporter]
        words = exporter.command(programs, checkpoint, output, self.dtype, exporter.variants[self.variant])
        return [str(word) for word in words]


def cells(real: bool) -> list[Cell]:
    """Those of tiny checkpoints, or those of layers of a real size, which torch alone exports."""
    found = []
    for name, exporter in EXPORTERS.items():
        for checkpoint, described in (CHECKPOINTS_REAL if real else CHECKPOINTS).items():
            for variant in exporter.variants:
                if real and (name, variant) != ("torch", "sdpa"):
                    continue
                dtypes = ("f32",) if variant in ONLY_F32 else described.dtypes
                found += [Cell(name, checkpoint, dtype, variant) for dtype in dtypes]
    return found
