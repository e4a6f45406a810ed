"""Writes the backend tests of nodes that the installed `onnx` has and an older release lacks, as that release keeps them.

    python3 tests/python/env.py tests/python/onnx_cases.py --known FOLDER --output FOLDER

Releases from 1.23 on carry no data: their cases are made by the code that was written for them. `--known` holds the
cases of the older release.
"""

import argparse
from pathlib import Path

import onnx
from cache import build_once, digest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--known", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    known = {path.name for path in arguments.known.iterdir()}

    def build(folder: Path) -> None:
        new = [case for case in collect_testcases(None) if case.name not in known]
        if not new:
            raise SystemExit(f"onnx {onnx.__version__} has no case that is not in `{arguments.known}`")
        for case in new:
            write(case, folder / case.name)

    build_once(arguments.output, digest(Path(__file__), onnx.__version__, *sorted(known)), build)


def write(case: TestCase, folder: Path) -> None:
    folder.mkdir()
    onnx.save(case.model, folder / "model.onnx")
    graph = case.model.graph
    for i, (inputs, outputs) in enumerate(case.data_sets):
        data = folder / f"test_data_set_{i}"
        data.mkdir()
        for kind, values, infos in (("input", inputs, graph.input), ("output", outputs, graph.output)):
            for j, (value, info) in enumerate(zip(values, infos, strict=True)):
                proto = value if hasattr(value, "SerializeToString") else numpy_helper.from_array(value, info.name)
                (data / f"{kind}_{j}.pb").write_bytes(proto.SerializeToString())


if __name__ == "__main__":
    main()
