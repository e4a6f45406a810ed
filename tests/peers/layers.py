"""Models of linear layers alone, as many as make the weights cold.

    layers.py --shape 6912 2560 --spelling nbits2 --output DIR

Each layer reads what the one before it wrote, so nothing can be shared between them; a layer that is not square is
followed by one of the transposed shape, as the two halves of a feed-forward block are. All weights together exceed
any share of a cache, so every layer reads its own from memory.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from onnx import TensorProto

import rounded
from cache import HERE, build_once, digest
from graph import Graph
from linear import Ternary, linear

COLD_BYTES = 320 << 20
BLOCK = 128
# Bytes a weight: of two bits those that the densest packing of trits needs. `exact` does not allow int8 activations.
SPELLINGS = {"f32": 4, "int8": 1, "nbits4": 0.5, "nbits2": 0.2, "nbits2-exact": 0.2}


def chain(n: int, k: int, weight_bytes: float) -> list[tuple[int, int]]:
    """Shapes `(out, in)` of the layers, in order."""
    pairs = math.ceil(COLD_BYTES / (2 * n * k * weight_bytes))
    return [(n, k), (k, n)] * pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=2, required=True, metavar=("OUT", "IN"))
    parser.add_argument("--spelling", choices=SPELLINGS, required=True)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    sources = [Path(__file__), Path(rounded.__file__), HERE / "linear.py", HERE / "graph.py", HERE / "requirements.txt"]
    stamp = digest(arguments.spelling, repr(arguments.shape), *sources)

    def build(folder: Path) -> None:
        shapes = chain(*arguments.shape, SPELLINGS[arguments.spelling])
        export(folder / "model.onnx", shapes, arguments.spelling)

    build_once(arguments.output, stamp, build)


def export(path: Path, shapes: list[tuple[int, int]], spelling: str) -> None:
    g = Graph("layers", 17, path.with_name(f"{path.name}.data"))
    y = g.input("x", TensorProto.FLOAT, ["batch", shapes[0][1]])
    for i, shape in enumerate(shapes):
        y = layer(g, y, f"weights.{i}", random_weight(shape, i), spelling)
    g.op("Identity", y, outputs=["y"])
    g.output("y", TensorProto.FLOAT, ["batch", shapes[-1][0]])
    g.save(path, "trine-peers")


def random_weight(shape: tuple[int, int], seed: int) -> Ternary:
    """Trits with one scale, by which activations neither grow nor fade from layer to layer."""
    trits = np.random.default_rng(seed).integers(-1, 2, shape, np.int8)
    return Ternary(trits, np.float32((shape[1] * 2 / 3) ** -0.5))


def layer(g: Graph, x: str, name: str, weight: Ternary, spelling: str) -> str:
    if spelling in ("f32", "nbits2"):
        return linear(g, x, name, weight, spelling, BLOCK, 4)
    if spelling == "nbits2-exact":
        return linear(g, x, name, weight, "nbits2", BLOCK, 0)
    other = rounded.rounded(weight.dense(), spelling, BLOCK)
    tensors = [g.weight(f"{name}_{suffix}", array) for suffix, array in other.tensors.items()]
    return g.op(other.op_type, x, *tensors, domain="com.microsoft", **other.attributes)


if __name__ == "__main__":
    main()
