"""The peers compute what they are measured at.

PYTHONPATH=tests/python python3 tests/python/env.py -m unittest discover tests/peers
"""

import os
import tempfile
import unittest
from pathlib import Path

import gguf
import numpy as np
import onnx
from gguf import GGMLQuantizationType

from cache import target_dir
from contest import Contest, Engine, play
from decoder import Config, export
from generate_decoder import RandomWeights
from ggml import Ggml, Layers
from layers import SPELLINGS, random_weight
from layers import export as export_layers
from machine import machine
from ort_session import Decoder, session
from rounded import rewrite
from table import render

BUILT = (target_dir() / "peers" / "llama.cpp").exists()
VNNI = any("vnni" in flag for flag in machine()["flags"])
SATURATES = "without VNNI onnxruntime sums pairs of int8 products in 16 bits, which saturate"
SHAPES = [(512, 256), (256, 512)]
MACHINE = {"cpu": "a CPU", "cores": 2, "flags": ["avx2"], "memory_gib": 24, "caches": {"L2": "2M"}}
SMALL = Config(vocab=96, hidden=128, layers=1, heads=4, kv_heads=2, head_dim=32, ffn=256)


def distance(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


class Contests(unittest.TestCase):
    def test_ratios_are_of_the_same_round(self):
        times, rates = iter([10, 20, 30]), iter([1, 2, 3])
        contest = Contest(
            "title",
            {"time": "µs", "rate": "tokens/s"},
            [
                Engine("Trine", lambda threads: {"time": next(times), "rate": 4}),
                Engine("peer", lambda threads: {"time": 40, "rate": next(rates)}),
            ],
            {"other": {"time": {1: 60, 2: 5}}},
        )
        rows = {(row.case, row.engine): row for row in play(contest, [1], 3)}
        self.assertEqual(rows["time", "Trine"].median, {1: 20})
        self.assertEqual(rows["time", "peer"].ratio, {1: 2})
        self.assertEqual(rows["rate", "peer"].ratio, {1: 2})
        self.assertEqual(rows["time", "peer"].samples, {1: [40, 40, 40]})
        self.assertEqual((rows["time", "other"].ratio, rows["time", "other"].quoted), ({1: 3}, True))
        self.assertNotIn(("rate", "other"), rows)
        table = render(list(rows.values()), [1], MACHINE, {"trine": "1"})
        self.assertIn("| title, time, µs | other † | 60.0 | 3.00× |", table)


    def test_what_was_measured_is_not_measured_again(self):
        times = iter([10, 20])
        contest = Contest("title", {"time": "µs"}, [Engine("Trine", lambda threads: {"time": next(times)})])
        with tempfile.TemporaryDirectory() as folder:
            first = play(contest, [1], 2, Path(folder))
            self.assertEqual(play(contest, [1], 2, Path(folder)), first)


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class Chains(Folder):
    """A chain of layers, as numpy multiplies it; the tolerance is that of int8 activations."""

    def setUp(self):
        super().setUp()
        self.weights = [random_weight(shape, i).dense() for i, shape in enumerate(SHAPES)]
        self.x = np.random.default_rng(1).standard_normal((3, SHAPES[0][1])).astype(np.float32)
        self.expected = self.x @ self.weights[0].T @ self.weights[1].T

    def check_onnxruntime(self, spelling: str):
        path = self.folder / "model.onnx"
        export_layers(path, SHAPES, spelling)
        (actual,) = session(path).run(None, {"x": self.x})
        self.assertLess(distance(actual, self.expected), 0.02)

    def test_onnxruntime(self):
        for spelling in SPELLINGS:
            if spelling != "int8":
                with self.subTest(spelling):
                    self.check_onnxruntime(spelling)

    @unittest.skipUnless(VNNI, SATURATES)
    def test_onnxruntime_int8(self):
        self.check_onnxruntime("int8")

    @unittest.skipUnless(BUILT or os.environ.get("TRINE_PEERS") == "1", "llama.cpp is not built yet: TRINE_PEERS=1 builds it")
    def test_ggml(self):
        ggml = Ggml()
        for name in ("TQ2_0", "TQ1_0", "Q4_0"):
            with self.subTest(name):
                kind = GGMLQuantizationType[name]
                first, second = (gguf.dequantize(ggml.quantize(w, kind), kind) for w in self.weights)
                expected = self.x @ first.T @ second.T
                layers = Layers(ggml, self.weights, kind, 2)
                layers.prepare(len(self.x))
                layers.feed(self.x)
                for _ in range(2):
                    layers.run()
                    self.assertLess(distance(layers.result(), expected), 0.02)


class Rewriting(Folder):
    def test_more_bits_are_closer(self):
        source = self.folder / "source.onnx"
        weights = RandomWeights(SMALL, True, False, 0)
        export(source, SMALL, weights, external_data=True)
        ids = np.random.default_rng(0).integers(0, SMALL.vocab, (1, 9))

        def logits(path: Path) -> np.ndarray:
            decoder = Decoder(path)
            return decoder.run(decoder.inputs(ids))["logits"]

        distances, expected = {}, logits(source)
        for spelling in ("nbits2", "nbits4", "nbits8", "int8"):
            (self.folder / spelling).mkdir()
            output = self.folder / spelling / "model.onnx"
            rewrite(source, output, lambda _, spelling=spelling: spelling, 32)
            graph = onnx.load(output, load_external_data=False).graph
            constant = {initializer.name for initializer in graph.initializer}
            left = [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in constant]
            self.assertEqual(left, [])
            distances[spelling] = distance(logits(output), expected)
        self.assertGreater(distances["nbits2"], distances["nbits4"])
        self.assertGreater(distances["nbits4"], distances["nbits8"])
        if VNNI:
            self.assertLess(distances["int8"], 0.05)


if __name__ == "__main__":
    unittest.main()
