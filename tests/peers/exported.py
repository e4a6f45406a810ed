"""Models as torch.export writes them, beside the same shapes in Trine's own best spelling and beside onnxruntime.

Two layers of BitNet-2B-4T's shapes with random ternary weights, whose inputs are rounded to int8: from the master
weights and from packed ones, as `exporters.py --real` makes them, and as `generate_decoder.py` writes them;
onnxruntime runs MatMulNBits. Decoding follows a prompt of one token, of 128 and of 1,024.
"""

import sys

from cache import HERE as PYTHON
from cache import progress, target_dir
from contest import Contest
from decoders import UNITS, Decoders
from process import call
from trine import Trine

SHAPES = ["--hidden", 2560, "--ffn", 6912, "--heads", 20, "--kv-heads", 5, "--layers", 2, "--vocab", 2048]
# BitNet's own rounding, a scale a row; and what onnxruntime has for it, a scale a block.
SPELLINGS = {
    "rows": ["--quantize-activations"],
    "nbits2": ["--linears", "nbits2", "--block", 128, "--accuracy-level", 4],
}
PROMPTS = [1, 128, 1024]


def exported(trine: Trine, seconds: float, whole: bool) -> list[Contest]:
    models = target_dir() / "peers" / "exporters" / "models"
    found = {weights: models / f"torch-sdpa-bitnet-2b4t-{weights}-f32" for weights in ("unpacked", "packed")}
    if missing := [folder for folder in found.values() if not (folder / "model.onnx").exists()]:
        sys.exit(f"there is no `{missing[0]}`: `python3 tests/peers/exporters.py --real` makes it")
    progress("writing two layers of BitNet-2B-4T's shapes")
    own = {name: target_dir() / "peers" / f"bitnet-2-layers-2048-{name}" for name in SPELLINGS}
    for name, options in SPELLINGS.items():
        call([sys.executable, PYTHON / "generate_decoder.py", "--output", own[name], *SHAPES, *options])

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
        ]
        return Contest(f"BitNet-2B-4T's shapes, 2 layers, {prompt:,} tokens before", UNITS, engines)

    return [contest(prompt) for prompt in PROMPTS]
