"""Writes a decoder of any size with random weights, to measure and to stress what has no trained model.

    python3 tests/python/env.py tests/python/generate_decoder.py --output DIR \\
        --hidden 2560 --layers 30 --ffn 6912 --heads 20 --kv-heads 5 --vocab 128256 --linears nbits2

The default is small. DIR gets `model.onnx` and `model.onnx.data`; the same options give the same bytes.
"""

import argparse
import zlib
from pathlib import Path

import numpy as np

from cache import HERE, build_once, digest
from decoder import Config, Ternary, export
from linear import LINEARS
from styles import STYLES

SOURCES = ["generate_decoder.py", "decoder.py", "styles.py", "linear.py", "graph.py", "requirements.txt"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    add_options(parser)
    parser.add_argument("--style", choices=STYLES, default="decomposed17")
    parser.add_argument("--linears", choices=LINEARS, default="f32", help="how ternary weights are written")
    parser.add_argument("--block", type=int, default=64, help="block size of nbits2")
    parser.add_argument("--accuracy-level", type=int, choices=range(5), default=0, help="of nbits2: 4 allows int8")
    a = parser.parse_args()
    config, weights = decoder(parser, a)
    options = {name: value for name, value in vars(a).items() if name != "output"}
    stamp = digest(repr(sorted(options.items())), *(HERE / source for source in SOURCES))

    def build(folder: Path) -> None:
        spelling = {"block": a.block, "accuracy_level": a.accuracy_level}
        export(folder / "model.onnx", config, weights, a.style, a.linears, **spelling, external_data=True)

    build_once(a.output, stamp, build)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that say which decoder it is, however it is written."""
    sizes = {"hidden": 256, "layers": 4, "ffn": 688, "heads": 8, "kv-heads": 2, "vocab": 4096, "max-positions": 2048}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--activation", choices=["silu", "relu2"], default="relu2")
    parser.add_argument("--no-sub-norms", action="store_true", help="leave out BitNet's norms in front of o and down")
    parser.add_argument("--quantize-activations", action="store_true", help="round projection inputs as BitNet does")
    parser.add_argument("--dense", action="store_true", help="gaussian f32 weights, not ternary ones")
    parser.add_argument("--seed", type=int, default=0)


def decoder(parser: argparse.ArgumentParser, a: argparse.Namespace) -> tuple[Config, "RandomWeights"]:
    """What the options of `add_options` ask for."""
    if a.hidden % (2 * a.heads) or a.heads % a.kv_heads:
        parser.error("--hidden must be an even multiple of --heads, and --heads a multiple of --kv-heads")
    config = Config(
        vocab=a.vocab,
        hidden=a.hidden,
        layers=a.layers,
        heads=a.heads,
        kv_heads=a.kv_heads,
        head_dim=a.hidden // a.heads,
        ffn=a.ffn,
        max_positions=a.max_positions,
        activation=a.activation,
        quantize_activations=a.quantize_activations,
    )
    return config, RandomWeights(config, a.dense, not a.no_sub_norms, a.seed)


class RandomWeights:
    """Each tensor is drawn when asked for, from a generator seeded by its name."""

    def __init__(self, config: Config, dense: bool, sub_norms: bool, seed: int):
        c = config
        query, key = c.heads * c.head_dim, c.kv_heads * c.head_dim
        self._shapes = {
            "embed_tokens": (c.vocab, c.hidden),
            "q_proj": (query, c.hidden),
            "k_proj": (key, c.hidden),
            "v_proj": (key, c.hidden),
            "o_proj": (c.hidden, query),
            "gate_proj": (c.ffn, c.hidden),
            "up_proj": (c.ffn, c.hidden),
            "down_proj": (c.hidden, c.ffn),
            "norm": (c.hidden,),
            "input_layernorm": (c.hidden,),
            "post_attention_layernorm": (c.hidden,),
        }
        if sub_norms:
            self._shapes |= {"attn_sub_norm": (query,), "ffn_sub_norm": (c.ffn,)}
        self._dense, self._seed = dense, seed

    def __contains__(self, name: str) -> bool:
        return _kind(name) in self._shapes

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[_kind(name)]

    def __getitem__(self, name: str) -> np.ndarray | Ternary:
        shape = self.shape(name)
        rng = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        if len(shape) == 1:
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
        spread = np.float32(shape[1] ** -0.5)
        if self._dense or _kind(name) == "embed_tokens":
            values = rng.standard_normal(shape, np.float32)
            # In place: an embedding can be a gigabyte.
            values *= spread
            return values
        trits = rng.integers(-1, 2, shape, np.int8)
        return Ternary(trits, rng.uniform(0.5, 1.5, shape[0]).astype(np.float32) * spread)


def _kind(name: str) -> str:
    """`q_proj` of `layers.3.self_attn.q_proj.weight`."""
    return name.split(".")[-2]


if __name__ == "__main__":
    main()
