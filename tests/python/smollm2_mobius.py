"""Builds SmolLM2-135M as ONNX with the field's exporter, `mobius-onnx`: opset 24 and fused operators.

    python3 tests/python/env.py tests/python/smollm2_mobius.py --output DIR

DIR gets what `smollm2.py` writes, the model from `mobius build-gguf`. The exporter needs torch: an
environment of about 6 GB under `target/`, hence not part of the default tests.
"""

import argparse
import json
import subprocess
from pathlib import Path

from cache import HERE, build_once, digest, progress
from env import interpreter
from smollm2_gguf import SHA256, Weights, fetch

REQUIREMENTS = "requirements-mobius.txt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    stamp = digest(SHA256, *(HERE / source for source in ["smollm2_mobius.py", "smollm2_gguf.py", REQUIREMENTS]))
    build_once(arguments.output, stamp, build)


def build(folder: Path) -> None:
    source = fetch()
    exporter = interpreter("venv-mobius", REQUIREMENTS).with_name("mobius")
    progress("running mobius build-gguf")
    command = [str(exporter), "build-gguf", str(source), "--output", str(folder)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        raise SystemExit(f"mobius build-gguf failed:\n{result.stdout[-2000:]}")
    tokenizer = json.dumps(Weights(source).tokenizer(), ensure_ascii=False)
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


if __name__ == "__main__":
    main()
