#!/usr/bin/env python3
"""Writes compiler/formats/src/import/schema.txt: the attributes that each version of an operator has, and how many inputs and outputs
at most, as the packages `onnx` (1.23.2) and `onnxruntime` (1.32.0) know them. Either may be missing in the interpreter that runs
this: what it knows is then kept as the file has it.

usage: python3 tests/peers/schemas.py [--check]     --check says whether the file is what would be written"""

import pathlib
import sys

FILE = pathlib.Path(__file__).resolve().parents[2] / "compiler/formats/src/import/schema.txt"
HEAD = """\
# What operators have, written by tests/peers/schemas.py: the first version, at most so many inputs and outputs (`*` is any
# number), and the attributes. A version that has what the one before it has is left out.
"""
ANY = 1 << 16


def onnx_rows():
    from onnx import defs

    for s in defs.get_all_schemas_with_history():
        yield s.domain, s.name, s.since_version, s.max_input, s.max_output, sorted(s.attributes)


def runtime_rows():
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    for s in get_all_operator_schema():
        yield s.domain, s.name, s.since_version, s.max_input, s.max_output, sorted(s.attributes)


def table():
    """Rows by domain, name and version; ONNX's own word goes before the runtime's, and either before what is kept."""
    rows = {}
    for domain, name, version, *row in kept():
        rows[domain, name, version] = row
    for source, wanted in [(runtime_rows, lambda domain: domain in ("", "com.microsoft")), (onnx_rows, lambda domain: True)]:
        try:
            found = list(source())
        except ImportError as e:
            print(f"kept: {e}", file=sys.stderr)
            continue
        for domain, name, version, *row in found:
            domain = "" if domain == "ai.onnx" else domain
            if wanted(domain):
                rows[domain, name, version] = row
    return rows


def kept():
    if not FILE.exists():
        return
    domain = ""
    for line in FILE.read_text().splitlines():
        if line.startswith("["):
            domain = line.strip("[]")
        elif line and not line.startswith("#"):
            name, version, inputs, outputs, *attributes = line.split()
            count = lambda text: ANY if text == "*" else int(text)
            yield domain, name, int(version), count(inputs), count(outputs), attributes


def text():
    lines, before = [HEAD.rstrip()], (None, None, None)
    for (domain, name, version), (inputs, outputs, attributes) in sorted(table().items()):
        if domain != before[0]:
            lines.append(f"[{domain}]")
        count = lambda n: "*" if n >= ANY else str(n)
        row = " ".join([count(inputs), count(outputs), *attributes])
        if (domain, name, row) != before:
            lines.append(f"{name} {version} {row}")
        before = (domain, name, row)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    new = text()
    if "--check" in sys.argv:
        same = FILE.exists() and FILE.read_text() == new
        print("the file is right" if same else "the file is out of date")
        sys.exit(not same)
    FILE.write_text(new)
