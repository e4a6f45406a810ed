"""Exports a checkpoint by `torch.onnx.export(dynamo=True)`, with its caches as inputs and outputs.

    PYTHON torch_export.py CHECKPOINT DIR --dtype f32 --attention sdpa

PYTHON is that of the environment of `requirements-exporters.txt`; DIR gets `model.onnx`.
"""

import argparse
from pathlib import Path

import torch
from checkpoints import load
from transformers import DynamicCache


class Decoder(torch.nn.Module):
    """A model whose caches are flat: a key and a value a layer."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, position_ids, past_key_values):
        cache = DynamicCache()
        for layer, (key, value) in enumerate(past_key_values):
            cache.update(key, value, layer)
        found = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        present = [(layer.keys, layer.values) for layer in found.past_key_values.layers]
        return found.logits, present


def export(checkpoint: Path, folder: Path, dtype: str, attention: str) -> None:
    model = load(checkpoint, dtype, attention)
    config = model.config
    batch, past, seq = 2, 5, 3
    shape = (batch, config.num_key_value_heads, past, config.head_dim)
    layers = range(config.num_hidden_layers)
    caches = [tuple(torch.zeros(shape, dtype=model.dtype) for _ in range(2)) for _ in layers]
    inputs = {
        "input_ids": torch.randint(3, config.vocab_size, (batch, seq)),
        "attention_mask": torch.ones((batch, past + seq), dtype=torch.int64),
        "position_ids": torch.arange(past, past + seq).repeat(batch, 1),
        "past_key_values": caches,
    }
    cache = {0: "batch", 2: "past_sequence_length"}
    dims = {
        "input_ids": {0: "batch", 1: "sequence_length"},
        "attention_mask": {0: "batch", 1: "total_sequence_length"},
        "position_ids": {0: "batch", 1: "sequence_length"},
        "past_key_values": [(cache, cache) for _ in layers],
    }
    kinds = [f"{layer}.{kind}" for layer in layers for kind in ("key", "value")]
    torch.onnx.export(
        Decoder(model).eval(),
        (),
        folder / "model.onnx",
        kwargs=inputs,
        input_names=["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{kind}" for kind in kinds)],
        output_names=["logits", *(f"present.{kind}" for kind in kinds)],
        dynamic_shapes=dims,
        dynamo=True,
        # A file of one message holds 2 GB at most.
        external_data=sum(parameter.numel() for parameter in model.parameters()) > 1 << 26,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--attention", default="sdpa")
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.folder, arguments.dtype, arguments.attention)
