"""Models that are compiled: files, the stages as text, and what became of each layer."""

import dataclasses
import platform
import tempfile
import unittest
from pathlib import Path

from support import MLP, addition, images, same_bits

import trine


class Compiled(unittest.TestCase):
    def test_what_is_saved_runs_as_it_did(self):
        x = images()
        (want,) = trine.InferenceSession(MLP).run(None, {"x": x})
        compiled = trine.compile(MLP)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "mlp.trine")
            compiled.save(path)
            again = Path(folder, "again.trine")
            trine.compile(MLP).save(str(again))
            self.assertEqual(path.read_bytes(), again.read_bytes())
            loaded = trine.InferenceSession(path)
            path.unlink()
            for session in (loaded, compiled.session(), compiled.session(threads=2)):
                self.assertTrue(same_bits(session.run(None, {"x": x})[0], want))
            self.assertIsInstance(compiled.session(), trine.InferenceSession)
            with self.assertRaisesRegex(trine.Error, "none"):
                compiled.save(Path(folder, "none", "model.trine"))

    def test_a_file_has_code_for_several_machines(self):
        x = images()
        (want,) = trine.InferenceSession(MLP).run(None, {"x": x})
        targets = ["baseline", "v3", "aarch64+dotprod"]
        compiled = trine.compile(MLP, target=targets)
        self.assertEqual(compiled.targets, targets)
        self.assertTrue(same_bits(compiled.session().run(None, {"x": x})[0], want))
        self.assertIn("x86-64-v3", trine.cpus())
        with self.assertRaisesRegex(trine.Error, "no target `z80`"):
            trine.compile(MLP, target="z80")
        with self.assertRaisesRegex(trine.InvalidArgument, "names no target"):
            trine.compile(MLP, target=[])
        with self.assertRaisesRegex(trine.Error, "has no extension `avx2`"):
            trine.compile(MLP, target="aarch64+avx2")
        elsewhere = "aarch64" if platform.machine() == "x86_64" else "v3"
        with self.assertRaisesRegex(trine.Error, "none of its targets runs here"):
            trine.compile(MLP, target=elsewhere).session()

    def test_stages_are_told_as_text(self):
        compiled = trine.compile(MLP)
        texts = {stage: compiled.ir(stage) for stage in ("imported", "optimized", "lowered", "kernels")}
        self.assertEqual(compiled.ir(), texts["lowered"])
        self.assertEqual(len(set(texts.values())), 4)
        self.assertIn("matmul", texts["imported"])
        self.assertNotIn("ternary_matmul", texts["imported"])
        self.assertIn("ternary_matmul", texts["optimized"])
        self.assertIn("kernel @", texts["kernels"])
        self.assertNotIn("kernel @", texts["lowered"])
        with self.assertRaisesRegex(trine.InvalidArgument, "no stage `nope`; there are `imported`"):
            compiled.ir("nope")  # type: ignore[arg-type]

    def test_layers_are_explained(self):
        told = trine.compile(MLP).explain()
        linear = [layer for layer in told.layers if layer.family == "linear"]
        self.assertEqual([layer.node for layer in linear], ["fc0", "fc1", "fc2"])
        for layer in linear:
            assert layer.became and layer.ternary and layer.weights
            self.assertEqual(layer.became.pass_name, "detect-ternary")
            self.assertEqual(layer.ternary.error, 0)
            self.assertEqual(layer.weights.type, f"f32[{layer.ternary.n},{layer.ternary.k}]")
        self.assertTrue(any(kernel.sums and kernel.sums.why for kernel in told.kernels))
        self.assertEqual(dataclasses.asdict(told)["layers"][0]["node"], "fc0")
        with self.assertRaises(dataclasses.FrozenInstanceError):
            linear[0].node = "x"  # type: ignore[misc]

    def test_options_reach_the_compiler(self):
        interpreted = trine.compile(MLP, backend="interpret").explain()
        self.assertEqual(interpreted.kernels, ())
        fixed = trine.compile(addition(), dims={"rows": 3}).ir("imported")
        self.assertIn("%a: f32[3,4]", fixed)
        plain = trine.compile(MLP, level=0).explain()
        self.assertFalse(any(layer.ternary for layer in plain.layers))
        chosen = trine.compile(MLP, passes="fold-constants").explain()
        self.assertFalse(any(layer.ternary for layer in chosen.layers))


if __name__ == "__main__":
    unittest.main()
