"""What measures: the command `trine`, and what it once measured, kept so that an interrupted comparison goes on."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cache import HERE, digest, kept, progress
from process import call, report

ROOT = HERE.parents[1]


@dataclass
class Lab:
    trine: Path
    # Where texts, and figures that were measured, are kept.
    folder: Path
    threads: int
    # Optimizer steps of each training, or 0 for as many as each part wants.
    steps: int = 0
    # Rows of the table of SmolLM2, or none for all of them.
    rows: tuple[str, ...] = ()
    # The seconds that what was asked for took when it was measured, be it now or earlier.
    seconds: float = 0.0
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        self.identity = digest(self.trine)

    def kept(self, what: str, key: list, measure: Callable[[], object], identity: str | None = None):
        """What `measure()` gave when it was first called for this command, or `identity`, and this key."""
        name = digest(identity or self.identity, *(part if isinstance(part, Path) else str(part) for part in key))

        def timed() -> dict:
            progress(what)
            start = time.monotonic()
            return {"what": what, "value": measure(), "seconds": time.monotonic() - start}

        found = kept(self.folder / "kept" / f"{name[:32]}.json", timed)
        self.seconds += found["seconds"]
        return found["value"]

    def ask(self, command: str, *arguments) -> dict:
        """The JSON that a subcommand prints. Files among the arguments are `Path`s: their contents matter."""

        def measure() -> dict:
            return report([self.trine, command, *arguments, "--threads", self.threads, "--json"])

        return self.kept(f"trine {command} {' '.join(map(_short, arguments))}", [command, *arguments], measure)

    def ternarized(self, model: Path, held_out: Path, context: int, *arguments) -> dict:
        """The report of `trine ternarize`, with the `loss` of what it made on another text."""
        tokenizer = model.with_name("tokenizer.json")

        def measure() -> dict:
            self.folder.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(dir=self.folder))
            try:
                common = ["--context", context, "--threads", self.threads, "--json"]
                found = report([self.trine, "ternarize", model, *arguments, *common, "-o", made])
                ours = ["perplexity", made / "model.onnx", "--tokenizer", tokenizer, "--text", held_out]
                return found | {"held_out": report([self.trine, *ours, *common])}
            finally:
                shutil.rmtree(made)

        key = ["ternarize", model, tokenizer, held_out, context, *arguments]
        return self.kept(f"trine ternarize {' '.join(map(_short, arguments))}", key, measure)

    def trained(self, script: str, *arguments) -> str:
        """What a script of `examples/train` prints; it depends on those scripts, not on the command."""
        folder = ROOT / "examples" / "train"
        sources = digest(*sorted(folder.glob("*.py")), folder / "requirements.txt")
        command = [sys.executable, folder / "run.py", script, *arguments]
        what = f"{script} {' '.join(map(_short, arguments))}"
        return self.kept(what, [script, *map(_short, arguments)], lambda: call(command), sources)


def _short(argument) -> str:
    return argument.name if isinstance(argument, Path) else str(argument)
