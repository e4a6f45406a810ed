"""Commands that print: run to their end, with what failed in their own words."""

import json
import os
import subprocess
import sys
from pathlib import Path

from cache import HERE, target_dir

# Trine asks the kernel for huge pages by itself; this asks for the peers.
PEER = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def call(command: list, env: dict[str, str] | None = None) -> str:
    """What a command printed; if it fails, the program ends with its last words."""
    words = [str(part) for part in command]
    result = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    if result.returncode:
        said = (result.stdout + result.stderr).strip().splitlines()[-12:]
        raise SystemExit("\n".join([f"`{' '.join(words)}` failed with {result.returncode}:", *said]))
    return result.stdout


def report(command: list, env: dict[str, str] | None = None):
    """The JSON that a command printed."""
    return json.loads(call(command, env))


def built() -> Path:
    """The command `trine`, as cargo builds it."""
    subprocess.run(["cargo", "build", "--release", "-p", "trine"], cwd=HERE.parents[1], check=True, stdout=sys.stderr)
    return target_dir() / "release" / "trine"
