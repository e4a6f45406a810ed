"""One model at one size: Trine by its command, onnxruntime in this process, both on the same arrays.

Of quantized models the specification, as numpy evaluates it, is a third: engines may round elsewhere, and one that
means something else is found.
"""

import json
import math
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort

from specification import Specification
from timing import measured
from feeds import Feed
from zoo import Model


class Failed(Exception):
    """A command that ended with an error, or not in time; in its own words."""


# How far outputs of floats may be from onnxruntime's, and those of quantized models from the specification beyond what
# rounding alone does.
TOLERANCE = 1e-3

# How often the last bits of a specification are drawn.
DRAWS = 3


@dataclass
class Witnesses:
    """How far from the specification outputs of a quantized model are."""

    ours: float
    theirs: float
    # onnxruntime with no optimization.
    plain: float
    # The specification with the last bits of floats changed at random.
    rounding: float
    # Operators of nodes, by how many made something else of what they were given than is specified.
    our_strays: dict[str, int]
    their_strays: dict[str, int]


@dataclass
class Result:
    model: str
    size: str
    imports: bool = True
    # Why nothing that follows is known.
    failure: str | None = None
    # How far our outputs are from onnxruntime's.
    error: float = math.inf
    compiled: int = 0
    interpreted: int = 0
    # Seconds a run, by turns; none where they were not to be measured, or a turn takes too long.
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    # Of quantized models alone.
    witnesses: Witnesses | None = None

    @property
    def right(self) -> bool:
        if self.failure or self.witnesses is None:
            return not self.failure and self.error <= TOLERANCE
        near = self.witnesses.ours <= max(TOLERANCE, 2 * self.witnesses.rounding)
        return near and not self.witnesses.our_strays


class Engines:
    """Runs feeds in turn; `carried` says which output is which input of the next run."""

    def __init__(self, command: Path, model: Path, carried: dict[str, str], threads: int, limit: float):
        self._command, self._model, self._carried = command, model, carried
        self._threads, self._limit = threads, limit

    def trine(self, feeds: list[Feed], *options: str) -> tuple[list[Feed], dict]:
        """The outputs of each run, and what the command reported of the last."""
        with tempfile.TemporaryDirectory() as folder:
            inputs, outputs = Path(folder) / "in.npz", Path(folder) / "out.npz"
            reports = []

            def run(feed: Feed) -> Feed:
                np.savez(inputs, **feed)
                reports.append(self._call("run", "-i", inputs, "-o", outputs, *options))
                with np.load(outputs) as arrays:
                    return dict(arrays)

            return self._chain(feeds, run), reports[-1]

    def trine_seconds(self, feed: Feed, seconds: float) -> float:
        with tempfile.TemporaryDirectory() as folder:
            inputs = Path(folder) / "in.npz"
            np.savez(inputs, **feed)
            return self._call("bench", "-i", inputs, "--seconds", seconds)["median_s"]

    def imports(self) -> bool:
        try:
            self._call("inspect")
        except Failed:
            return False
        return True

    def specification(self, feeds: list[Feed], rounding: np.random.Generator | None = None) -> list[Feed]:
        return self._chain(feeds, Specification(self._model, rounding).run)

    def strays(self, feed: Feed) -> list[dict[str, int]]:
        """Of Trine and of onnxruntime, node by node."""
        witness = Specification(self._model)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "exposed.onnx"
            witness.expose(feed, path)
            exposed = Engines(self._command, path, {}, self._threads, self._limit)
            (ours,), _ = exposed.trine([feed])
            (theirs,) = exposed.onnxruntime([feed], optimized=False)
            return [dict(witness.strays(feed, found)) for found in (ours, theirs)]

    def onnxruntime(self, feeds: list[Feed], optimized: bool = True) -> list[Feed]:
        session = self.session(optimized)
        names = [output.name for output in session.get_outputs()]
        return self._chain(feeds, lambda feed: dict(zip(names, session.run(None, feed), strict=True)))

    def session(self, optimized: bool = True) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.log_severity_level = 4
        if not optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return ort.InferenceSession(str(self._model), options, providers=["CPUExecutionProvider"])

    def _chain(self, feeds: list[Feed], run) -> list[Feed]:
        found: list[Feed] = []
        for feed in feeds:
            last = {into: found[-1][output] for output, into in self._carried.items()} if found else {}
            found.append(run(feed | last))
        return found

    def _call(self, verb: str, *options: object) -> dict:
        threads = [] if verb == "inspect" else ["--threads", self._threads]
        command = [self._command, verb, self._model, *options, *threads, "--json"]
        try:
            words = [str(part) for part in command]
            result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=self._limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"`trine {verb}` takes more than {self._limit:.0f} s") from None
        if result.returncode:
            # Where the cache is on this machine is of no interest to a table.
            raise Failed(_words(result).replace(str(self._model), self._model.name))
        return json.loads(result.stdout)


def _words(result: subprocess.CompletedProcess) -> str:
    """What a command said last; a signal has a number alone."""
    said = [line.strip() for line in result.stderr.strip().splitlines() if line.strip()]
    found = " ".join(said) or "it said nothing"
    return found if result.returncode > 0 else f"ended by signal {-result.returncode}: {found}"


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest distance of two elements, by the largest magnitude of theirs; what is not comparable is infinite."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return math.inf
    if theirs.dtype.kind not in "fc":
        return 0.0 if np.array_equal(ours, theirs) else math.inf
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if same.all():
        return 0.0
    if not np.isfinite(ours[~same]).all() or not np.isfinite(theirs[~same]).all():
        return math.inf
    scale = np.abs(theirs[np.isfinite(theirs)]).max()
    return float(np.abs(ours - theirs)[~same].max() / scale) if scale else math.inf


def differences(ours: list[Feed], theirs: list[Feed]) -> float:
    """The largest of all outputs of all runs; an output that one of them lacks is infinite."""
    if any(a.keys() != b.keys() for a, b in zip(ours, theirs, strict=True)):
        return math.inf
    return max(difference(a[name], b[name]) for a, b in zip(ours, theirs, strict=True) for name in b)


def tried(engines: Engines, model: Model, size: str, feeds: list[Feed], rounds: int, seconds: float) -> Result:
    result = Result(model.name, size)
    expected = engines.onnxruntime(feeds)
    try:
        found, report = engines.trine(feeds)
    except Failed as failure:
        result.failure, result.imports = str(failure), engines.imports()
        return result
    result.error = differences(found, expected)
    result.compiled, result.interpreted = report["steps"]["compiled"], report["steps"]["interpreted"]
    if model.quantized:
        result.witnesses = _witnesses(engines, feeds, found, expected)
    session = engines.session()
    try:
        for _ in range(rounds):
            result.ours.append(engines.trine_seconds(feeds[0], seconds))
            result.theirs.append(measured(lambda: session.run(None, feeds[0]), seconds)["median_s"])
    except Failed as failure:
        result.failure = f"cannot be measured: {failure}"
    return result


def _witnesses(engines: Engines, feeds: list[Feed], ours: list[Feed], theirs: list[Feed]) -> Witnesses:
    said = engines.specification(feeds)
    moved = [engines.specification(feeds, np.random.default_rng(seed)) for seed in range(DRAWS)]
    plain = engines.onnxruntime(feeds, optimized=False)
    near, far, off = (differences(outputs, said) for outputs in (ours, theirs, plain))
    rounding = max(differences(outputs, said) for outputs in moved)
    return Witnesses(near, far, off, rounding, *engines.strays(feeds[0]))
