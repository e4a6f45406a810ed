"""What the trainers print is what the compiled models do, for every flag.

    python3 examples/train/run.py test_train.py --trine target/release/trine

Each variant trains for a few steps on a made-up text, is exported, and must have the same loss on the same tokens in
the trainer, in onnxruntime and compiled; every projection must compile to a ternary one. `TRINE` names the command too.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

import corpus
import export_lm
import gradual
import hypersphere
import language_model
import ort_session
import smart
import tequila
import ternary
import train_lm
import train_rnn
from method import Method
from train_digits import digits

ROOT = Path(__file__).resolve().parents[2]
TRINE = Path(os.environ.get("TRINE") or ROOT / "target/release/trine")
TOLERANCE = 1e-3  # of losses, in nats, and of accuracies
LAYERS, WINDOW, BATCH = 2, 32, 4
PROJECTIONS = 7 * LAYERS


def trine(*arguments) -> str:
    """What the command prints."""
    result = subprocess.run([TRINE, *map(str, arguments)], capture_output=True, text=True)
    if result.returncode:
        raise AssertionError(f"trine {' '.join(map(str, arguments))}:\n{result.stderr}")
    return result.stdout


def quietly(function, *arguments):
    """The function's value and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        value = function(*arguments)
    return value, printed.getvalue()


def cross_entropy(logits, labels) -> float:
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return float(np.mean(np.log(np.exp(logits).sum(axis=-1)) - chosen))


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def compiled(self, model: Path, inputs: dict) -> dict:
        """The outputs of a model that Trine compiled."""
        given, out = self.folder / "in.npz", self.folder / "out.npz"
        np.savez(given, **inputs)
        trine("run", model, "--threads", 1, "-i", given, "-o", out)
        return dict(np.load(out))

    def check_ternary(self, model: Path, names: list[str]):
        """The matmuls with those weights are ternary as stored, and `ternary_matmul` in the IR; no others are."""
        found = json.loads(trine("inspect", model, "--json"))["ternary"]
        self.assertEqual(sorted(layer["weights"] for layer in found), sorted(names))
        ir = trine("opt", model, "--passes", "fold-constants,simplify,recognize-norms,simplify,detect-ternary")
        self.assertEqual(ir.count("= ternary_matmul "), len(names))


class LanguageModels(Folder):
    def setUp(self):
        super().setUp()
        self.text = self.folder / "text.txt"
        random = np.random.default_rng(0)
        words = ["".join(random.choice(list("aeioulnrst"), random.integers(2, 7))) for _ in range(60)]
        paragraphs = [" ".join(random.choice(words, 30)) for _ in range(200)]
        self.text.write_text("\n\n".join(paragraphs))

    def train(self, *flags: str):
        """The loss that the trainer returned, and what it printed."""
        sizes = {"steps": 12, "window": WINDOW, "batch": BATCH, "layers": LAYERS, "samples": 0}
        common = [f"--{name}={value}" for name, value in sizes.items()]
        return quietly(train_lm.main, [*common, f"--text={self.text}", f"--output={self.folder}", *flags])

    def check(self, *flags: str, spelling="f32"):
        """Trains, exports and compares; returns the checkpoint."""
        trained, printed = self.train(*flags)
        self.assertIn(f"held-out loss {trained:.5f} nats", printed)
        config, checkpoint = export_lm.load(self.folder / "checkpoint.npz")
        model = self.folder / "model.onnx"
        export_lm.write(model, config, checkpoint, spelling)

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        _, validation = corpus.token_streams(tokenizer, corpus.paragraphs(self.text))
        windows = train_lm.held_out(validation, WINDOW)
        decoder = ort_session.Decoder(model)
        inputs = decoder.inputs(windows[:, :-1])
        losses = {
            engine: cross_entropy(run(inputs)["logits"], windows[:, 1:].astype(np.int64))
            for engine, run in [("onnxruntime", decoder.run), ("trine", lambda i: self.compiled(model, i))]
        }
        for engine, loss in losses.items():
            self.assertAlmostEqual(loss, trained, delta=TOLERANCE, msg=f"{engine}, {flags}")

        names = [f"{n}.weight" for n in language_model.shapes(config) if language_model.is_projection(n)]
        self.assertEqual(len(names), PROJECTIONS)
        names = [n for n in names if f"{n.removesuffix('.weight')}.trits" in checkpoint]
        if spelling == "f32":
            self.check_ternary(model, names)
        return checkpoint

    def ops(self, checkpoint) -> dict[str, int]:
        """How many ops of which kind the arrays of a checkpoint are exported as."""
        config, _ = export_lm.load(self.folder / "checkpoint.npz")
        model = self.folder / "ops.onnx"
        export_lm.write(model, config, checkpoint, "f32")
        return json.loads(trine("inspect", model, "--json"))["ops"]

    def test_straight_through(self):
        checkpoint = self.check()
        self.assertEqual(sum(n.endswith(".trits") for n in checkpoint), PROJECTIONS)

    def test_int8_activations(self):
        self.check("--int8-activations")

    def test_tequila(self):
        checkpoint = self.check("--tequila")
        biases = [checkpoint[n] for n in checkpoint if n.endswith(".bias")]
        self.assertEqual(len(biases), PROJECTIONS)
        self.assertTrue(all(np.abs(b).max() > 0 for b in biases))
        ops = self.ops({n: a for n, a in checkpoint.items() if not n.endswith(".bias")})
        ops["add"] += PROJECTIONS
        self.assertEqual(self.ops(checkpoint), ops)

    def test_gradual(self):
        self.check("--gradual")

    def test_no_norm(self):
        checkpoint = self.check("--no-norm")
        self.assertFalse(any("sub_norm" in n for n in checkpoint))

    def test_hypersphere(self):
        self.check("--hypersphere=10")

    def test_smart(self):
        for gamma, binary in [("1", PROJECTIONS), ("0", 0)]:
            checkpoint = self.check(f"--smart={gamma}")
            found = sum(bool(t.all()) for n, t in checkpoint.items() if n.endswith(".trits"))
            self.assertEqual(found, binary, f"γ = {gamma}")

    def test_f32(self):
        checkpoint = self.check("--weights=f32", "--no-norm", "--activation=silu")
        self.assertFalse(any(n.endswith(".trits") for n in checkpoint))

    def test_all_together(self):
        flags = ["--tequila", "--gradual", "--no-norm", "--hypersphere=1", "--smart=0.2", "--int8-activations"]
        self.check(*flags, spelling="nbits")

    def test_the_table(self):
        value, printed = self.train("--table", "--layers=1")
        self.assertIsNone(value)
        self.assertRegex(printed, r"\| with extra norms \| \d\.\d+ \| \d\.\d+ \|\n\| without \| \d\.\d+ \| \d\.\d+ \|")
        self.assertFalse((self.folder / "checkpoint.npz").exists())

    def test_flags_that_contradict(self):
        for flags in (["--weights=f32", "--smart=0"], ["--table", "--no-norm"], ["--smart=-1"]):
            with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
                train_lm.main(flags)


class RecurrentNetworks(Folder):
    def check(self, cell: str, layers: list[str], *flags: str):
        model = self.folder / "hitnet.onnx"
        sizes = [f"--cell={cell}", "--steps=60", "--width=24", f"--output={model}"]
        (loss, accuracy), _ = quietly(train_rnn.main, [*sizes, *flags])
        _, x, _, y = digits()
        expected = ort_session.session(model).run(None, {"x": x})[0]
        for engine, logits in [("onnxruntime", expected), ("trine", self.compiled(model, {"x": x})["logits"])]:
            self.assertAlmostEqual(cross_entropy(logits, y), loss, delta=TOLERANCE, msg=engine)
            self.assertAlmostEqual(np.mean(logits.argmax(1) == y), accuracy, delta=TOLERANCE, msg=engine)
        data = self.folder / "d.npz"
        np.savez(data, x=x, y=y)
        report = json.loads(trine("accuracy", model, "--threads", 1, "--data", data, "--json"))
        self.assertAlmostEqual(report["accuracy"], accuracy, delta=TOLERANCE)
        self.check_ternary(model, layers)

    def test_every_matmul_of_both_cells_is_ternary(self):
        layers = ["input_weight"] + ["state_weight"] * 7 + ["output_weight"]
        for cell in ("lstm", "gru"):
            with self.subTest(cell):
                self.check(cell, layers)

    def test_without_quantization(self):
        self.check("lstm", [], "--weights=f32", "--state=f32")


class Formulas(unittest.TestCase):
    """What the papers' terms are, on one random matrix."""

    def setUp(self):
        self.weight = jnp.asarray(np.random.default_rng(0).normal(0, 0.1, (8, 96)), jnp.float32)
        self.trits, self.scale = ternary.split(self.weight)
        self.name = "layers.1.self_attn.q_proj"

    def test_lambda_goes_from_0_to_exactly_1_by_layer(self):
        weights = Method(gradual=True).weights
        at = {done: weights({self.name: self.weight}, 2, done)[self.name] for done in (0.0, 0.25, 1.0)}
        np.testing.assert_array_equal(at[0.0], self.weight)
        np.testing.assert_array_equal(at[0.25], self.weight)  # the turn of layer 0
        np.testing.assert_allclose(at[1.0], self.trits * self.scale, rtol=0, atol=1e-7, equal_nan=False)
        self.assertEqual([float(gradual.share(layer, 2, 1.0)) for layer in range(2)], [1, 1])
        self.assertEqual([float(gradual.share(layer, 2, 0.25)) for layer in range(2)], [1, 0])

    def test_tequila_gives_dead_weights_a_gradient(self):
        def total(weight, reactivation):
            return jnp.sum(tequila.bias(weight, self.trits, reactivation))

        dead = np.asarray(self.trits) == 0
        rows = (np.asarray(self.weight) * dead).sum(axis=1)
        np.testing.assert_allclose(tequila.bias(self.weight, self.trits, 1e-3), 1e-3 * rows, rtol=0, atol=1e-6, equal_nan=False)
        np.testing.assert_allclose(jax.grad(total)(self.weight, 1e-3), 1e-3 * dead, rtol=1e-6, equal_nan=False)
        np.testing.assert_allclose(jax.grad(total, 1)(self.weight, 1e-3), rows.sum(), rtol=1e-5, equal_nan=False)

    def test_the_hyperspherical_distance_is_what_the_best_scale_loses(self):
        w, t = np.asarray(self.weight, np.float64), np.asarray(self.trits, np.float64)
        best = (w * t).sum() / (t * t).sum()
        lost = ((w - best * t) ** 2).sum() / (w * w).sum()
        self.assertAlmostEqual(float(hypersphere.distance(self.weight, self.trits)), lost, delta=1e-5)

    def test_smart_prefers_ternary_when_it_is_cheap(self):
        slope = jax.grad(smart.regularizer, 1)
        self.assertGreater(float(slope(self.weight, 0.0, 0.0)), 0)
        self.assertLess(float(slope(self.weight, 0.0, 1.0)), 0)
        binary, _ = smart.split(self.weight, 1.0)
        np.testing.assert_array_equal(binary, np.sign(self.weight))
        np.testing.assert_array_equal(smart.split(self.weight, -1.0)[0], self.trits)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trine", type=Path, default=TRINE, help="the command")
    flags, rest = parser.parse_known_args()
    TRINE = flags.trine.resolve()
    unittest.main(argv=[sys.argv[0], *rest])
