"""Texts to fit to and to measure with.

The model was trained on Debian's fortunes but for every twentieth, which its trainer held out. Those are what losses
are measured on: neither training nor fitting saw them. What is fitted to is drawn from the others.
"""

import random
import re
import string
import sys
from pathlib import Path
from pydoc_data.topics import topics

from lab import ROOT

sys.path.append(str(ROOT / "examples" / "train"))
import fortunes  # noqa: E402

# Drawings of texts to fit to.
SEEDS = [0, 1, 2]
# More than 40,000 tokens.
DRAWN = 1000
# Letters of the texts of other kinds; a token has about two.
LETTERS = 150_000
PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "examples/train/README.md"]
CRATES = ["ir/src", "runtime", "compiler/src"]
MODULES = ["argparse", "inspect", "typing", "subprocess"]


class Texts:
    """Files of text, written into a folder on first use."""

    def __init__(self, folder: Path, downloads: Path):
        self.folder = folder
        self.downloads = downloads
        self._fortunes: list[str] = []

    @property
    def held_out(self) -> Path:
        return self._written("held-out", lambda: "\n\n".join(self._split()[1]))

    def count(self) -> int:
        """How many fortunes are held out."""
        return len(self._split()[1])

    def fitted(self, seed: int) -> Path:
        """Fortunes to fit to."""
        return self._written(f"fortunes-{seed}", lambda: "\n\n".join(self._drawn(seed)))

    def domains(self) -> dict[str, Path]:
        """Texts of other kinds."""
        draw = random.Random(0)

        def shuffled() -> str:
            words = " ".join(self._drawn(0)).split()
            draw.shuffle(words)
            return " ".join(words)

        def letters() -> str:
            return "".join(draw.choices(string.ascii_lowercase + "    ", k=LETTERS))

        makers = {
            "pages of this repository": _pages,
            "Python's reference": lambda: "\n\n".join(topics[name] for name in sorted(topics))[:LETTERS],
            "program text, Python's library": lambda: "\n".join(_source(name) for name in MODULES)[:LETTERS],
            "fortunes, their words in random order": shuffled,
            "random letters": letters,
        }
        return {name: self._written(re.sub(r"\W+", "-", name), make) for name, make in makers.items()}

    def _split(self) -> tuple[list[str], list[str]]:
        """Fortunes that the trainer saw, and those it held out: see `fortunes.HELD_OUT`."""
        if not self._fortunes:
            self._fortunes = fortunes.texts(self.downloads)
        seen = [text for i, text in enumerate(self._fortunes) if i % fortunes.HELD_OUT]
        return seen, self._fortunes[:: fortunes.HELD_OUT]

    def _drawn(self, seed: int) -> list[str]:
        return random.Random(seed).sample(self._split()[0], DRAWN)

    def _written(self, name: str, make) -> Path:
        path = self.folder / f"{name}.txt"
        text = make()
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return path


def _pages() -> str:
    """Pages, and the heads of source files, of which each says what it is."""
    pages = [(ROOT / page).read_text("utf-8") for page in PAGES]
    for file in sorted(file for crate in CRATES for file in (ROOT / crate).rglob("*.rs")):
        lines = file.read_text("utf-8").splitlines()
        pages.append("\n".join(line[4:] for line in lines if line.startswith("//! ")))
    return "\n\n".join(pages)[:LETTERS]


def _source(module: str) -> str:
    return Path(__import__(module).__file__).read_text("utf-8")
