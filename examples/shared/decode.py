"""Greedy decoding with a model that is a shared library, by ctypes and numpy alone.

    trine compile model.onnx -o build --emit shared --weights file
    python3 examples/shared/decode.py build/model --tokens 504,3575,282 -n 24

Caches stay in place in memory of this program, and weights are mapped. The header says what the model has.
"""

import argparse
import ctypes
import re
import sys
import time
from pathlib import Path

import numpy as np

ALIGN = 64


class Decoder:
    """A text of up to `capacity` tokens, as the model's caches hold it."""

    def __init__(self, path: Path, capacity: int) -> None:
        self.library = ctypes.CDLL(str(path.with_suffix(".so").resolve()))
        self.name = path.name
        self.header = constants(path.with_suffix(".h").read_text(), path.name.upper())
        self.weights = np.memmap(path.with_suffix(".weights"), mode="r")
        if self.call("check_cpu"):
            raise SystemExit("this machine lacks instructions that the code uses")
        self.capacity = capacity
        self.read = 0
        self.arena = aligned(0)
        sizes = [self.call("state_bytes", state, self.dims(1), capacity) for state in range(self.count("STATES"))]
        self.states = [aligned(size) for size in sizes]

    def feed(self, tokens: list[int]) -> np.ndarray:
        """Reads tokens after those that were read; the logits after the last of them."""
        dims = self.dims(len(tokens))
        arena = self.call("arena_size", dims)
        if arena > self.arena.size:
            self.arena = aligned(arena)
        given = {
            "input_ids": np.array([tokens], np.int64),
            "attention_mask": np.ones((1, self.read + len(tokens)), np.int64),
            "position_ids": np.arange(self.read, self.read + len(tokens), dtype=np.int64)[None],
        }
        inputs = [given.get(self.header[f"INPUT_{i}"]) for i in range(self.count("INPUTS"))]
        outputs: list[np.ndarray | None] = [None] * self.count("OUTPUTS")
        kept = {int(self.header[f"STATE_{i}_OUTPUT"]) for i in range(len(self.states))}
        (logits,) = set(range(len(outputs))) - kept
        outputs[logits] = np.empty(self.call("output_bytes", logits, dims) // 4, np.float32)
        self.run(dims, inputs, outputs)
        self.read += len(tokens)
        return outputs[logits].reshape(len(tokens), -1)[-1]

    def run(self, dims: ctypes.Array, inputs: list[np.ndarray | None], outputs: list[np.ndarray | None]) -> None:
        places = [pointers(inputs), pointers(outputs), dims, address(self.arena), pointers(self.states)]
        status = self.call("run_held", address(self.weights), *places, self.capacity)
        if status:
            raise SystemExit(f"the run ends with status {status}")

    def dims(self, tokens: int) -> ctypes.Array:
        """The open sizes, for so many more tokens."""
        known = {"batch": 1, "seq": tokens, "past": self.read}
        names = [self.header[f"DIM_{i}"] for i in range(self.count("DIMS"))]
        return (ctypes.c_int64 * len(names))(*(known[name] for name in names))

    def count(self, name: str) -> int:
        return int(self.header[name])

    def call(self, function: str, *arguments: object) -> int:
        called = getattr(self.library, f"{self.name}_{function}")
        called.restype = ctypes.c_int64
        return called(*(ctypes.c_int64(a) if isinstance(a, int) else a for a in arguments))


def constants(header: str, prefix: str) -> dict[str, str]:
    """What a header defines, without the prefix of all, quotes and brackets."""
    found = re.findall(rf"^#define {prefix}_(\w+) (.+)$", header, re.MULTILINE)
    return {name: value.strip("\"()") for name, value in found}


def aligned(size: int) -> np.ndarray:
    """So many bytes of zeros, where a line of the cache begins."""
    room = np.zeros(size + ALIGN, np.uint8)
    start = -room.ctypes.data % ALIGN
    return room[start : start + size]


def address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def pointers(arrays: list[np.ndarray | None]) -> ctypes.Array:
    return (ctypes.c_void_p * len(arrays))(*(None if a is None else a.ctypes.data for a in arrays))


def main() -> None:
    parser = argparse.ArgumentParser(description="Greedy decoding with a model that is a shared library.")
    parser.add_argument("model", type=Path, help="the path of `.so`, `.h` and `.weights`, without these")
    parser.add_argument("--tokens", required=True, help="ids of the prompt, with commas between")
    parser.add_argument("-n", type=int, default=24, help="how many tokens to make")
    args = parser.parse_args()
    tokens = [int(token) for token in args.tokens.split(",")]
    decoder = Decoder(args.model, len(tokens) + args.n)
    made = [int(decoder.feed(tokens).argmax())]
    start = time.perf_counter()
    while len(made) < args.n:
        made.append(int(decoder.feed(made[-1:]).argmax()))
    speed = (args.n - 1) / (time.perf_counter() - start)
    print(*made)
    print(f"{speed:.1f} tokens/s", file=sys.stderr)


if __name__ == "__main__":
    main()
