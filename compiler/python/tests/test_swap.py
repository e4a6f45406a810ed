"""A program that was written for onnxruntime runs when its import is changed, and nothing else."""

import subprocess
import sys
import unittest
from pathlib import Path

PROGRAM = Path(__file__).with_name("onnxruntime_program.py")
IMPORT = "import onnxruntime as ort\n"


class Swapped(unittest.TestCase):
    def test_one_line_is_changed(self):
        program = PROGRAM.read_text()
        self.assertEqual(program.count(IMPORT), 1)
        theirs = self.said(program)
        ours = self.said(program.replace(IMPORT, "import trine as ort\n"))
        self.assertEqual(ours, theirs)
        self.assertIn("accuracy", ours)

    @staticmethod
    def said(program: str) -> str:
        command = [sys.executable, "-c", program, str(PROGRAM.parents[3] / "tests" / "models" / "digits")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    unittest.main()
