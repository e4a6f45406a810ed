"""onnxruntime as the tests use it: sessions with a fixed thread count, and decoders with a cache.

`Decoder` finds its way by input names alone, so it runs every model with the interface that
`decoder.py` describes, ours or an exporter's. `Bound` is one at its fastest: nothing that it keeps is copied.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


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
        given = self.session.get_inputs()
        self.names = {i.name for i in given}
        self.caches = [i for i in given if i.name.startswith("past_key_values.")]

    def inputs(self, ids: np.ndarray, past: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """What to run for `ids` `[batch, seq]` after `past`, which `past_of` gave (None: nothing yet)."""
        batch, seq = ids.shape
        if past is None:
            past = self.empty(batch, 0)
        length = next(iter(past.values())).shape[2]
        return {**self.row(ids, length), **past}

    def empty(self, batch: int, length: int) -> dict[str, np.ndarray]:
        """Caches of so many positions, `[batch, kv_heads, length, head_dim]`."""
        return {i.name: np.zeros((batch, i.shape[1], length, i.shape[3]), TYPES[i.type]) for i in self.caches}

    def row(self, ids: np.ndarray, before: int) -> dict[str, np.ndarray]:
        """All inputs but caches, for `ids` after so many tokens."""
        batch, seq = ids.shape
        inputs = {
            "input_ids": ids.astype(np.int64),
            "attention_mask": np.ones((batch, before + seq), np.int64),
            "position_ids": np.tile(np.arange(before, before + seq, dtype=np.int64), (batch, 1)),
        }
        return {name: value for name, value in inputs.items() if name in self.names}

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


class Bound:
    """A decoder whose caches stay where onnxruntime has them, by IO binding. GroupQueryAttention writes into buffers of
    `capacity` positions that are its past and its present; other caches grow in memory of their own."""

    def __init__(self, model: Path, threads: int, capacity: int):
        self.decoder = Decoder(model, threads)
        graph = onnx.load(model, load_external_data=False).graph
        self.shares = any(node.op_type == "GroupQueryAttention" for node in graph.node)
        self.capacity = capacity if self.shares else 0
        self.reset()

    def reset(self) -> None:
        caches = self.decoder.empty(1, self.capacity)
        self.before = 0
        self.past = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in caches.items()}

    def run(self, ids: np.ndarray) -> None:
        """Reads `ids` `[1, seq]` after what it has read."""
        binding = self.decoder.session.io_binding()
        for name, value in self.decoder.row(ids, self.before).items():
            binding.bind_cpu_input(name, value)
        for name, value in self.past.items():
            binding.bind_ortvalue_input(name, value)
        presents = {f"present.{name.removeprefix('past_key_values.')}": name for name in self.past}
        for name in self.decoder.outputs:
            if self.shares and name in presents:
                binding.bind_ortvalue_output(name, self.past[presents[name]])
            else:
                binding.bind_output(name)
        self.decoder.session.run_with_iobinding(binding)
        if not self.shares:
            outputs = dict(zip(self.decoder.outputs, binding.get_outputs(), strict=True))
            self.past = {name: outputs[present] for present, name in presents.items()}
        self.before += ids.shape[1]
