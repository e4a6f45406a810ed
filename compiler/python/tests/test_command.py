"""``python -m trine`` and the program ``trine`` that is installed: the command, with what it exits with."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import numpy as np
from support import LM, MLP, images, same_bits

import trine

MODULE = [sys.executable, "-m", "trine"]
SCRIPT = [str(Path(sys.executable).with_name("trine"))]


def command(*arguments: object, start: list[str] = MODULE, **options) -> subprocess.CompletedProcess:
    words = [*start, *(str(argument) for argument in arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, **options)


class Command(unittest.TestCase):
    def test_both_say_which_trine_it_is(self):
        for start in (MODULE, SCRIPT):
            said = command("--version", start=start)
            self.assertEqual((said.returncode, said.stdout, said.stderr), (0, f"trine {trine.__version__}\n", ""))
            self.assertIn("trine <COMMAND>", command("--help", start=start).stdout)

    def test_a_model_runs_as_in_a_session(self):
        x = images()
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder, "in.npz"), x=x)
            said = command("run", MLP, "-i", "in.npz", "-o", "out.npz", cwd=folder)
            self.assertEqual(said.returncode, 0, said.stderr)
            session = trine.InferenceSession(MLP)
            (name,) = (node.name for node in session.get_outputs())
            with np.load(Path(folder, "out.npz")) as arrays:
                self.assertTrue(same_bits(arrays[name], session.run(None, {"x": x})[0]))

    def test_it_exits_as_the_command_does(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "noise.onnx").write_bytes(b"\xff" * 99)
            lines = [("inspect", MLP), ("inspect", "noise.onnx"), ("no-such-command",), ("run", MLP, "--no-such-option")]
            for start in (MODULE, SCRIPT):
                codes = [command(*line, start=start, cwd=folder).returncode for line in lines]
                self.assertEqual(codes, [0, 1, 2, 2])
        self.assertEqual(command().returncode, 2)

    def test_names_that_are_not_text_pass(self):
        with tempfile.TemporaryDirectory() as folder:
            name = os.fsdecode(b"model-\xff.onnx")
            Path(folder, name).write_bytes(MLP.read_bytes())
            self.assertEqual(command("inspect", name, cwd=folder).returncode, 0)

    def test_all_is_written_in_order_whether_it_is_read_or_not(self):
        program = "import sys; sys.argv = ['trine', 'list', 'ops']\nprint('first', end=' ')\n"
        program += "from trine.__main__ import main\ncode = main()\nprint('last')\nsys.exit(code)"
        said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
        self.assertEqual(said, f"first {command('list', 'ops').stdout}last\n")
        whole = subprocess.Popen([*MODULE, "opt", str(LM)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with whole:
            whole.stdout.close()
            self.assertEqual((whole.stderr.read(), whole.wait()), (b"", 0))

    def test_an_interrupt_ends_it_at_once(self):
        # It writes more than a pipe holds, and nobody reads on.
        words = [*MODULE, "compile", str(LM), "--emit", "clif"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as running:
            self.assertTrue(running.stdout.read(1))
            time.sleep(0.5)
            self.assertIsNone(running.poll())
            running.send_signal(signal.SIGINT)
            self.assertEqual(running.wait(30), -signal.SIGINT)


if __name__ == "__main__":
    unittest.main()
