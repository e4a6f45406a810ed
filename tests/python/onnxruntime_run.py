"""Runs any ONNX model in onnxruntime: the oracle of `trine run`, with the same files in and out.

    python3 tests/python/env.py tests/python/onnxruntime_run.py MODEL.onnx -i in.npz -o out.npz [--threads N]

The archives hold one array an input and one an output, under their names.
"""

import argparse
import zipfile
from pathlib import Path

import numpy as np

from ort_session import session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("-i", "--inputs", type=Path, help="archive (.npz) of the inputs; none: the model takes none")
    parser.add_argument("-o", "--outputs", type=Path, required=True, help="archive (.npz) to write")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    inputs = read(arguments.inputs) if arguments.inputs else {}
    model = session(arguments.model, arguments.threads)
    names = {i.name for i in model.get_inputs()}
    # An initializer's default may be overridden, but nothing needs to be given for it.
    optional = {i.name for i in model.get_overridable_initializers()}
    if names - inputs.keys() or inputs.keys() - names - optional:
        raise SystemExit(f"the model's inputs are {sorted(names)}, the archive's arrays {sorted(inputs)}")
    try:
        results = model.run(None, inputs)
    except Exception as error:
        raise SystemExit(f"onnxruntime fails on `{arguments.model}`: {error}") from None
    outputs = {o.name: value for o, value in zip(model.get_outputs(), results, strict=True)}
    other = [name for name, value in outputs.items() if not isinstance(value, np.ndarray)]
    if other:
        raise SystemExit(f"outputs {other} are not tensors, which an archive cannot hold")
    write(arguments.outputs, outputs)


def read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as archive:
            return dict(archive)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SystemExit(f"cannot read `{path}`: {error}") from None


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An uncompressed archive under exactly this name, in which any array name is allowed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


if __name__ == "__main__":
    main()
