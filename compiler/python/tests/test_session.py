"""Sessions: onnxruntime's signature, the library's bits, its messages, and arrays that are read where they lie."""

import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from support import LM, MLP, addition, identity, images, model, reference, same_bits

import trine


class Results(unittest.TestCase):
    def test_bits_are_those_of_the_library(self):
        x = reference("mlp.x")
        (y,) = trine.InferenceSession(MLP).run(None, {"x": x})
        self.assertTrue(same_bits(y, reference("mlp.y")))

    def test_a_model_is_read_from_wherever_it_is(self):
        x = images()
        (want,) = trine.InferenceSession(str(MLP)).run(None, {"x": x})
        with tempfile.TemporaryDirectory() as folder:
            beside, below = Path(folder, "beside"), Path(folder, "below")
            for place in (beside, below / "onnx"):
                place.mkdir(parents=True)
                shutil.copy(MLP, place / "model.onnx")
            compiled = Path(folder, "mlp.trine")
            trine.compile(MLP).save(compiled)
            data = MLP.read_bytes()
            places = [data, bytearray(data), memoryview(data), beside, str(below), compiled, compiled.read_bytes()]
            for place in places:
                (y,) = trine.InferenceSession(place).run(None, {"x": x})
                self.assertTrue(same_bits(y, want), str(place)[:40])
            with self.assertRaisesRegex(trine.InvalidModel, "holds neither `model.onnx` nor"):
                trine.InferenceSession(folder)

    def test_ir_that_the_command_wrote_runs(self):
        text = "graph @main(%x: f32[n]) -> (%y: f32[n]) {\n  %y = neg %x : f32[n]\n}\n"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "neg.ir")
            path.write_text(text)
            (y,) = trine.InferenceSession(path).run(None, {"x": np.array([1, -2], np.float32)})
        self.assertEqual(y.tolist(), [-1, 2])

    def test_outputs_are_given_in_the_order_that_is_asked_for(self):
        float_ = TensorProto.FLOAT
        nodes = [helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Abs", ["x"], ["p"])]
        session = trine.InferenceSession(
            model(nodes, [("x", float_, [2])], [("n", float_, [2]), ("p", float_, [2])])
        )
        x = np.array([1, -2], np.float32)
        self.assertEqual([y.tolist() for y in session.run(None, {"x": x})], [[-1, 2], [1, 2]])
        self.assertEqual([y.tolist() for y in session.run(["p", "n", "p"], {"x": x})], [[1, 2], [-1, 2], [1, 2]])
        self.assertEqual(session.run([], {"x": x}), [])


class Signature(unittest.TestCase):
    def test_inputs_and_outputs_are_described_as_onnxruntime_does(self):
        import onnxruntime

        for path in (MLP, LM):
            ours, theirs = trine.InferenceSession(path), onnxruntime.InferenceSession(path)
            for mine, other in zip(ours.get_inputs() + ours.get_outputs(), theirs.get_inputs() + theirs.get_outputs()):
                self.assertEqual((mine.name, mine.type), (other.name, other.type))
                self.assertEqual(len(mine.shape), len(other.shape))
                for a, b in zip(mine.shape, other.shape):
                    if isinstance(b, int):
                        self.assertEqual(a, b, mine.name)
                    else:
                        self.assertIsInstance(a, str)
            # What an input calls its open sizes is kept.
            self.assertEqual(ours.get_inputs()[0].shape, theirs.get_inputs()[0].shape)
        self.assertEqual(ours.get_providers(), ["CPUExecutionProvider"])
        self.assertIn("CPUExecutionProvider", trine.get_available_providers())

    def test_what_a_model_says_of_itself_is_what_onnxruntime_tells(self):
        import onnxruntime

        names = ("producer_name", "graph_name", "domain", "description", "graph_description", "version", "custom_metadata_map")

        def told(session) -> dict[str, object]:
            metadata = session.get_modelmeta()
            return {name: getattr(metadata, name) for name in names}

        silent = onnx.load_model_from_string(identity(TensorProto.FLOAT, [1]))
        full = onnx.load_model_from_string(identity(TensorProto.FLOAT, [1]))
        full.producer_name, full.domain, full.model_version = "maker", "org.example", 7
        full.doc_string, full.graph.doc_string, full.graph.name = "what it is for", "how it is made", "main"
        helper.set_model_props(full, {"licence": "Apache-2.0", "labels": "α,β"})
        for made in (silent, full):
            data = made.SerializeToString()
            theirs = told(onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]))
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "model.onnx")
                path.write_bytes(data)
                compiled = trine.compile(path)
                compiled.save(Path(folder, "model.trine"))
                for ours in (trine.InferenceSession(data), trine.InferenceSession(path), compiled.session()):
                    self.assertEqual(told(ours), theirs)
                saved = told(trine.InferenceSession(Path(folder, "model.trine")))
        self.assertEqual((theirs["version"], len(theirs["custom_metadata_map"])), (7, 2))
        nothing = dict.fromkeys(names, "") | {"version": 2**63 - 1, "custom_metadata_map": {}}
        self.assertEqual(saved, nothing)

    def test_options_that_mean_the_same_are_taken_and_others_named(self):
        options = trine.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = trine.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_free_dimension_override_by_name("rows", 2)
        session = trine.InferenceSession(addition(), options, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
        self.assertEqual(session.threads, 1)
        self.assertEqual(session.get_inputs()[0].shape, [2, 4])
        with self.assertRaisesRegex(trine.Unsupported, "SessionOptions.enable_profiling"):
            options.enable_profiling = True
        with self.assertRaisesRegex(trine.Unsupported, "SessionOptions.register_custom_ops_library"):
            options.register_custom_ops_library("x.so")
        with self.assertRaises(trine.InvalidArgument):
            options.intra_op_num_threads = -1
        with self.assertRaisesRegex(trine.InvalidArgument, "CUDAExecutionProvider"):
            trine.InferenceSession(addition(), providers=["CUDAExecutionProvider"])
        with self.assertRaisesRegex(trine.InvalidArgument, "has no option `arena`"):
            trine.InferenceSession(addition(), provider_options=[{"arena": "1"}])

    def test_levels_are_told_apart(self):
        level = trine.GraphOptimizationLevel
        self.assertEqual([each.level for each in level], [0, 1, 2, 2, 2])
        self.assertEqual(level(99), level.ORT_ENABLE_ALL)


class Errors(unittest.TestCase):
    def test_wrong_inputs_are_answered_in_the_words_of_the_library(self):
        session = trine.InferenceSession(MLP)
        x = images()
        cases = [
            ({"x": x.astype(np.float64)}, r"input `x` is f32\[.*,64\], got f64\[3,64\]"),
            ({"x": x.astype("complex64")}, r"input `x` is f32\[.*,64\], got complex64\[3,64\]"),
            ({"x": x[0]}, r"input `x` is f32\[.*,64\], got f32\[64\]"),
            ({"x": x[:, :63]}, "input `x`: axis 1 has 63 elements, not `64`"),
            ({"z": x}, "no input `z`; there are `x`"),
            ({"x": x, "z": x}, "no input `z`; there are `x`"),
            ({}, "input `x` is not given"),
            ({"x": None}, "input `x` is None"),
            ({"x": [["a"]]}, "input `x`: ValueError: could not convert"),
        ]
        for feed, message in cases:
            with self.assertRaisesRegex(trine.InvalidInput, message):
                session.run(None, feed)
        with self.assertRaisesRegex(trine.InvalidArgument, "no output `nope`; there are `"):
            session.run(["nope"], {"x": x})
        with self.assertRaisesRegex(trine.InvalidArgument, "not text"):
            session.run("logits", {"x": x})
        with self.assertRaisesRegex(trine.InvalidArgument, "run options"):
            session.run(None, {"x": x}, object())
        # Errors leave a session that runs.
        self.assertEqual(session.run(None, {"x": x})[0].shape, (3, 10))

    def test_sizes_that_do_not_fit_are_named(self):
        session = trine.InferenceSession(addition())
        a, b = np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float32)
        with self.assertRaisesRegex(trine.InvalidInput, "input `b`: axis 0 has 3 elements, not `rows`, which is 2 here"):
            session.run(None, {"a": a, "b": b})

    def test_models_that_are_wrong_are_the_models_fault(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            with self.assertRaisesRegex(trine.InvalidModel, "cannot read `"):
                trine.InferenceSession(path)
            path.write_bytes(b"\xff" * 100)
            with self.assertRaises(trine.InvalidModel):
                trine.InferenceSession(path)
            damaged = Path(folder, "model.trine")
            trine.compile(MLP).save(damaged)
            data = bytearray(damaged.read_bytes())
            data[len(data) // 2] ^= 1
            damaged.write_bytes(data)
            with self.assertRaises(trine.InvalidModel):
                trine.InferenceSession(damaged)
            with self.assertRaises(trine.InvalidModel):
                trine.InferenceSession(bytes(data[:200]))
        with self.assertRaisesRegex(trine.InvalidArgument, r"ends neither in `.onnx` nor in `.ir`"):
            trine.InferenceSession("model.pt")

    def test_options_are_checked(self):
        cases = [
            ({"levle": 1}, "no option `levle`; there are `dims`"),
            ({"level": 7}, "`level` is 0, 1 or 2, not 7"),
            ({"activations": "i8:0"}, "`activations` is `auto`"),
            ({"backend": "gpu"}, "`backend` is one of `auto`, `interpret`, `cranelift`, not `gpu`"),
            ({"fed": "x"}, "`fed` is a list of names, not text"),
            ({"passes": "nothing-like-it"}, "nothing-like-it"),
            ({"ternarize": "nothing-like-it"}, "nothing-like-it"),
            ({"state_capacity": 4}, "`state_capacity` is for models with caches"),
        ]
        for options, message in cases:
            with self.assertRaisesRegex(trine.InvalidArgument, message):
                trine.InferenceSession(MLP, **options)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "mlp.trine")
            trine.compile(MLP).save(path)
            with self.assertRaisesRegex(trine.InvalidArgument, "is compiled, and options say how to compile"):
                trine.InferenceSession(path, level=1)
            # Options of the session say how to run.
            trine.InferenceSession(path, trine.SessionOptions())

    def test_classes_say_whose_fault_it_is(self):
        for name in ("InvalidModel", "InvalidInput", "InvalidArgument", "Internal"):
            self.assertTrue(issubclass(getattr(trine, name), trine.Error))
        self.assertTrue(issubclass(trine.Unsupported, AttributeError))


class Arrays(unittest.TestCase):
    def test_arrays_of_any_layout_give_the_same(self):
        session = trine.InferenceSession(MLP)
        x = images(4)
        (want,) = session.run(None, {"x": x})
        padded = np.zeros((4, 80), np.float32)
        padded[:, :64] = x
        unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
        self.assertFalse(unaligned.flags.aligned)
        read_only = x.copy()
        read_only.flags.writeable = False
        layouts = [np.asfortranarray(x), padded[:, :64], x[::-1][::-1], x.astype(">f4"), unaligned, read_only, x.tolist()]
        for layout in layouts:
            (y,) = session.run(None, {"x": layout})
            self.assertTrue(same_bits(y, want))

    def test_what_can_become_an_array_is_read(self):
        class Holder:
            def __array__(self, dtype=None, copy=None):
                return images(2)

        session = trine.InferenceSession(MLP)
        (y,) = session.run(None, {"x": Holder()})
        self.assertTrue(same_bits(y, session.run(None, {"x": images(2)})[0]))

    def test_outputs_are_numpys_own(self):
        session = trine.InferenceSession(MLP)
        (first,) = session.run(None, {"x": images(1)})
        kept = first.copy()
        (second,) = session.run(None, {"x": np.ones((1, 64), np.float32)})
        self.assertTrue(first.flags.owndata and first.flags.writeable and second.flags.owndata)
        self.assertTrue(same_bits(first, kept))
        del session
        first += 1
        self.assertFalse(same_bits(first, kept))

    def test_empty_arrays_and_scalars_pass(self):
        session = trine.InferenceSession(identity(TensorProto.FLOAT, ["n", 3]))
        (y,) = session.run(None, {"x": np.zeros((0, 3), np.float32)})
        self.assertEqual(y.shape, (0, 3))
        session = trine.InferenceSession(identity(TensorProto.INT64, []))
        (y,) = session.run(None, {"x": np.array(7)})
        self.assertEqual((y.shape, y.item()), ((), 7))
        self.assertEqual(session.run(None, {"x": 7})[0].item(), 7)


if __name__ == "__main__":
    unittest.main()
