"""What `models.py` says of a model is so: right is told from wrong, and every failure has its words."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import models
import packages
import report
from specification import EXACT, OPERATORS, Specification, Unknown
from trial import Engines, Failed, Result, Witnesses, difference, differences, tried
from zoo import MODELS, Model

MACHINE = {"cpu": "a CPU", "cores": 2, "flags": ["avx2"], "memory_gib": 24, "caches": {"L2": "2M"}}


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, nodes: list, inputs: dict, outputs: list[str], **constants: np.ndarray) -> Path:
        entries = [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()]
        exits = [onnx.ValueInfoProto(name=name) for name in outputs]
        tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        graph = helper.make_graph(nodes, "graph", entries, exits, tensors)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        path = self.folder / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
        return path

    def command(self, script: str) -> Path:
        path = self.folder / "trine"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path


class Differences(unittest.TestCase):
    def test_are_of_the_largest_magnitude(self):
        ours, theirs = np.float32([1, 2.5, 0]), np.float32([1, 2, -4])
        self.assertEqual(difference(ours, theirs), 1)
        self.assertEqual(difference(theirs, theirs), 0)

    def test_what_cannot_be_compared_is_infinitely_wrong(self):
        x = np.float32([1, 2])
        for other in (np.float32([1, 2, 3]), np.float64([1, 2]), np.float32([1, np.nan]), np.float32([1, np.inf])):
            self.assertEqual(difference(other, x), np.inf)
            self.assertEqual(difference(x, other), np.inf)
        self.assertEqual(difference(np.int64([1, 2]), np.int64([1, 3])), np.inf)
        self.assertEqual(difference(np.float32([1]), np.float32([0])), np.inf)

    def test_special_values_are_equal_to_themselves(self):
        x = np.float32([np.nan, np.inf, -np.inf, 0])
        self.assertEqual(difference(x, x), 0)

    def test_of_runs_are_the_largest(self):
        one, two, half = ({"y": np.float32([v])} for v in (1, 2, 0.5))
        self.assertEqual(differences([one, two], [one, two]), 0)
        self.assertEqual(differences([two, one], [two, half]), 1)
        self.assertEqual(differences([{}], [one]), np.inf)


class Zoo(unittest.TestCase):
    def test_has_inputs_for_every_model(self):
        self.assertEqual(len({model.name for model in MODELS}), len(MODELS))
        for model in MODELS:
            for size, feeds in model.sizes.items():
                with self.subTest(f"{model.name}, {size}"):
                    first, *rest = feeds(np.random.default_rng(0))
                    self.assertEqual(len(rest) > 0, bool(model.carried))
                    self.assertLessEqual(set(model.carried.values()), first.keys())
                    for feed in rest:
                        self.assertEqual(feed.keys() | model.carried.values(), first.keys())
                    for array in first.values():
                        self.assertIn(array.dtype, (np.float32, np.int64, np.int32))
                        self.assertTrue(np.isfinite(array).all())

    def test_inputs_are_the_same_each_time(self):
        for model in MODELS:
            for feeds in model.sizes.values():
                first, second = (feeds(np.random.default_rng(7)) for _ in range(2))
                self.assertEqual(differences(first, second), 0)


class Packages(Folder):
    def test_without_a_network_what_is_not_kept_is_unavailable(self):
        package = packages.Package("pip", "a-package", "1.0")
        with mock.patch.dict(os.environ, {"TRINE_OFFLINE": "1", "CARGO_TARGET_DIR": str(self.folder)}):
            with self.assertRaisesRegex(packages.Unavailable, "TRINE_OFFLINE=1"):
                package.folder()

    def test_a_model_that_cannot_be_had_is_skipped_and_named(self):
        package = packages.Package("pip", "a-package", "1.0")
        model = Model("a model", package, "a.onnx", {"1": lambda _: []})
        skipped: dict[str, str] = {}
        with mock.patch.dict(os.environ, {"TRINE_OFFLINE": "1", "CARGO_TARGET_DIR": str(self.folder)}):
            self.assertEqual(models.tried(model, Path("trine"), models.arguments_of([]), skipped), [])
        self.assertIn("a-package 1.0", skipped["a model"])


class Arguments(unittest.TestCase):
    def test_name_models(self):
        self.assertEqual(models.chosen([]), MODELS)
        self.assertEqual({model.name for model in models.chosen(["LAC"])}, {"LAC"})
        arguments = models.arguments_of(["--only", "det", "rec", "--threads", "2", "--rounds", "0"])
        self.assertEqual((arguments.only, arguments.threads, arguments.rounds), (["det", "rec"], 2, 0))


class Trials(Folder):
    def setUp(self):
        super().setUp()
        self.model = self.write(
            [helper.make_node("Add", ["x", "state"], ["y"])],
            {"x": (TensorProto.FLOAT, [2]), "state": (TensorProto.FLOAT, [2])},
            ["y"],
        )
        self.feeds = [{"x": np.float32([1, 2]), "state": np.zeros(2, np.float32)}, {"x": np.float32([3, 4])}]

    def engines(self, script: str, limit: float = 300) -> Engines:
        return Engines(self.command(script), self.model, {"y": "state"}, 1, limit)

    def test_states_are_carried(self):
        outputs = self.engines("exit 1").onnxruntime(self.feeds)
        self.assertEqual([run["y"].tolist() for run in outputs], [[1, 2], [4, 6]])

    def test_failures_are_told_in_their_own_words(self):
        with self.assertRaisesRegex(Failed, "error: no such op"):
            self.engines("echo error: no such op >&2; exit 1").trine(self.feeds)
        with self.assertRaisesRegex(Failed, "^model.onnx is wrong$"):
            self.engines('echo "$2 is wrong" >&2; exit 1').trine(self.feeds)
        with self.assertRaisesRegex(Failed, "signal 11"):
            self.engines("kill -11 $$").trine(self.feeds)
        with self.assertRaisesRegex(Failed, "more than 0 s"):
            self.engines("exec sleep 20", limit=0.2).trine(self.feeds)

    def test_a_model_that_fails_is_not_right(self):
        model = Model("a model", None, "", {}, {"y": "state"})
        found = tried(self.engines("echo no; exit 1"), model, "2", self.feeds, 0, 0)
        self.assertEqual((found.right, found.imports), (False, False))
        runs_not = self.engines('case $1 in inspect) echo "{}";; *) echo cannot run >&2; exit 1;; esac')
        found = tried(runs_not, model, "2", self.feeds, 0, 0)
        self.assertEqual((found.right, found.imports, found.failure), (False, True, "cannot run"))


class Specified(Folder):
    """The witness is itself compared with onnxruntime, where that is right: operators of floats, and small sums."""

    def agrees(self, nodes: list, inputs: dict, outputs: list[str], feed: dict, **constants: np.ndarray) -> None:
        path = self.write(nodes, inputs, outputs, **constants)
        expected = Engines(Path("trine"), path, {}, 1, 1).onnxruntime([feed], optimized=False)
        self.assertLess(differences([Specification(path).run(feed)], expected), 1e-6)

    def test_sums_of_integers(self):
        random = np.random.default_rng(0)
        # Small enough that no 16 bits overflow.
        w, zero = random.integers(-40, 40, (6, 3), np.int8), np.int8(3)
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            helper.make_node("MatMulInteger", ["q", "w", "zero", "w_zero"], ["sums"]),
        ]
        feed = {"x": random.standard_normal((4, 6)).astype(np.float32)}
        self.agrees(nodes, {"x": (TensorProto.FLOAT, ["n", 6])}, ["q", "scale", "zero", "sums"], feed, w=w, w_zero=zero)

    def test_convolutions_of_integers(self):
        random = np.random.default_rng(1)
        w = random.integers(0, 9, (4, 2, 3, 2), np.uint8)
        node = helper.make_node(
            "ConvInteger", ["x", "w", "x_zero", "w_zero"], ["y"], strides=[2, 1], pads=[1, 0, 2, 1], group=2
        )
        feed = {"x": random.integers(0, 255, (2, 4, 9, 5), np.uint8)}
        constants = {"x_zero": np.uint8(7), "w_zero": np.uint8(4)}
        self.agrees([node], {"x": (TensorProto.UINT8, [2, 4, 9, 5])}, ["y"], feed, w=w, **constants)

    def test_recurrence_is_that_of_the_weights(self):
        random = np.random.default_rng(2)
        w = random.integers(-127, 128, (2, 4, 12), np.int8)
        r = random.integers(-127, 128, (2, 3, 12), np.int8)
        scales, zeros = np.float32([0.01, 0.02]), np.int8([2, -3])
        bias = random.standard_normal((2, 24)).astype(np.float32)
        x = random.standard_normal((5, 2, 4)).astype(np.float32)
        path = self.write(
            [
                helper.make_node(
                    "DynamicQuantizeLSTM", ["x", "w", "r", "b", "", "", "", "", "s", "z", "s", "z"], ["y", "h", "c"],
                    domain="com.microsoft", hidden_size=3, direction="bidirectional",
                )  # fmt: skip
            ],
            {"x": (TensorProto.FLOAT, list(x.shape))}, ["y", "h", "c"], w=w, r=r, b=bias, s=scales, z=zeros,
        )  # fmt: skip
        found = Specification(path).run({"x": x})

        def floats(quantized: np.ndarray) -> np.ndarray:
            wide = (quantized.astype(np.float32) - zeros[:, None, None]) * scales[:, None, None]
            return np.ascontiguousarray(wide.transpose(0, 2, 1))

        path = self.write(
            [helper.make_node("LSTM", ["x", "w", "r", "b"], ["y", "h", "c"], hidden_size=3, direction="bidirectional")],
            {"x": (TensorProto.FLOAT, list(x.shape))}, ["y", "h", "c"], w=floats(w), r=floats(r), b=bias,
        )  # fmt: skip
        expected = Engines(Path("trine"), path, {}, 1, 1).onnxruntime([{"x": x}])
        self.assertLess(differences([found], expected), 1e-6)

    def test_shapes_and_slices(self):
        nodes = [
            helper.make_node("Shape", ["x"], ["dims"]),
            helper.make_node("Gather", ["dims", "one"], ["width"], axis=0),
            helper.make_node("Reshape", ["x", "shape"], ["flat"]),
            helper.make_node("Slice", ["x", "starts", "ends", "axes", "steps"], ["cut"]),
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[-1]),
            helper.make_node("Softmax", ["x"], ["soft"], axis=1),
            helper.make_node("Pow", ["x", "two"], ["square"]),
            helper.make_node("Div", ["dims", "minus"], ["quotient"]),
        ]
        constants = {
            "one": np.int64([1]), "shape": np.int64([0, -1]), "starts": np.int64([-1, 1]), "ends": np.int64([-99, 99]),
            "axes": np.int64([1, 0]), "steps": np.int64([-2, 1]), "two": np.float32(2), "minus": np.int64([-2]),
        }  # fmt: skip
        feed = {"x": np.random.default_rng(3).standard_normal((2, 5, 3)).astype(np.float32)}
        outputs = ["width", "flat", "cut", "mean", "soft", "square", "quotient"]
        self.agrees(nodes, {"x": (TensorProto.FLOAT, ["a", "b", "c"])}, outputs, feed, **constants)

    def test_stray_nodes_are_found(self):
        nodes = [
            helper.make_node("Mul", ["x", "x"], ["square"]),
            helper.make_node("Neg", ["square"], ["y"]),
        ]
        path = self.write(nodes, {"x": (TensorProto.FLOAT, [2])}, ["y"])
        feed, witness = {"x": np.float32([1, 2])}, Specification(path)
        exposed = self.folder / "exposed.onnx"
        witness.expose(feed, exposed)
        (found,) = Engines(Path("trine"), exposed, {}, 1, 1).onnxruntime([feed])
        self.assertEqual(set(found), {"square", "y"})
        self.assertEqual(dict(witness.strays(feed, found)), {})
        # What follows a stray node is judged by what it was given.
        wrong = {"square": np.float32([1, 5]), "y": np.float32([-1, -5])}
        self.assertEqual(dict(witness.strays(feed, wrong)), {"Mul": 1})

    def test_last_bits_are_drawn(self):
        path = self.write([helper.make_node("Mul", ["x", "x"], ["y"])], {"x": (TensorProto.FLOAT, [64])}, ["y"])
        feed = {"x": np.linspace(1, 2, 64, dtype=np.float32)}
        moved = Specification(path, np.random.default_rng(0)).run(feed)
        apart = differences([moved], [Specification(path).run(feed)])
        self.assertTrue(0 < apart < 1e-6)

    def test_an_operator_that_is_not_written_is_named(self):
        path = self.write([helper.make_node("Erf", ["x"], ["y"])], {"x": (TensorProto.FLOAT, [1])}, ["y"])
        with self.assertRaisesRegex(Unknown, "Erf"):
            Specification(path)
        self.assertLessEqual(EXACT, OPERATORS.keys())


class Tables(unittest.TestCase):
    def setUp(self):
        quantized = Witnesses(0.001, 0.02, 0.02, 0.002, {}, {"MatMulInteger": 3})
        self.results = [
            Result("good", "1×2", error=1e-7, compiled=3, interpreted=1, ours=[0.002, 0.004], theirs=[0.004, 0.004]),
            Result("wrong", "1×2", error=0.5, compiled=3, interpreted=1),
            Result("broken", "1×2", imports=False, failure="node `a|b`: no\nway"),
            Result("int8", "4", error=0.5, compiled=1, interpreted=2, witnesses=quantized),
        ]
        self.text = report.render(self.results, {"gone": "a 1.0: no network"}, 2, MACHINE, {"trine": "1"})

    def test_say_what_was_found(self):
        for line in (
            "a CPU, 2 cores (avx2), L2 2M, 24 GiB; 2 threads",
            "2 of 4 models are right at all of their sizes; 1 is skipped",
            "| good | 1×2 | yes | 1.0e-07 | 3 | 4 | 1.50× | 3 | 1 |",
            "| wrong | 1×2 | yes | **5.0e-01** |  |  |  | 3 | 1 |",
            "| broken | 1×2 | **no** | **fails**: node `a\\|b`: no way |  |  |  |  |  |",
            "| int8 | 4 | 1.0e-03 | 2.0e-02 | 2.0e-02 | 2.0e-03 | none | 3 MatMulInteger |",
            "Skipped: gone: a 1.0: no network",
        ):
            self.assertIn(line, self.text.splitlines())

    def test_rows_fit_their_heads(self):
        rows = [line for line in self.text.splitlines() if line.startswith("|")]
        widths = [line.replace("\\|", "").count("|") for line in rows]
        self.assertEqual(widths, [10] * 6 + [9] * 3)

    def test_who_strays_is_wrong(self):
        near = Witnesses(0.001, 0, 0, 0.002, {"Mul": 1}, {})
        self.assertFalse(Result("a", "1", error=0.0, witnesses=near).right)
        far = Witnesses(0.01, 0, 0, 0.002, {}, {})
        self.assertFalse(Result("a", "1", error=0.0, witnesses=far).right)


if __name__ == "__main__":
    unittest.main()
