"""Greedy tokens of an exported decoder by onnxruntime, whatever the exporter calls its inputs."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from checkpoints import TOKENS

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Unable(Exception):
    """A model that onnxruntime does not run, or whose inputs have no known meaning."""


def tokens(model: Path, prompts: list[list[int]], head_dim: int) -> list[list[int]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        return [greedy(session, prompt, head_dim) for prompt in prompts]
    except Unable:
        raise
    except Exception as error:
        raise Unable(str(error).strip().splitlines()[0]) from None


def greedy(session: ort.InferenceSession, prompt: list[int], head_dim: int) -> list[int]:
    names = [output.name for output in session.get_outputs()]
    found: list[int] = []
    past: dict[str, np.ndarray] = {}
    before, feed = 0, prompt
    while len(found) < TOKENS:
        inputs = {port.name: value(port, before, feed, past, head_dim) for port in session.get_inputs()}
        outputs = dict(zip(names, session.run(None, inputs), strict=True))
        past = {name.replace("present", "past_key_values", 1): array for name, array in outputs.items()}
        found.append(int(outputs["logits"][0, -1].astype(np.float32).argmax()))
        before, feed = before + len(feed), found[-1:]
    return found


def value(port, before: int, feed: list[int], past: dict[str, np.ndarray], head_dim: int) -> np.ndarray:
    whole = {
        "input_ids": [feed],
        "attention_mask": [[1] * (before + len(feed))],
        "position_ids": [list(range(before, before + len(feed)))],
    }
    if port.name in whole:
        return np.array(whole[port.name], np.int64)
    if port.name in past:
        return past[port.name]
    if port.name.startswith("past_key_values.") and port.type in TYPES:
        # `[batch, heads, past, size of a head]`, of which an exporter may leave all but the heads open.
        sizes = zip(port.shape, (1, 0, 0, head_dim), strict=True)
        dims = [dim if isinstance(dim, int) else instead for dim, instead in sizes]
        return np.zeros(dims, TYPES[port.type])
    raise Unable(f"what its input `{port.name}` of {port.type} means is not known")
