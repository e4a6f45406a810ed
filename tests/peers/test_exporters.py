"""What `exporters.py` says of a model is so: counts, figures that are wrong, tokens, and the words of what failed."""

import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "exporters"))

import exporters
from cells import Cell, cells
from checkpoints import CHECKPOINTS, CHECKPOINTS_REAL, LINEAR, TOKENS, config
from facts import Facts, Failed, Trine
from rows import Row, render
from rows import cells as words

MACHINE = {"cpu": "a CPU", "cores": 2, "flags": ["avx2"], "memory_gib": 24, "caches": {"L2": "2M"}}
IR = """\
const @qkv.trits: trit[256,128]
const @o.trits: trit[128,128]
graph @main(%x: f32[b,128]) -> (%y: f32[b,128]) {
  %n = rms_norm %x, @gain {eps=1e-5} : f32[b,128]
  %q = ternary_matmul %n, @qkv.trits, @qkv.scale {group=128, int8=true} : f32[b,256]
  %r = rotary %q, %c, %s {interleaved=false} : f32[b,256]
  %a, %k, %v = cached_attention %r, %r, %r, _, %p, %p, %l {causal=true} : f32[b,128]
  %b = attention %r, %r, %r, _ {causal=true} : f32[b,128]
  %y = ternary_matmul %b, @o.trits, @o.scale {group=128, int8=false} : f32[b,128]
}
"""
STEPS = [{"kernel": "rms_norm_128", "place": "a norm"}, {"kernel": "pow (interpreted)", "place": "a power"}]
BENCH = {"steps": {"compiled": 6, "interpreted": 1}, "held_states": 2, "profiles": [{"run": "prompt", "steps": STEPS}]}
CELL = Cell("torch", "llama", "f32", "sdpa")


class Commands(unittest.TestCase):
    def trine(self, script: str) -> Trine:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "trine"
        path.write_text(f"#!{sys.executable}\nimport sys\nverb = sys.argv[1]\n{script}\n")
        path.chmod(0o755)
        return Trine(path, Path(folder.name) / "model.onnx")

    def test_parts_are_counted_as_a_checkpoint_has_them(self):
        script = f"print({IR!r}, file=sys.stderr) if verb == 'opt' else print({json.dumps(BENCH)!r})"
        facts = self.trine(script).facts({(256, 128): 3})
        self.assertEqual(facts, Facts(4, 3, 1, 1, 2, 1, 6, 1, ["a power"]))

    def test_failures_are_the_words_of_the_command_without_its_folder(self):
        trine = self.trine("sys.exit(f'error: {sys.argv[2]} is wrong')")
        with self.assertRaisesRegex(Failed, "^`trine opt` ended with 1: error: model.onnx is wrong$"):
            trine.facts({})

    def test_an_exporter_fails_in_the_last_error_of_its_traceback(self):
        script = "import sys; print('noise\\nValueError: no (such) thing\\nhint', file=sys.stderr); sys.exit(1)"
        self.assertEqual(exporters.ran([sys.executable, "-c", script]), "ValueError: no (such) thing")
        self.assertEqual(exporters.ran([sys.executable, "-c", "print(1)"]), "")


class Rows(unittest.TestCase):
    def row(self, facts: Facts, **known) -> Row:
        row = Row(CELL.exporter, CELL.checkpoint, CELL.variant, CELL.dtype, imports=True, facts=facts, **known)
        row.count(CELL)
        return row

    def test_what_is_missing_is_a_failure_and_printed_bold(self):
        right = Facts(14, 0, 5, 4, 2, 2, 30, 0)
        self.assertEqual(self.row(right).failures, [])
        self.assertTrue(self.row(right).green)
        wrong = self.row(Facts(13, 0, 5, 4, 2, 2, 30, 1))
        self.assertEqual(wrong.failures, ["ternary: 13, not 14", "interpreted: 1, not 0"])
        self.assertEqual(wrong.families, {"linear"})
        self.assertEqual(words(wrong)[4], "**13/14**")
        self.assertEqual(words(wrong)[10], "**1**")

    def test_tokens_count_until_the_first_that_is_another(self):
        row = self.row(Facts(), tokens=[[1, 2, 9], [4, 5, 6]], wanted=[[1, 2, 3], [4, 5, 6]], reference="torch")
        self.assertEqual(words(row)[-1], "**5/6**")

    def test_tokens_of_halves_count_as_far_as_they_lead(self):
        tokens = {"f32": [[1, 2, 3, 4]], "bf16": [[1, 2, 3, 9]]}
        leads = {"f32": [[0.5, 0.3, 0.1, 0.2]], "bf16": [[0.4, 0.4, 0.1, 0.9]]}
        expected = {"tokens": tokens, "leads": leads}
        self.assertEqual(exporters.decided(expected, "f32"), [[1, 2, 3, 4]])
        self.assertEqual(exporters.decided(expected, "bf16"), [[1, 2]])

    def test_what_no_exporter_makes_is_told_and_does_not_fail(self):
        row = Row("genai", "bitnet-packed", "", "f32", unexported="NotImplementedError: no")
        self.assertTrue(row.green)
        self.assertIn("- genai bitnet-packed f32: NotImplementedError: no", render([row], MACHINE, {"trine": "1"}))


class Cells(unittest.TestCase):
    def test_names_are_of_one_cell_each(self):
        for real in (False, True):
            names = [cell.name for cell in cells(real)]
            self.assertEqual(len(names), len(set(names)))

    def test_checkpoints_are_tiny_or_real_and_have_heads_in_groups(self):
        for name, checkpoint in (CHECKPOINTS | CHECKPOINTS_REAL).items():
            said = config(checkpoint)
            self.assertEqual(said["num_attention_heads"] % said["num_key_value_heads"], 0, name)
            self.assertEqual(said["hidden_size"] % 128 + said["intermediate_size"] % 128, 0, name)
            self.assertEqual(checkpoint.ternary - checkpoint.head, said["num_hidden_layers"] * len(LINEAR), name)
        self.assertGreater(TOKENS, 1)


if __name__ == "__main__":
    unittest.main()
