"""Makes the checkpoints that exporters are given: small Hugging Face folders of random weights that are ternary.

    PYTHON checkpoints.py NAME DIR

PYTHON is that of the environment of `requirements-exporters.txt`. DIR gets what a published model has (`config.json`,
`model.safetensors`, a tokenizer whose words `t0`, `t1` … are the tokens of those ids) and `expected.json`: two prompts,
and by element type the greedy tokens after them, as torch computes them, with how far each leads.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

PROMPT, TOKENS = 7, 12
# Tokens that end a text. Prompts are chosen so that none comes.
BOS, EOS, PAD = 0, 1, 2
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Size:
    """`shared` heads of keys and values, `candidates` prompts of which the two are taken that leave the least doubt."""

    hidden: int
    heads: int
    shared: int
    head_dim: int
    ffn: int
    vocabulary: int
    layers: int = 2
    candidates: int = 64


TINY = Size(128, 4, 2, 32, 384, 512)
# BitNet b1.58 2B4T, of whose 30 layers two and of whose vocabulary a part is kept.
LARGE = Size(2560, 20, 5, 128, 6912, 2048, candidates=8)


@dataclass(frozen=True)
class Checkpoint:
    """What is published of an architecture, in the words of its `config.json`."""

    architecture: str
    model_type: str
    config: dict = field(default_factory=dict)
    # Norms besides those before attention, before the feed-forward part and after the last layer.
    norms: tuple[str, ...] = ()
    # How many inputs share a scale; all of a matrix if not given.
    group: int | None = None
    # Whether the embedding is ternary, and the head that is tied to it or like it.
    head: bool = False
    # How weights lie in the file: as they are, or four to a byte as `quant_method: bitnet` has them.
    packed: bool = False
    # Weights that the model itself makes ternary.
    masters: bool = False
    # Whether layers round what they read to int8.
    int8: bool = False
    dtypes: tuple[str, ...] = ("f32",)
    size: Size = TINY

    @property
    def ternary(self) -> int:
        return self.size.layers * len(LINEAR) + self.head

    @property
    def norm_count(self) -> int:
        return self.size.layers * (2 + len(self.norms)) + 1


def bitnet(linear: str, mode: str) -> dict:
    return {"quantization_config": {"quant_method": "bitnet", "linear_class": linear, "quantization_mode": mode}}


QK_NORMS = ("self_attn.q_norm", "self_attn.k_norm")
BITNET = {"hidden_act": "relu2", "rope_theta": 5e5, "tie_word_embeddings": True}
SUB_NORMS = ("self_attn.attn_sub_norm", "mlp.ffn_sub_norm")
GEMMA3 = {
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": TINY.head_dim,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
    # Shorter than what is generated, so that keys do leave the window.
    "sliding_window": 16,
    "sliding_window_pattern": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "tie_word_embeddings": True,
}
CHECKPOINTS = {
    "llama": Checkpoint("LlamaForCausalLM", "llama", dtypes=("f32", "f16", "bf16")),
    # As Bonsai has them: groups of 128, the head and the embedding too.
    "qwen3": Checkpoint(
        "Qwen3ForCausalLM", "qwen3", {"rope_theta": 1e6, "tie_word_embeddings": True}, QK_NORMS, group=128, head=True,
        dtypes=("f32", "f16"),
    ),
    "gemma3": Checkpoint(
        "Gemma3ForCausalLM", "gemma3_text", GEMMA3,
        (*QK_NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm"),
    ),
    "bitnet-masters": Checkpoint(
        "BitNetForCausalLM", "bitnet", BITNET | bitnet("autobitlinear", "online"), SUB_NORMS, masters=True, int8=True,
        dtypes=("f32", "bf16"),
    ),
    "bitnet-packed": Checkpoint(
        "BitNetForCausalLM", "bitnet", BITNET | bitnet("autobitlinear", "offline"), SUB_NORMS, packed=True, int8=True,
        dtypes=("f32", "bf16"),
    ),
    # As Falcon-E and Llama3-8B-1.58 are published.
    "llama-bitlinear": Checkpoint(
        "LlamaForCausalLM", "llama", bitnet("bitlinear", "offline"), packed=True, int8=True
    ),
}  # fmt: skip
# What is made on request alone, for it is half a gigabyte each.
CHECKPOINTS_REAL = {
    "bitnet-2b4t-unpacked": replace(CHECKPOINTS["bitnet-masters"], size=LARGE),
    "bitnet-2b4t-packed": replace(CHECKPOINTS["bitnet-packed"], size=LARGE),
}
ALL = CHECKPOINTS | CHECKPOINTS_REAL


def config(checkpoint: Checkpoint) -> dict:
    size = checkpoint.size
    common = {
        "architectures": [checkpoint.architecture],
        "model_type": checkpoint.model_type,
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.ffn,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.shared,
        "head_dim": size.head_dim,
        "max_position_embeddings": 256,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e4,
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "use_cache": True,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "torch_dtype": "float32",
    }
    return common | checkpoint.config


def weights(checkpoint: Checkpoint, seed: int) -> dict:
    """The tensors of a checkpoint by their names."""
    import torch

    random = torch.Generator().manual_seed(seed)
    found: dict = {}
    size = checkpoint.size

    def ternary(rows: int, columns: int, group: int | None):
        # Scales that f16 and bf16 hold, so that a cast leaves weights ternary.
        trits = torch.randint(-1, 2, (rows, columns), generator=random).float()
        count = columns // (group or columns)
        scales = (0.75 + 0.5 * torch.rand(rows if group else 1, count, generator=random)) * (1.5 / columns) ** 0.5
        return trits, scales.bfloat16().float()

    def linear(name: str, rows: int, columns: int) -> None:
        trits, scales = ternary(rows, columns, checkpoint.group)
        if checkpoint.packed:
            found[f"{name}.weight"] = packed(trits)
            # BitLinear divides by it, AutoBitLinear multiplies.
            divides = checkpoint.config["quantization_config"]["linear_class"] == "bitlinear"
            scale = 1 / scales if divides else scales
            found[f"{name}.weight_scale"] = scale.reshape(1).bfloat16()
        elif checkpoint.masters:
            masters = torch.randn(rows, columns, generator=random) * columns**-0.5
            found[f"{name}.weight"] = masters.bfloat16().float()
        else:
            found[f"{name}.weight"] = trits * scales.repeat_interleave(columns // scales.shape[1], 1)

    def norm(name: str, width: int) -> None:
        # Gemma adds 1 to what it keeps.
        offset = 0 if checkpoint.model_type == "gemma3_text" else 1
        found[f"{name}.weight"] = (offset + 0.1 * torch.randn(width, generator=random)).bfloat16().float()

    if checkpoint.head:
        trits, scales = ternary(size.vocabulary, size.hidden, checkpoint.group)
        table = trits * scales
    else:
        # Gemma multiplies it by the root of its width: what goes in must not drown what layers add.
        spread = 0.01 if checkpoint.model_type == "gemma3_text" else 0.1
        table = (spread * torch.randn(size.vocabulary, size.hidden, generator=random)).bfloat16().float()
    found["model.embed_tokens.weight"] = table
    if not config(checkpoint)["tie_word_embeddings"]:
        head = 0.2 * torch.randn(size.vocabulary, size.hidden, generator=random)
        found["lm_head.weight"] = head.bfloat16().float()
    for layer in range(size.layers):
        prefix = f"model.layers.{layer}"
        for name, rows, columns in (
            ("self_attn.q_proj", size.heads * size.head_dim, size.hidden),
            ("self_attn.k_proj", size.shared * size.head_dim, size.hidden),
            ("self_attn.v_proj", size.shared * size.head_dim, size.hidden),
            ("self_attn.o_proj", size.hidden, size.heads * size.head_dim),
            ("mlp.gate_proj", size.ffn, size.hidden),
            ("mlp.up_proj", size.ffn, size.hidden),
            ("mlp.down_proj", size.hidden, size.ffn),
        ):
            linear(f"{prefix}.{name}", rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm", *checkpoint.norms):
            width = size.head_dim if name in QK_NORMS else size.ffn if "ffn" in name else size.hidden
            norm(f"{prefix}.{name}", width)
    norm("model.norm", size.hidden)
    return found


def packed(trits):
    """Row `i · R + r` of the matrix is bits 2i and 2i + 1 of row r of the R rows that are stored, as trit + 1."""
    import torch

    codes = (trits + 1).to(torch.uint8).reshape(4, -1, trits.shape[1])
    return codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6


def tokenizer(folder: Path, vocabulary: int) -> None:
    """Words `t0`, `t1` … and blanks between them, so that a prompt can say ids."""
    model = {"type": "WordLevel", "vocab": {f"t{i}": i for i in range(vocabulary)}, "unk_token": f"t{PAD}"}
    blank = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None}
    rest = {"pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None, "model": model}
    write(folder / "tokenizer.json", blank | rest)
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "t0", "eos_token": "t1", "pad_token": "t2"}
    write(folder / "tokenizer_config.json", said)
    write(folder / "special_tokens_map.json", {key: said[key] for key in ("bos_token", "eos_token", "pad_token")})


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def text(ids: list[int]) -> str:
    return " ".join(f"t{i}" for i in ids)


def expected(folder: Path, checkpoint: Checkpoint) -> dict:
    """The prompts after which each token leads by the most, and what torch says after them, with the lead of each token."""
    import torch

    # Compiling takes longer than these few tokens.
    torch.compiler.set_stance("force_eager")
    model = load(folder, "f32")
    random, size = torch.Generator().manual_seed(1), checkpoint.size
    prompts = torch.randint(PAD + 1, size.vocabulary, (size.candidates, PROMPT), generator=random)
    tokens, leads = greedy(model, prompts)
    # A text that ends or repeats itself tells little.
    dull = [EOS in row or len(set(row)) <= TOKENS // 2 for row in tokens.tolist()]
    chosen = prompts[sorted(range(len(prompts)), key=lambda i: (dull[i], -leads[i].min()))[:2]]
    found: dict = {"prompts": chosen.tolist(), "tokens": {}, "leads": {}}
    for dtype in checkpoint.dtypes:
        rows, leads = greedy(model if dtype == "f32" else load(folder, dtype), chosen)
        found["tokens"][dtype], found["leads"][dtype] = rows.tolist(), leads.tolist()
    return found


def greedy(model: Callable, prompts):
    """Tokens after each prompt, and the lead of each over the next best, by how far logits are spread."""
    import torch

    ids, leads = prompts, []
    for _ in range(TOKENS):
        # All again for each token, so that no cache can be at fault; of one length, so that there is no padding.
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[:, -1].float()
        two = logits.topk(2)
        leads.append((two.values[:, 0] - two.values[:, 1]) / logits.std(1))
        ids = torch.cat([ids, two.indices[:, :1]], 1)
    return ids[:, prompts.shape[1] :], torch.stack(leads, 1)


def load(folder: Path, dtype: str, attention: str = "eager"):
    """A checkpoint as transformers runs it."""
    import torch
    from transformers import AutoModelForCausalLM

    kinds = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=kinds[dtype], attn_implementation=attention)
    # What a quantized checkpoint holds as f32 is left so.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(kinds[dtype])
    return model.eval()


def make(name: str, folder: Path) -> None:
    from safetensors.torch import save_file

    checkpoint = ALL[name]
    write(folder / "config.json", config(checkpoint))
    write(folder / "generation_config.json", {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD})
    tokenizer(folder, checkpoint.size.vocabulary)
    seed = list(ALL).index(name)
    tensors = {key: tensor.contiguous() for key, tensor in weights(checkpoint, seed).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write(folder / "expected.json", expected(folder, checkpoint))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=ALL)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    make(arguments.name, arguments.folder)
