"""The prose of Debian's `fortunes` package, and which of it nothing is fitted to.

    python3 examples/train/fortunes.py [CACHE]    # prints it as JSON: {"fitted": [...], "held_out": [...]}

Standard library only: tests that measure on this text need none of what training installs.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/python"))
import cache  # noqa: E402

CACHE = ROOT / "target/train"  # where downloads go
# Not prose, or not something a sample in a README should imitate.
SKIPPED = {"ascii-art", "drugs", "ethnic", "men-women", "zippy", "translate-me"}
HELD_OUT = 20  # every twentieth text is kept for validation


def main():
    all_texts = texts(Path(sys.argv[1]) if len(sys.argv) > 1 else CACHE)
    parts = {"fitted": [], "held_out": []}
    for i, text in enumerate(all_texts):
        parts["fitted" if i % HELD_OUT else "held_out"].append(text)
    json.dump(parts, sys.stdout)


def texts(folder: Path) -> list[str]:
    """Every fortune of the package, which is downloaded into `folder` with apt on the first call."""
    package = folder / "fortunes"
    cache.build_once(package, "unpacked", download)
    found = []
    for file in sorted((package / "usr/share/games/fortunes").iterdir()):
        if file.suffix or file.is_symlink() or file.name in SKIPPED:
            continue
        for text in file.read_text(encoding="utf-8", errors="replace").split("\n%\n"):
            # Terminal layout (tabs, overstrikes, wrapped lines) teaches nothing about words.
            text = text.replace("\t", " ").replace("\b", "").strip()
            text = "\n".join(" ".join(line.split()) for line in text.splitlines())
            if text:
                found.append(text)
    return found


def download(folder: Path):
    """Unpacks the package into `folder`."""
    cache.progress("downloading Debian's `fortunes` with apt-get")
    run(["apt-get", "download", "fortunes"], folder)
    for package in folder.glob("fortunes_*.deb"):
        run(["dpkg", "-x", package.name, "."], folder)
        package.unlink()


def run(command: list[str], folder: Path):
    try:
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        failure = done.stdout.strip() if done.returncode else None
    except FileNotFoundError as error:
        failure = str(error)
    if failure is not None:
        hint = "this step needs Debian's packages; `apt-get update` fetches the list of them"
        raise SystemExit(f"`{' '.join(command)}` failed:\n{failure}\nhint: {hint}")


if __name__ == "__main__":
    main()
