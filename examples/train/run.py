"""Runs a script of this folder with the packages it needs, in an environment that is made on first use.

    python3 examples/train/run.py SCRIPT [ARGUMENT...]

The environment is `target/venv-train`, made again when `requirements.txt` changes; see `tests/python/env.py`.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests/python"))
import env  # noqa: E402


def main():
    if len(sys.argv) == 1:
        raise SystemExit(__doc__)
    python = env.interpreter("venv-train", str(HERE / "requirements.txt"))
    os.execv(python, [str(python), str(HERE / sys.argv[1]), *sys.argv[2:]])


if __name__ == "__main__":
    main()
