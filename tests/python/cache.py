"""What the tests make once and keep: folders under `target/`, built whole or not at all.

Cargo runs tests in parallel and people interrupt them, so everything here is locked and appears
under its final name only when complete. Standard library only: it runs before there is a venv.
"""

import fcntl
import glob
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
STAMP = ".stamp"


def target_dir() -> Path:
    """Cargo's target folder: `CARGO_TARGET_DIR`, or `target/` of this checkout."""
    path = Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parents[1] / "target").resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(path: Path):
    """Holds the lock of `path`, shared by all processes, while it is made or replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def digest(*parts: bytes | str | Path) -> str:
    """One hash of strings, bytes and the contents of files."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part
        data = data.encode() if isinstance(data, str) else data
        hasher.update(len(data).to_bytes(8, "little") + data)
    return hasher.hexdigest()


def kept(path: Path, measure: Callable[[], object]):
    """What `measure()` gave when it was first called for this file, which keeps it as JSON."""
    if not path.exists():
        value = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".tmp")
        fresh.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
        fresh.rename(path)
    return json.loads(path.read_text(encoding="utf-8"))


def is_current(folder: Path, stamp: str) -> bool:
    """Whether `folder` was completed with this stamp."""
    try:
        return (folder / STAMP).read_text() == stamp
    except (FileNotFoundError, NotADirectoryError):
        return False


def build_once(folder: Path, stamp: str, build) -> None:
    """Makes `folder` by `build(temporary folder)`, unless it already has this stamp.

    `stamp` must change with whatever the contents depend on. A folder that this did not make is
    refused, not replaced.
    """
    folder = folder.resolve()
    with locked(folder):
        if is_current(folder, stamp):
            return
        if folder.exists() and not (folder / STAMP).exists() and not _is_empty(folder):
            raise SystemExit(f"`{folder}` holds something else: name an empty or a new folder")
        prefix = f".{folder.name}.tmp-"
        # Under the lock, whatever is there was left by a run that was killed.
        for left in folder.parent.glob(f"{glob.escape(prefix)}*"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        try:
            # mkdtemp's own folder is private to the user; the one inside gets the usual mode.
            fresh = temporary / "new"
            fresh.mkdir()
            build(fresh)
            (fresh / STAMP).write_text(stamp)
            if folder.exists():
                folder.rename(temporary / "old")
            fresh.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
