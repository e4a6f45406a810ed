"""Models as Trine's passes leave them: what is measured many times is optimized once."""

from pathlib import Path

from cache import STAMP, build_once, digest, progress, target_dir
from process import call, report


class Trine:
    def __init__(self, command: Path):
        self.command = command

    def optimized(self, source: Path, name: str, *options: str) -> Path:
        """`source`, a model in a folder of the cache, after `trine opt` with these options."""
        folder = target_dir() / "peers" / f"{source.parent.name}-{name}"

        def build(made: Path) -> None:
            progress(f"optimizing {source.parent.name}: {name}")
            call([self.command, "opt", source, "-o", made / "model.ir", *options])

        build_once(folder, digest(source.with_name(STAMP), self.command, *options), build)
        return folder / "model.ir"

    def bench(self, model: Path, threads: int, seconds: float, dim: str) -> dict:
        settings = ["--json", "--threads", threads, "--seconds", seconds, "--dim", dim]
        return report([self.command, "bench", model, *settings])
