"""What the comparison names is there, and what it makes of figures.

PYTHONPATH=tests/python python3 tests/python/env.py -m unittest discover tests/comparison
"""

import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

import methods
import parts
import seeds
import smollm2_table
import training
from cache import target_dir
from features import crossover, gains
from fit import whole
from lab import Lab
from table import Claim, chain, spread, table
from text import Texts


class Seeds(unittest.TestCase):
    def test_what_is_named_as_a_test_is_one(self):
        self.assertEqual(seeds.missing(), [])
        self.assertFalse(seeds.exists("tests/rows.rs::weights_by_threshold"))
        self.assertFalse(seeds.exists("tests/nowhere.rs"))

    def test_there_are_ten_and_all_have_tests(self):
        self.assertEqual(len(seeds.SEEDS), 10)
        self.assertTrue(all(seed.tests for seed in seeds.SEEDS))

    def test_a_part_that_was_not_run_is_no_error(self):
        lines = seeds.markdown({}).splitlines()
        self.assertEqual(len(lines), 12)
        self.assertEqual(sum("| not run |" in line for line in lines), 10)


class Held(unittest.TestCase):
    def test_nothing_is_fitted_to_texts_that_are_held_out(self):
        with tempfile.TemporaryDirectory() as folder:
            texts = Texts(Path(folder), target_dir() / "train")
            held_out = set(texts.held_out.read_text("utf-8").split("\n\n"))
            self.assertGreaterEqual(len(held_out), 0.9 * texts.count())
            fitted = set(texts.fitted(0).read_text("utf-8").split("\n\n"))
            self.assertGreaterEqual(len(fitted), 900)
            self.assertLess(len(fitted & held_out), 10, "texts that are there more than once")


class Parts(unittest.TestCase):
    def test_each_is_a_part(self):
        for part in parts.PARTS.values():
            self.assertEqual(Path(part.module.__file__).parent, Path(__file__).parent)
            self.assertTrue(all(hasattr(part.module, name) for name in ("measure", "markdown", "claims")))


class Methods(unittest.TestCase):
    def test_a_method_without_a_recipe_is_refused(self):
        used = {step for recipe in methods.recipes() for step in methods.steps(recipe)}
        listed = [f"{name}   tier 1, weights      what it does" for name in sorted(used)]
        methods.check("\n".join([*listed, "trained   tier 3, training     what it does"]))
        with self.assertRaisesRegex(SystemExit, "newest"):
            methods.check("\n".join([*listed, "newest   tier 2, calibration  what it does"]))

    def test_recipes_get_small_scales(self):
        self.assertEqual(whole("gptq+cd"), "gptq+cd{scales=16}")
        self.assertEqual(whole("gptq{group=64}"), "gptq{scales=16,group=64}")


class Tables(unittest.TestCase):
    def test_figures_and_sentences(self):
        self.assertEqual(table(["a", "b"], [["x", "1"]]), "| a | b |\n| --- | ---: |\n| x | 1 |")
        self.assertEqual(spread([1.0, 1.2, 1.1]), "1.100 ± 0.100")
        self.assertEqual(spread([1.0, 1.0]), "1.000")
        self.assertEqual(chain([2.0, 1.0]), "2.000 → 1.000")
        self.assertEqual(Claim("Less is more", False, "2 and 1").line(), "- Less is more: **no** (2 and 1).")

    def test_the_table_of_smollm2_is_read_back(self):
        printed = "| recipe | bits | perplexity |\n|---|---|---|\n| f32 | 32 | 14.8 |\n| exact, 1 plane | 1.72 | 99 |\n"
        self.assertEqual(smollm2_table.parsed(printed), {"f32": ["32", "14.8"], "exact, 1 plane": ["1.72", "99"]})


class Trainings(unittest.TestCase):
    def test_what_trainers_print_is_read(self):
        """Their own test, `examples/train/test_train.py`, has the same lines."""

        def printed(script: str, *arguments) -> str:
            if script == "train_rnn.py":
                return "gru: test accuracy 0.9844, loss 0.05218 nats an image, 9 bytes\n"
            if "--table" in arguments:
                return "x\n| with extra norms | 3.758 | 3.779 |\n| without | 3.718 | 3.859 |\n"
            return f"12 texts\nheld-out loss {4 - len(arguments) / 100:.5f} nats a token after 3 steps\n"

        lab = SimpleNamespace(folder=Path("made"), steps=3, trained=printed)
        found = training.measure(lab, SimpleNamespace(downloads=Path("downloads")))
        self.assertEqual(found["norms"]["without"], [3.718, 3.859])
        self.assertEqual(found["hitnet"]["f32, f32, gru"], {"accuracy": 0.9844, "loss": 0.05218})
        self.assertEqual(len(found["losses"]), len(training.FLAGS))
        self.assertIn(f"| `--tequila` | {found['losses']['--tequila']:.3f} |", training.markdown(found))
        held = {claim.text: claim.holds for claim in training.claims(found)}
        self.assertFalse(held["Extra norms help where λ is 1 throughout"])
        self.assertTrue(held["Extra norms help where λ goes from 0 to 1"])


class Figures(unittest.TestCase):
    def test_what_was_measured_is_kept_for_the_command_that_it_was_measured_of(self):
        with tempfile.TemporaryDirectory() as folder:
            command = Path(folder) / "trine"
            command.write_text("one")
            calls = []

            def asked(lab: Lab, key: str) -> int:
                return lab.kept("what", [key], lambda: calls.append(key) or len(calls))

            self.assertEqual([asked(Lab(command, Path(folder), 1), key) for key in "aab"], [1, 1, 2])
            command.write_text("two")
            self.assertEqual(asked(Lab(command, Path(folder), 1), "a"), 3)

    def test_crossovers_are_those_of_the_analysis(self):
        self.assertFalse(gains("ternary", 0.65))
        self.assertTrue(gains("ternary", 0.68))
        self.assertAlmostEqual(crossover("ternary"), 0.6635, delta=1e-4)
        self.assertAlmostEqual(crossover("binary"), 0.7648, delta=1e-4)


if __name__ == "__main__":
    unittest.main()
