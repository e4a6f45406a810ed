"""Exports the trained language model as ONNX in up to four spellings and checks that all say the same.

    python3 examples/train/run.py export_lm.py

Reads `checkpoint.npz` and `tokenizer.json`; writes beside them `f32.onnx` (ternary-valued f32 weights,
primitive operators of opset 17), `nbits.onnx` (the same with 2-bit MatMulNBits), `opset23.onnx` (f32 weights
with RMSNormalization, RotaryEmbedding and Attention), `qdq.onnx` (DequantizeLinear of int2), and
`expected.npz`: for each prompt its tokens, the logits after each of them, and the greedy continuation. A model
whose weights were trained as f32 has no ternary spelling: `--spellings f32` is the one for it.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import numpy as np
from tokenizers import Tokenizer

import language_model
import train_lm

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/python"))
import decoder  # noqa: E402
import ort_session  # noqa: E402

EXPORTS = {
    "f32": {"style": "decomposed17", "linears": "f32"},
    "nbits": {"style": "decomposed17", "linears": "nbits2", "block": 64},
    "opset23": {"style": "opset23", "linears": "f32"},
    "qdq": {"style": "decomposed17", "linears": "qdq2"},
}
POSITIONS = 512  # length of the rotary tables where an export has them
PROMPTS = ["The", "A computer", "Love is", "If you"]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "tests/models/lm", help="the folder to work in")
    parser.add_argument("--spellings", nargs="+", choices=EXPORTS, default=list(EXPORTS), help="what to write")
    parser.add_argument("--tokens", type=int, default=64, help="greedy tokens to compare after each prompt")
    flags = parser.parse_args(argv)

    config, checkpoint = load(flags.model / "checkpoint.npz")
    tokenizer = Tokenizer.from_file(str(flags.model / "tokenizer.json"))
    for name in flags.spellings:
        path = flags.model / f"{name}.onnx"
        write(path, config, checkpoint, name)
        print(f"{path.name}: {path.stat().st_size} bytes")

    sessions = {name: ort_session.session(flags.model / f"{name}.onnx") for name in flags.spellings}
    expected = {}
    for i, prompt in enumerate(PROMPTS):
        ids = tokenizer.encode(prompt).ids
        trained = np.asarray(language_model.logits(config, train_lm.dense(checkpoint), np.array([ids])))
        results = {name: greedy(session, config, ids, flags.tokens) for name, session in sessions.items()}
        logits, continuation = results[flags.spellings[0]]
        for name, (other_logits, other_continuation) in results.items():
            np.testing.assert_allclose(other_logits, trained, rtol=1e-3, atol=1e-3, equal_nan=False, err_msg=name)
            assert other_continuation == continuation, f"`{name}` continues {prompt!r} differently"
        print(repr(tokenizer.decode(ids + continuation)))
        expected |= {f"{i}.prompt": np.array(ids), f"{i}.logits": logits, f"{i}.greedy": np.array(continuation)}
    np.savez_compressed(flags.model / "expected.npz", **expected)
    print(f"{', '.join(flags.spellings)}: the same {flags.tokens} greedy tokens after {len(PROMPTS)} prompts")


def load(path):
    """`(config, arrays)` of a checkpoint that `train_lm.py` wrote."""
    arrays = dict(np.load(path))
    return language_model.Config(**json.loads(str(arrays.pop("config")))), arrays


def write(path, config, checkpoint, spelling):
    """The model as ONNX, in one of `EXPORTS`."""
    decoder.export(path, decoder_config(config, checkpoint), weights(checkpoint), **EXPORTS[spelling])


def decoder_config(config, checkpoint):
    return decoder.Config(
        vocab=config.vocabulary,
        hidden=config.hidden,
        layers=config.layers,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=config.head,
        ffn=config.ffn,
        norm_eps=config.eps,
        rope_theta=config.rope_theta,
        max_positions=POSITIONS,
        activation=config.activation,
        quantize_activations=config.int8_activations,
        biases=any(name.endswith(".bias") for name in checkpoint),
    )


def weights(checkpoint):
    """The checkpoint under the names and types that the ONNX writer takes."""
    named = {}
    for name, array in checkpoint.items():
        base, _, part = name.rpartition(".")
        if part == "trits":
            named[f"{base}.weight"] = decoder.Ternary(array, checkpoint[f"{base}.scale"])
        elif part == "bias":
            named[name] = array
        elif part != "scale":
            named[f"{name}.weight"] = array
    return named


def greedy(session, config, ids, count):
    """The prompt's logits `f32[1, prompt, vocabulary]` and the `count` likeliest tokens after it, with a cache."""
    empty = np.zeros((1, config.kv_heads, 0, config.head), np.float32)
    parts = [f"{layer}.{part}" for layer in range(config.layers) for part in ("key", "value")]
    cache = {f"past_key_values.{part}": empty for part in parts}
    fed, past, first, chosen = ids, 0, None, []
    while len(chosen) < count:
        total = past + len(fed)
        logits, *present = session.run(
            ["logits", *(f"present.{part}" for part in parts)],
            {
                "input_ids": np.array([fed], np.int64),
                "attention_mask": np.ones((1, total), np.int64),
                "position_ids": np.arange(past, total, dtype=np.int64)[None],
                **cache,
            },
        )
        cache = dict(zip(cache, present))
        first = logits if first is None else first
        chosen.append(int(logits[0, -1].argmax()))
        fed, past = chosen[-1:], total
    return first, chosen


if __name__ == "__main__":
    jax.config.update("jax_default_matmul_precision", "highest")
    main()
