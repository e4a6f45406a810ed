"""Whole language models: tokens a second of decoding, and of reading a prompt that is there at once.

SmolLM2-135M twice: as it is, and with its weights rounded, by each engine in its own way, with a head of 8 bits for all
but llama.cpp, which chooses itself. And a decoder of BitNet-2B-4T's shapes with random ternary weights: onnxruntime and
Trine run one file of MatMulNBits, llama.cpp the same weights. Decoding follows the prompt.
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import llama
import quoted
import rounded
import smollm2_gguf
from cache import HERE as PYTHON
from cache import STAMP, build_once, digest, progress, target_dir
from contest import Contest, Engine
from process import PEER, call, report
from trine import Trine

HERE = Path(__file__).parent
UNITS = {"decode": "tokens/s", "prompt": "tokens/s"}
SMOLLM2_PROMPT, LARGE_PROMPT = 128, 64
SMOLLM2_BLOCK = 64
LARGE = ["--hidden", 2560, "--ffn", 6912, "--heads", 20, "--kv-heads", 5]
LARGE_LAYERS, LARGE_BLOCK = 30, 128
# The vocabularies of Llama 2, with which it has 2.2 B parameters, and of BitNet-2B-4T, with which it has 2.4 B.
LARGE_VOCABULARIES = (32000, 128256)


def smollm2(trine: Trine, seconds: float, whole: bool) -> list[Contest]:
    folder = target_dir() / "models" / "smollm2"
    call([sys.executable, PYTHON / "smollm2.py", "--output", folder])
    model = folder / "model.onnx"

    def ort(spelling: str) -> Path:
        return _rewritten(model, f"smollm2-{spelling}", lambda name: _with_head(name, spelling), SMOLLM2_BLOCK)

    decoders = Decoders(trine, SMOLLM2_PROMPT, seconds, whole)
    source = smollm2_gguf.fetch()
    gguf = {kind: llama.quantized(source, kind) for kind in ("F32", "Q4_0", "TQ2_0", "TQ1_0")}
    exact = [
        decoders.trine("Trine f32", model),
        decoders.onnxruntime("onnxruntime f32", model),
        decoders.llama("llama.cpp F32", gguf["F32"]),
    ]
    names = {"int8": "dynamic int8", "nbits4": "MatMulNBits 4 bits", "nbits2": "MatMulNBits 2 bits"}
    lossy = [
        decoders.trine("Trine --ternarize exact", model, "--ternarize", "exact"),
        *(decoders.onnxruntime(f"onnxruntime {name}", ort(spelling)) for spelling, name in names.items()),
        *(decoders.llama(f"llama.cpp {kind}", gguf[kind]) for kind in ("Q4_0", "TQ2_0", "TQ1_0")),
    ]
    return [
        Contest("SmolLM2-135M, f32", UNITS, exact),
        Contest("SmolLM2-135M, rounded", UNITS, lossy),
    ]


def large(trine: Trine, seconds: float, whole: bool) -> list[Contest]:
    return [_large(trine, seconds, whole, vocabulary) for vocabulary in LARGE_VOCABULARIES]


def _large(trine: Trine, seconds: float, whole: bool, vocabulary: int) -> Contest:
    layers = LARGE_LAYERS if whole else 2
    options = [*LARGE, "--vocab", vocabulary, "--layers", layers]
    folder = target_dir() / "peers" / f"bitnet-{layers}-layers-{vocabulary}"
    spelling = ["--linears", "nbits2", "--block", LARGE_BLOCK, "--accuracy-level", 4]
    progress(f"writing a decoder of BitNet-2B-4T's shapes, {layers} layers, {vocabulary:,} tokens")
    call([sys.executable, PYTHON / "generate_decoder.py", "--output", folder, *options, *spelling])
    model = folder / "model.onnx"
    head = _rewritten(model, f"{folder.name}-head", lambda name: _only_head(name, "nbits8"), LARGE_BLOCK)
    gguf = folder.with_name(f"{folder.name}-TQ2_0")
    call([sys.executable, HERE / "bitnet_gguf.py", "--output", gguf, "--type", "TQ2_0", *options])
    decoders = Decoders(trine, LARGE_PROMPT, seconds, whole)
    engines = [
        decoders.trine("Trine, int8 head", model, "--head", "int8"),
        decoders.trine("Trine, f32 head", model),
        decoders.onnxruntime("onnxruntime MatMulNBits 2 bits, 8-bit head", head),
        decoders.onnxruntime("onnxruntime MatMulNBits 2 bits, f32 head", model),
        decoders.llama("llama.cpp TQ2_0, Q6_K head", gguf / "model.gguf"),
    ]
    title = f"BitNet-2B-4T's shapes, {layers} layers, {vocabulary:,} tokens"
    known = quoted.LARGE if whole and vocabulary == LARGE_VOCABULARIES[0] else {}
    return Contest(title, UNITS, engines, known)


class Decoders:
    """The engines for one prompt length and patience."""

    def __init__(self, trine: Trine, prompt: int, seconds: float, whole: bool):
        self._trine, self._prompt, self._seconds = trine, prompt, seconds
        self._runs, self._steps = (5, 48) if whole else (2, 8)

    def trine(self, name: str, source: Path, *options: str, tokens: str = "seq") -> Engine:
        """`tokens` is what the model calls the number of tokens that it reads."""
        model = self._trine.optimized(source, "-".join(["trine", *(o.strip("-") for o in options)]), *options)

        def measure(threads: int) -> dict[str, float]:
            return _rates(self._trine.bench(model, threads, self._seconds, f"{tokens}={self._prompt}"))

        return Engine(name, measure)

    def onnxruntime(self, name: str, model: Path) -> Engine:
        def measure(threads: int) -> dict[str, float]:
            command = [sys.executable, PYTHON / "ort_bench.py", "--model", model, "--threads", threads]
            settings = ["--prompt", self._prompt, "--runs", self._runs, "--steps", self._steps]
            (result,) = report([*command, *settings], PEER)["results"]
            return _rates(result)

        return Engine(name, measure)

    def llama(self, name: str, model: Path) -> Engine:
        def measure(threads: int) -> dict[str, float]:
            # Read into memory, not mapped: huge pages, and layouts for this CPU.
            common = [llama.folder() / "llama-bench", "-m", model, "-t", threads, "-lm", "none", "-o", "json"]
            tests = {
                "decode": ["-p", 0, "-n", self._steps, "-d", self._prompt, "-r", 2],
                "prompt": ["-p", self._prompt, "-n", 0, "-r", self._runs],
            }
            results = {case: report([*common, *test], PEER) for case, test in tests.items()}
            return {case: statistics.median(result[0]["samples_ts"]) for case, result in results.items()}

        return Engine(name, measure)


def _rates(result: dict) -> dict[str, float]:
    return {case: result[f"{case}_tokens_per_s"] for case in UNITS}


def _with_head(name: str, spelling: str) -> str:
    """A head keeps 8 bits whatever the layers have, as Trine's does."""
    return "nbits8" if _only_head(name, spelling) and spelling != "int8" else spelling


def _only_head(name: str, spelling: str) -> str | None:
    return spelling if name.startswith("embed_tokens") else None


def _rewritten(source: Path, name: str, spelling_of: Callable[[str], str | None], block: int) -> Path:
    folder = target_dir() / "peers" / name

    def build(made: Path) -> None:
        progress(f"rounding {source.parent.name} for onnxruntime: {name}")
        rounded.rewrite(source, made / "model.onnx", spelling_of, block)

    build_once(folder, digest(source.with_name(STAMP), Path(__file__), Path(rounded.__file__), name), build)
    return folder / "model.onnx"
