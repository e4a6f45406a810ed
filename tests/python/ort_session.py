"""onnxruntime as the tests use it: sessions with a fixed thread count, and decoders with a cache.

`Decoder` finds its way by input names alone, so it runs every model with the interface that
`decoder.py` describes, ours or an exporter's.
"""

from pathlib import Path

import numpy as np
import onnxruntime as ort


def session(model: Path, threads: int = 1) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Else DequantizeLinear + MatMul rounds its activations to int8, which the model does not say.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    try:
        return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise SystemExit(f"onnxruntime refuses `{model}`: {error}") from None


class Decoder:
    def __init__(self, model: Path, threads: int = 1):
        self.session = session(model, threads)
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.caches = [i for i in self.session.get_inputs() if i.name.startswith("past_key_values.")]

    def inputs(self, ids: np.ndarray, past: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """What to run for `ids` `[batch, seq]` after `past`, which `past_of` gave (None: nothing yet)."""
        batch, seq = ids.shape
        if past is None:
            # Dims are `[batch, kv_heads, past, head_dim]`.
            past = {i.name: np.zeros((batch, i.shape[1], 0, i.shape[3]), np.float32) for i in self.caches}
        length = next(iter(past.values())).shape[2]
        return {
            "input_ids": ids.astype(np.int64),
            "attention_mask": np.ones((batch, length + seq), np.int64),
            "position_ids": np.tile(np.arange(length, length + seq, dtype=np.int64), (batch, 1)),
            **past,
        }

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self.session.run(None, inputs), strict=True))

    def greedy(self, ids: list[int], count: int) -> tuple[list[int], float]:
        """`count` tokens after `ids`, and the smallest lead a token had over the next best."""
        tokens, lead, past = [], np.inf, None
        feed = ids
        while len(tokens) < count:
            outputs = self.run(self.inputs(np.array([feed]), past))
            past = past_of(outputs)
            second, best = np.argsort(outputs["logits"][0, -1])[-2:]
            lead = min(lead, float(outputs["logits"][0, -1, best] - outputs["logits"][0, -1, second]))
            tokens.append(int(best))
            feed = tokens[-1:]
        return tokens, lead


def past_of(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The caches a run returned, under the names by which the next run reads them."""
    prefix = "present."
    return {f"past_key_values.{n.removeprefix(prefix)}": v for n, v in outputs.items() if n.startswith(prefix)}
