"""Single linear layers whose weights come from memory: Trine, onnxruntime and ggml at the shapes of ternary models.

Trine and onnxruntime run the models of `layers.py`, ggml the same chain. A case's value is the time of one layer, the
mean over its chain; from batch 32 on as operations a second, two for each weight and row.
"""

import sys
from pathlib import Path

import quoted
from cache import target_dir
from contest import Contest, Engine
from layers import SPELLINGS, chain
from process import PEER, call, report
from trine import Trine

HERE = Path(__file__).parent
SHAPES = [(2560, 2560), (6912, 2560), (14336, 4096)]
BATCHES = [1, 32, 128]
TRINE = {"nbits2": "int8 activations", "nbits2-exact": "f32 activations"}
ONNXRUNTIME = {
    "nbits2": "MatMulNBits 2 bits",
    "nbits4": "MatMulNBits 4 bits",
    "int8": "dynamic int8",
    "f32": "f32",
}
GGML = ["TQ2_0", "TQ1_0", "Q4_0"]


def contests(trine: Trine, seconds: float, whole: bool) -> list[Contest]:
    return [contest(shape, trine, seconds) for shape in (SHAPES if whole else SHAPES[:1])]


def contest(shape: tuple[int, int], trine: Trine, seconds: float) -> Contest:
    settings = ["--batches", *BATCHES, "--seconds", seconds]
    models = {spelling: _model(shape, spelling) for spelling in {*TRINE, *ONNXRUNTIME}}
    optimized = {spelling: trine.optimized(models[spelling], "trine") for spelling in TRINE}

    def by_trine(threads: int, spelling: str) -> dict[str, float]:
        model = optimized[spelling]
        runs = {str(batch): trine.bench(model, threads, seconds, f"batch={batch}") for batch in BATCHES}
        return values(shape, SPELLINGS[spelling], runs)

    def by_onnxruntime(threads: int, spelling: str) -> dict[str, float]:
        command = [sys.executable, HERE / "ort_layers.py", "--model", models[spelling], "--threads", threads, *settings]
        return values(shape, SPELLINGS[spelling], report(command, PEER))

    def by_ggml(threads: int, kind: str) -> dict[str, float]:
        command = [sys.executable, HERE / "ggml.py", "--type", kind, "--shape", *shape, "--threads", threads, *settings]
        runs = report(command, PEER)
        return values(shape, runs["weight_bytes"], runs)

    engines = [
        *(Engine(f"Trine, {n}", lambda t, s=s: by_trine(t, s)) for s, n in TRINE.items()),
        *(Engine(f"onnxruntime {n}", lambda t, s=s: by_onnxruntime(t, s)) for s, n in ONNXRUNTIME.items()),
        *(Engine(f"llama.cpp {kind}", lambda t, k=kind: by_ggml(t, k)) for kind in GGML),
    ]
    units = {f"batch {batch}": "µs" if batch == 1 else "GOP/s" for batch in BATCHES}
    return Contest(f"layer {shape[0]}×{shape[1]}", units, engines, quoted.layer(shape))


def values(shape: tuple[int, int], weight_bytes: float, runs: dict) -> dict[str, float]:
    layers, weights = len(chain(*shape, weight_bytes)), shape[0] * shape[1]
    seconds = {batch: runs[str(batch)]["median_s"] / layers for batch in BATCHES}
    return {f"batch {b}": s * 1e6 if b == 1 else 2e-9 * weights * b / s for b, s in seconds.items()}


def _model(shape: tuple[int, int], spelling: str) -> Path:
    folder = target_dir() / "peers" / f"layers-{shape[0]}x{shape[1]}-{spelling}"
    call([sys.executable, HERE / "layers.py", "--shape", *shape, "--spelling", spelling, "--output", folder])
    return folder / "model.onnx"
