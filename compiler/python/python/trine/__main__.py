"""``python -m trine``: the command ``trine``."""

from __future__ import annotations

import signal
import sys

from . import _trine

__all__ = ["main"]


def main() -> int:
    """Runs the command with the arguments of this program, and says what to exit with."""
    # An interrupt ends it at once, as it does the command; Python would wait until it is done.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What a program printed before comes first. There is no stream where the system gave none.
    if sys.stdout is not None:
        sys.stdout.flush()
    return _trine.main(["trine", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
