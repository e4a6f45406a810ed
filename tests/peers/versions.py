"""Which versions of everything a measurement is of."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import llama


def versions(trine: Path) -> dict[str, str]:
    command = [trine, "--version"]
    ours = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return {"trine": ours, "onnxruntime": version("onnxruntime"), "llama.cpp": llama.PACKAGE}
