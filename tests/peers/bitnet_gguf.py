"""Writes the decoder that `generate_decoder.py` makes of the same options as GGUF, for llama.cpp.

    bitnet_gguf.py --output DIR --type TQ2_0 --hidden 2560 --layers 30 --ffn 6912 --heads 20 --kv-heads 5 --vocab 128256

The architecture is llama.cpp's `bitnet`, which has the norms and the tied embedding of BitNet b1.58, or `llama` where
those norms are left out; its feed-forward gates by SiLU, whatever `--activation` says. Tensors are written one at a
time.
"""

import argparse
from pathlib import Path

import gguf
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

import generate_decoder
from cache import HERE, build_once, digest
from decoder import Config, Ternary
from generate_decoder import RandomWeights
from ggml import Ggml
from smollm2_gguf import NAMES

# As `llama-quantize` rounds an embedding that is the head as well.
EMBEDDING = GGMLQuantizationType.Q6_K
SUB_NORMS = {"self_attn.attn_sub_norm": "attn_sub_norm", "mlp.ffn_sub_norm": "ffn_sub_norm"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--type", choices=["TQ1_0", "TQ2_0", "Q4_0"], default="TQ2_0", help="of the linear layers")
    generate_decoder.add_options(parser)
    a = parser.parse_args()
    if a.dense:
        parser.error("what is written is ternary")
    config, weights = generate_decoder.decoder(parser, a)
    options = {name: value for name, value in vars(a).items() if name != "output"}
    sources = [Path(__file__), HERE / "generate_decoder.py", HERE / "requirements.txt"]
    stamp = digest(repr(sorted(options.items())), *sources)
    kind = GGMLQuantizationType[a.type]
    norms = {} if a.no_sub_norms else SUB_NORMS
    build_once(a.output, stamp, lambda folder: write(folder / "model.gguf", config, weights, norms, kind))


def write(
    path: Path, config: Config, weights: RandomWeights, norms: dict[str, str], kind: GGMLQuantizationType
) -> None:
    writer = gguf.GGUFWriter(path, "bitnet" if norms else "llama")
    writer.add_vocab_size(config.vocab)
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.ffn)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_tokenizer_model("none")
    tensors = list(names(config, norms))
    for name, source in tensors:
        shape, wanted = weights.shape(source), type_of(source, weights, kind)
        block, size = GGML_QUANT_SIZES[wanted]
        count = int(np.prod(shape))
        writer.add_tensor_info(name, shape, np.dtype(np.float32), count // block * size, raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    ggml = Ggml()
    for _, source in tensors:
        array, wanted = weights[source], type_of(source, weights, kind)
        array = array.dense() if isinstance(array, Ternary) else array
        writer.write_tensor_data(array if wanted == GGMLQuantizationType.F32 else ggml.quantize(array, wanted))
    writer.close()


def names(config: Config, norms: dict[str, str]):
    """Each tensor's name in GGUF, and in `decoder.export`, with those of these norms."""
    yield "token_embd.weight", "embed_tokens.weight"
    for i in range(config.layers):
        for ours, theirs in (NAMES | norms).items():
            yield f"blk.{i}.{theirs}.weight", f"layers.{i}.{ours}.weight"
    yield "output_norm.weight", "norm.weight"


def type_of(source: str, weights: RandomWeights, kind: GGMLQuantizationType) -> GGMLQuantizationType:
    if len(weights.shape(source)) == 1:
        return GGMLQuantizationType.F32
    return EMBEDDING if source.startswith("embed") else kind


if __name__ == "__main__":
    main()
