"""Models as exporters write them, beside the same in Trine's own best spelling, onnxruntime and llama.cpp.

Two layers of BitNet-2B-4T's shapes with random ternary weights, whose inputs are rounded to int8: from the master
weights and from packed ones, as `exporters.py --real` makes them, and as `generate_decoder.py` writes them;
onnxruntime runs MatMulNBits, llama.cpp TQ2_0. And a whole model of the shapes of Ternary Bonsai 1.7B, 2 bits and f16 as
onnxruntime-genai writes it; made wide, it computes in f32 as Trine's own spellings do; llama.cpp always rounds what its
products read to int8, which Trine does on request. llama.cpp has no norms of heads there. Decoding follows a prompt of one
token, of 128 and of 1,024; onnxruntime, which takes five seconds a token of this model, reads but one.
"""

import sys
from pathlib import Path

from cache import HERE as PYTHON
from cache import build_once, digest, progress, target_dir
from contest import Contest
from decoders import UNITS, Decoders
from process import call
from trine import Trine

HERE = Path(__file__).parent
SPELLINGS_FOLDER = HERE.parent / "models" / "spellings"
SHAPES = ["--hidden", 2560, "--ffn", 6912, "--heads", 20, "--kv-heads", 5, "--layers", 2, "--vocab", 2048]
# BitNet's own rounding, a scale a row; and what onnxruntime has for it, a scale a block.
SPELLINGS = {
    "rows": ["--quantize-activations"],
    "nbits2": ["--linears", "nbits2", "--block", 128, "--accuracy-level", 4],
}
PROMPTS = [1, 128, 1024]


BONSAI_LAYERS = 28
INT8 = ["--activations", "i8"]
BONSAI = ["--hidden", 2048, "--ffn", 6144, "--heads", 16, "--kv-heads", 8, "--vocab", 151936]


def bitnet(trine: Trine, seconds: float, whole: bool) -> list[Contest]:
    models = target_dir() / "peers" / "exporters" / "models"
    found = {weights: models / f"torch-sdpa-bitnet-2b4t-{weights}-f32" for weights in ("unpacked", "packed")}
    if missing := [folder for folder in found.values() if not (folder / "model.onnx").exists()]:
        sys.exit(f"there is no `{missing[0]}`: `python3 tests/peers/exporters.py --real` makes it")
    progress("writing two layers of BitNet-2B-4T's shapes")
    own = {name: target_dir() / "peers" / f"bitnet-2-layers-2048-{name}" for name in SPELLINGS}
    for name, options in SPELLINGS.items():
        call([sys.executable, PYTHON / "generate_decoder.py", "--output", own[name], *SHAPES, *options])
    gguf = _gguf("bitnet-2-layers-2048", SHAPES)

    def contest(prompt: int) -> Contest:
        decoders = Decoders(trine, prompt, seconds, whole)
        engines = [
            decoders.trine("Trine, own spelling", own["rows"] / "model.onnx"),
            *(
                decoders.trine(f"Trine, torch.export {name}", at / "model.onnx", tokens="sequence_length")
                for name, at in found.items()
            ),
            decoders.trine("Trine, MatMulNBits 2 bits", own["nbits2"] / "model.onnx"),
            decoders.onnxruntime("onnxruntime, MatMulNBits 2 bits", own["nbits2"] / "model.onnx"),
            decoders.llama("llama.cpp TQ2_0, Q6_K head", gguf),
        ]
        return Contest(f"BitNet-2B-4T's shapes, 2 layers, {prompt:,} tokens before", UNITS, engines)

    return [contest(prompt) for prompt in PROMPTS]


def bonsai(trine: Trine, seconds: float, whole: bool) -> list[Contest]:
    layers = BONSAI_LAYERS if whole else 2
    name = f"bonsai-{layers}-layers"
    folder = target_dir() / "peers" / name
    make = SPELLINGS_FOLDER / "make.py"

    def build(made: Path) -> None:
        progress(f"writing {layers} layers of Bonsai-1.7B's shapes")
        call([sys.executable, make, made / "model.onnx", layers])

    build_once(folder, digest(*sorted(make.parent.glob("*.py")), name), build)
    model, gguf = folder / "model.onnx", _gguf(name, [*BONSAI, "--layers", layers, "--no-sub-norms"])

    def contest(prompt: int) -> Contest:
        decoders = Decoders(trine, prompt, seconds, whole)
        engines = [
            decoders.trine("Trine, made wide", model, "--widen", tokens="sequence_length"),
            decoders.trine("Trine, as written", model, tokens="sequence_length"),
            decoders.trine("Trine, int8 activations", model, "--widen", *INT8, tokens="sequence_length"),
            *([decoders.onnxruntime("onnxruntime, as written", model)] if prompt == 1 else []),
            decoders.llama("llama.cpp TQ2_0, Q6_K head", gguf),
        ]
        return Contest(f"Bonsai-1.7B's shapes, {layers} layers, {prompt:,} tokens before", UNITS, engines)

    return [contest(prompt) for prompt in PROMPTS]


def _gguf(name: str, options: list[object]) -> Path:
    """The same shapes as llama.cpp reads them."""
    folder = target_dir() / "peers" / f"{name}-TQ2_0"
    call([sys.executable, HERE / "bitnet_gguf.py", "--output", folder, "--type", "TQ2_0", *options])
    return folder / "model.gguf"
