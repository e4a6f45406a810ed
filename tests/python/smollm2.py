"""Builds SmolLM2-135M as ONNX in primitive opset-17 operators, with its tokenizer.

    python3 tests/python/env.py tests/python/smollm2.py --output DIR

DIR gets `model.onnx`, `model.onnx.data` (f32 weights, 540 MB) and `tokenizer.json`; it is complete or absent, and
a second run finds it made. `decoder.py` describes inputs and outputs.
"""

import argparse
import json
from pathlib import Path

from cache import HERE, build_once, digest, progress
from decoder import export
from smollm2_gguf import SHA256, Weights, fetch
from styles import STYLES

SOURCES = ["smollm2.py", "smollm2_gguf.py", "decoder.py", "styles.py", "linear.py", "graph.py", "requirements.txt"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--style", choices=STYLES, default="decomposed17")
    arguments = parser.parse_args()
    stamp = digest(SHA256, arguments.style, *(HERE / source for source in SOURCES))
    build_once(arguments.output, stamp, lambda folder: build(folder, arguments.style))


def build(folder: Path, style: str) -> None:
    weights = Weights(fetch())
    progress("writing SmolLM2-135M as ONNX")
    export(folder / "model.onnx", weights.config(), weights, style, external_data=True)
    tokenizer = json.dumps(weights.tokenizer(), ensure_ascii=False)
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


if __name__ == "__main__":
    main()
