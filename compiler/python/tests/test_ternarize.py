"""Weights that are made ternary, and what that cost."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from support import LM, MODELS, images, model

import trine

FLOAT = MODELS / "lm_float" / "f32.onnx"


def classifier(folder: str) -> Path:
    """A net of two layers whose weights are not ternary."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape).astype(np.float32) / 8 for shape in ((64, 128), (128, 10))]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w1"], ["y"], name="last"),
    ]
    float_ = TensorProto.FLOAT
    made = model(
        nodes,
        [("x", float_, ["batch", 64])],
        [("y", float_, ["batch", 10])],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    path = Path(folder, "classifier.onnx")
    path.write_bytes(made)
    return path


class Ternarized(unittest.TestCase):
    def test_layers_are_fitted_to_arrays(self):
        with tempfile.TemporaryDirectory() as folder:
            path, data = classifier(folder), {"x": images(256)}
            fitted = trine.ternarize(path, Path(folder, "fitted"), data)
            plain = trine.ternarize(path, Path(folder, "plain"), recipe="exact{planes=2,group=128}")
            self.assertEqual([layer.node for layer in fitted.layers], ["first"])
            self.assertEqual([layer.weights for layer in fitted.kept], ["w1"])
            self.assertEqual(fitted.path, Path(folder, "fitted", "model.onnx"))
            (layer,) = fitted.layers
            assert layer.output_error is not None and layer.held_out_error is not None
            self.assertTrue(0 < layer.output_error < layer.weight_error < 1, layer)
            self.assertIsNone(plain.layers[0].output_error)
            # What was held out says what comparing the models says.
            session = trine.InferenceSession(path)
            apart = [trine.compare(session, trine.InferenceSession(m.path), data).outputs[0] for m in (fitted, plain)]
            self.assertLess(apart[0].relative, apart[1].relative)
            self.assertFalse(apart[0].same_bits)
            found = trine.compile(fitted.path).explain()
            self.assertTrue(any(layer.ternary for layer in found.layers))

    def test_a_language_model_is_fitted_to_tokens(self):
        tokens = np.random.default_rng(0).integers(0, 512, 600).tolist()
        with tempfile.TemporaryDirectory() as folder:
            made = trine.ternarize(FLOAT, folder, tokens, context=32, tokens=256, format="ir")
            self.assertEqual(made.path.name, "model.ir")
            self.assertTrue(all(0 <= layer.zeros <= 1 for layer in made.layers))
            self.assertEqual(len(list(trine.generate(made.path, [1, 2], max_tokens=3))), 3)

    def test_mistakes_are_told(self):
        with tempfile.TemporaryDirectory() as folder:
            path, output = classifier(folder), Path(folder, "out")
            cases = [
                (lambda: trine.ternarize(path, output, recipe="gptq"), trine.InvalidArgument, "needs data to fit to"),
                (lambda: trine.ternarize(path, output, recipe="nope"), trine.InvalidArgument, "nope"),
                (lambda: trine.ternarize(path, output, keep=["nope"]), trine.InvalidArgument, "is the name of no layer"),
                (lambda: trine.ternarize(path, output, {"z": images(8)}), trine.InvalidInput, "no input `z`"),
                (lambda: trine.ternarize(path, output, {}), trine.InvalidInput, "input `x` is not given"),
                (lambda: trine.ternarize(path, output, format="pt"), trine.InvalidArgument, "`format` is one of"),
                (lambda: trine.ternarize(LM, output, [1, 2, 3]), trine.InvalidModel, "tokens are too few"),
            ]
            for call, kind, message in cases:
                with self.assertRaisesRegex(kind, message):
                    call()
            self.assertFalse(output.exists())


class Compared(unittest.TestCase):
    def test_sessions_of_onnxruntime_are_compared_too(self):
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            path = classifier(folder)
            ours, theirs = trine.InferenceSession(path), onnxruntime.InferenceSession(path)
            told = trine.compare(theirs, ours, {"x": images(4)})
            self.assertLess(told.max_abs, 1e-4)
            self.assertEqual([output.name for output in told.outputs], ["y"])
            self.assertTrue(trine.compare(ours, ours, {"x": images(4)}).same_bits)


if __name__ == "__main__":
    unittest.main()
