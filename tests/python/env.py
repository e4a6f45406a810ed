"""Runs Python with the packages the tests need, in a virtual environment kept under `target/`.

    python3 tests/python/env.py SCRIPT [ARGUMENT...]    run a script in it
    python3 tests/python/env.py                         print the path of its interpreter

The environment is made on first use and again when `requirements.txt` changes. Installing needs
the package index; everything after that works offline.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from cache import HERE, STAMP, digest, is_current, locked, progress, target_dir

OLDEST = (3, 11)


def interpreter(name: str = "venv", requirements: str = "requirements.txt") -> Path:
    """The Python of the environment `target/<name>` that holds `requirements`, made if need be."""
    if sys.version_info < OLDEST:
        raise SystemExit(f"Python {'.'.join(map(str, OLDEST))} or newer is needed, this is {sys.version.split()[0]}")
    wanted = HERE / requirements
    folder = target_dir() / name
    python = folder / "bin" / "python"
    # An environment is tied to the interpreter that made it.
    stamp = digest(wanted, sys.version, os.path.realpath(sys.base_prefix))
    with locked(folder):
        if not is_current(folder, stamp):
            progress(f"installing {wanted.name} into {folder}")
            _create(folder, wanted)
            (folder / STAMP).write_text(stamp)
    return python


def enter(*folders: Path) -> None:
    """Starts the running script again in the environment, where modules of this folder and of `folders` are found."""
    found = os.pathsep.join(map(str, (HERE, *folders)))
    if os.environ.get("PYTHONPATH") != found:
        os.environ["PYTHONPATH"] = found
        python = str(interpreter())
        os.execv(python, [python, *sys.argv])


def _create(folder: Path, requirements: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        venv.create(folder, with_pip=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"cannot make `{folder}`: {error}\nhint: Debian keeps venv apart: install python3-venv"
        ) from None
    pip(folder / "bin" / "python", "install", "--requirement", str(requirements))


def pip(python: Path, *arguments: str) -> None:
    """Runs pip; a failure ends the program with pip's own last words."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        said = [line for line in result.stdout.strip().splitlines() if "Retrying" not in line]
        tail = "\n".join(said[-8:])
        raise SystemExit(f"`pip {' '.join(arguments)}` failed:\n{tail}\nhint: this step needs the package index")


def main() -> None:
    python = interpreter()
    if len(sys.argv) == 1:
        print(python)
    else:
        os.execv(python, [str(python), *sys.argv[1:]])


if __name__ == "__main__":
    main()
