"""What a run costs: no copy of what goes in, no lock, and no memory that stays."""

import gc
import threading
import time
import unittest
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from support import LM, MLP, images, model, same_bits

import trine


def status(field: str) -> int:
    """A line of the process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


class Memory(unittest.TestCase):
    def test_an_array_is_read_where_it_lies(self):
        """Sums over 256 MiB of input: the peak of memory does not grow by a fraction of it."""
        float_ = TensorProto.FLOAT
        session = trine.InferenceSession(
            model(
                [helper.make_node("ReduceSum", ["x", "axes"], ["y"])],
                [("x", float_, ["n", 64])],
                [("y", float_, ["n", 1])],
                [numpy_helper.from_array(np.array([1]), "axes")],
            ),
            threads=1,
        )
        x = np.ones((1 << 20, 64), np.float32)
        columns = np.asfortranarray(x)

        def grown(array: np.ndarray) -> int:
            gc.collect()
            reset_peak()
            before = status("VmRSS")
            (y,) = session.run(None, {"x": array})
            self.assertTrue((y == 64).all())
            return status("VmHWM") - before

        grown(x)
        self.assertLess(grown(x), x.nbytes // 8)
        # The same measure sees that an array of columns is copied.
        self.assertGreater(grown(columns), x.nbytes // 2)

    def test_a_thousand_runs_leave_nothing(self):
        session = trine.InferenceSession(MLP, threads=1)
        x = images(64)

        def runs(count: int) -> None:
            for _ in range(count):
                session.run(None, {"x": x})
                session.run(None, {"x": np.asfortranarray(x)})
                try:
                    session.run(None, {"x": x[0]})
                except trine.InvalidInput:
                    pass

        runs(200)
        gc.collect()
        before = status("VmRSS")
        runs(1000)
        gc.collect()
        grown = status("VmRSS") - before
        # If outputs stayed, that were 5 MB by then, and copies of inputs 16.
        self.assertLess(grown, 2 << 20, f"{grown} bytes more after a thousand runs")

    def test_sessions_go_when_they_are_dropped(self):
        def cycle(count: int) -> None:
            for _ in range(count):
                trine.InferenceSession(MLP, threads=2).run(None, {"x": images(1)})

        cycle(5)
        threads, before = threading_count(), status("VmRSS")
        cycle(20)
        gc.collect()
        self.assertEqual(threading_count(), threads)
        self.assertLess(status("VmRSS") - before, 8 << 20)


def threading_count() -> int:
    """Threads of the process, Python's or not."""
    return len(list(Path("/proc/self/task").iterdir()))


class Threads(unittest.TestCase):
    def test_python_goes_on_while_a_session_runs(self):
        """A thread that counts is not kept waiting for the time of a run."""
        rows = 1 << 14
        float_ = TensorProto.FLOAT
        rng = np.random.default_rng(0)
        weights = numpy_helper.from_array(rng.standard_normal((1024, 1024), np.float32), "w")
        session = trine.InferenceSession(
            model(
                [helper.make_node("MatMul", ["x", "w"], ["y"])],
                [("x", float_, ["n", 1024])],
                [("y", float_, ["n", 1024])],
                [weights],
            ),
            threads=1,
        )
        x = np.ones((rows, 1024), np.float32)
        took = [0.0]
        done = threading.Event()

        def run() -> None:
            start = time.perf_counter()
            session.run(None, {"x": x})
            took[0] = time.perf_counter() - start
            done.set()

        thread = threading.Thread(target=run)
        count, longest, last = 0, 0.0, time.perf_counter()
        thread.start()
        while not done.is_set():
            now = time.perf_counter()
            count, longest, last = count + 1, max(longest, now - last), now
        thread.join()
        # Held for the whole run, the lock would leave a gap as long as it.
        self.assertGreater(count, 100)
        self.assertLess(longest, took[0] * 0.7, f"{longest} s without a step, of {took[0]} s")

    def test_sessions_run_at_once_and_a_session_for_one_at_a_time(self):
        x = [np.ascontiguousarray(images(8) * scale) for scale in (0.25, 0.5, 1, 2)]
        compiled = trine.compile(MLP)
        shared = compiled.session(threads=1)
        want = [shared.run(None, {"x": each})[0] for each in x]
        wrong: list[str] = []

        def work(number: int) -> None:
            own = compiled.session(threads=1)
            for i in range(200):
                which = (number + i) % len(x)
                for session in (own, shared):
                    if not same_bits(session.run(None, {"x": x[which]})[0], want[which]):
                        wrong.append(f"thread {number}, run {i}")

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_a_model_compiles_while_python_goes_on(self):
        done = threading.Event()

        def compile_() -> None:
            trine.InferenceSession(LM)
            done.set()

        thread = threading.Thread(target=compile_)
        thread.start()
        count = 0
        while not done.is_set():
            count += 1
            time.sleep(0)
        thread.join()
        self.assertGreater(count, 10)


if __name__ == "__main__":
    unittest.main()
