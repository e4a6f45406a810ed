"""Runs a compiled model from a shared library: `load.py NAME LIBRARY WEIGHTS DIM,... INPUT,... OUTPUT,...`.

Weights are mapped from their file. Nothing but the standard library is used.
"""

import ctypes
import mmap
import sys


def address(memory):
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def aligned(size):
    """Memory of a size, at an address that 64 divides, and its owner."""
    owner = bytearray(size + 64)
    return owner, (address(owner) + 63) // 64 * 64


def main(name, library, weights, dims, inputs, outputs):
    functions = ctypes.CDLL(library)
    i64 = ctypes.c_int64
    for function in ["check_cpu", "arena_size", "input_bytes", "output_bytes", "run"]:
        getattr(functions, f"{name}_{function}").restype = i64
    call = lambda function, *args: getattr(functions, f"{name}_{function}")(*args)
    assert call("check_cpu") == 0, "this machine lacks what the code uses"
    dims = (i64 * (dims.count(",") + 1))(*map(int, dims.split(",")))
    with open(weights, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    held, given, made = [], [], []
    for number, path in enumerate(inputs.split(",")):
        size = call("input_bytes", i64(number), dims)
        owner, start = aligned(size)
        with open(path, "rb") as file:
            data = file.read()
        assert len(data) == size, f"{path} is {len(data)} bytes long, not {size}"
        ctypes.memmove(start, data, size)
        held.append(owner)
        given.append(start)
    for number, _ in enumerate(outputs.split(",")):
        size = call("output_bytes", i64(number), dims)
        owner, start = aligned(size)
        held.append(owner)
        made.append((start, size))
    pointers = lambda starts: (ctypes.c_void_p * len(starts))(*starts)
    owner, arena = aligned(call("arena_size", dims))
    status = call(
        "run",
        ctypes.c_void_p(address(mapped)),
        pointers(given),
        pointers([start for start, _ in made]),
        dims,
        ctypes.c_void_p(arena),
    )
    assert status == 0, f"status {status}"
    for path, (start, size) in zip(outputs.split(","), made):
        with open(path, "wb") as file:
            file.write(ctypes.string_at(start, size))


if __name__ == "__main__":
    main(*sys.argv[1:])
