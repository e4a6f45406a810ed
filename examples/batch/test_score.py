"""Two workers score what one process does, to the bit, both work, and their weights are the same memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import score
import trine

WORKERS = 2
FILES, ROWS = 12, 50

SIZES = (256, 4096, 256, 16)
MODEL = """\
const @a: f32[256,4096]
const @b: f32[4096,256]
const @c: f32[256,16]

graph @main(%x: f32[rows,256]) -> (%y: f32[rows,16]) {
  %h = matmul %x, @a {trans_b=false} : f32[rows,4096]
  %r = relu %h : f32[rows,4096]
  %g = matmul %r, @b {trans_b=false} : f32[rows,256]
  %s = relu %g : f32[rows,256]
  %y = matmul %s, @c {trans_b=false} : f32[rows,16]
}
"""
WEIGHTS = sum(4 * a * b for a, b in zip(SIZES, SIZES[1:]))


class Watched(score.Scorer):
    """Also tells, beside each row, which process scored it and what the model is in its memory."""

    def __init__(self, model: str, inputs: dict[str, str], outputs: dict[str, str], threads: int) -> None:
        super().__init__(model, inputs, outputs, threads)
        self.model = Path(model)

    def __call__(self, batch: score.Batch) -> score.Batch:
        scored = super().__call__(batch)
        # No worker goes on before all have run the model.
        self.model.with_name(f"worker-{os.getpid()}").touch()
        end = time.monotonic() + 120
        while len(list(self.model.parent.glob("worker-*"))) < WORKERS:
            if time.monotonic() > end:
                raise TimeoutError("the other worker does not come")
            time.sleep(0.02)
        told = {"worker": os.getpid()} | mapped(self.model)
        return scored | {name: np.full(len(scored["y"]), value) for name, value in told.items()}


def mapped(path: Path) -> dict[str, int]:
    """What this process has mapped of a file, in KiB, by the names of Linux: `Rss`, `Pss`, `Shared_Clean` and so on."""
    found: dict[str, int] = {}
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            inside = words[-1] == str(path)
        elif inside and words[-1] == "kB":
            name = words[0].rstrip(":")
            found[name] = found.get(name, 0) + int(words[1])
    return found


def write_model(path: Path) -> None:
    """IR, and its weights as safetensors beside it."""
    draw = np.random.default_rng(5)
    header, data = {}, b""
    for name, a, b in zip("abc", SIZES, SIZES[1:]):
        weights = (draw.standard_normal((a, b)) / np.sqrt(a)).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": [a, b], "data_offsets": [len(data), len(data) + len(weights)]}
        data += weights
    text = json.dumps(header).encode()
    path.with_suffix(".safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    path.write_text(MODEL)


class Scored(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name).resolve()
        write_model(cls.folder / "model.ir")
        cls.model = cls.folder / "model.trine"
        compiled = [sys.executable, "-m", "trine", "compile", str(cls.folder / "model.ir"), "-o", str(cls.model)]
        subprocess.run(compiled, check=True, capture_output=True)
        cls.x = np.random.default_rng(6).standard_normal((FILES * ROWS, SIZES[0])).astype(np.float32)
        cls.y = trine.InferenceSession(cls.model).run(None, {"x": cls.x})[0]
        cls.dataset = cls.folder / "in.parquet"
        cls.dataset.mkdir()
        for i in range(FILES):
            ids = range(i * ROWS, (i + 1) * ROWS)
            table = pa.table({"id": list(ids), "pixels": list(cls.x[i * ROWS : (i + 1) * ROWS])})
            pq.write_table(table, cls.dataset / f"{i}.parquet")

    def check(self, table: pa.Table, column: str) -> None:
        """Each row is there once, with the bits that one process gives."""
        ids = table["id"].to_numpy()
        self.assertEqual(sorted(ids), list(range(FILES * ROWS)))
        y = np.array(table[column].to_pylist(), np.float32)
        self.assertEqual(y.tobytes(), self.y[ids].tobytes())

    def command(self, *arguments: object) -> subprocess.CompletedProcess:
        words = [sys.executable, score.__file__, *(str(argument) for argument in arguments)]
        return subprocess.run(words, capture_output=True, text=True, timeout=300)

    def test_the_command_scores_as_one_process_does(self) -> None:
        out = self.folder / "out.parquet"
        line = (self.model, self.dataset, out, "--input", "x=pixels", "--output", "y=scores", "--batch-size", 32)
        said = self.command(*line)
        self.assertEqual(said.returncode, 0, said.stderr)
        table = pq.read_table(out)
        self.assertEqual(table.column_names, ["id", "scores"])
        self.check(table, "scores")
        # What is there already is left as it is.
        again = self.command(*line)
        self.assertNotEqual(again.returncode, 0)
        self.assertEqual(pq.read_table(out).num_rows, FILES * ROWS)

    def test_columns_that_do_not_fit_are_named(self) -> None:
        wrong = [((), "has no column `x`"), (("--input", "z=pixels"), "with a NAME of x"), (("--output", "y"), "NAME of y")]
        for options, message in wrong:
            said = self.command(self.model, self.dataset, self.folder / "none", *options)
            self.assertEqual(said.returncode, 2, said.stderr)
            self.assertIn(message, said.stderr)

    def test_both_workers_work_on_the_same_memory(self) -> None:
        self.assertEqual(mapped(self.model), {}, "nothing but the workers has it mapped")
        ray.init("local", num_cpus=WORKERS + 2, include_dashboard=False)
        self.addCleanup(ray.shutdown)
        dataset = ray.data.read_parquet(str(self.dataset))
        how = {"workers": WORKERS, "batch_size": 4, "scorer": Watched}
        rows = score.score(dataset, str(self.model), {"x": "pixels"}, {"y": "y"}, **how).to_pandas()
        self.check(pa.table({"id": rows["id"], "y": [list(y) for y in rows["y"]]}), "y")
        workers = rows.groupby("worker")
        self.assertEqual(len(workers), WORKERS)
        self.assertNotIn(os.getpid(), workers.groups)
        for pid, seen in workers:
            # Pages that are not on the disk yet are dirty to Linux, though nobody wrote to them here.
            seen = seen.assign(Shared=seen["Shared_Clean"] + seen["Shared_Dirty"])
            # A worker may outlast the other, and then has alone what they shared.
            memory = seen.loc[seen["Shared"].idxmax()]
            sizes = ", ".join(f"{name} {memory[name]} KiB" for name in ("Rss", "Pss", "Shared", "Private_Dirty", "Anonymous"))
            told = f"worker {pid}, {len(seen)} rows: {sizes}"
            print(told)
            self.assertGreaterEqual(memory["Shared"] * 1024, WEIGHTS, told)
            self.assertLess(memory["Pss"], 0.6 * memory["Rss"], told)
            self.assertEqual((memory["Private_Dirty"], seen["Anonymous"].max()), (0, 0), told)


if __name__ == "__main__":
    unittest.main()
