"""Models as torch.export writes them, beside the same shapes in Trine's own best spelling and beside onnxruntime.

Two layers of BitNet-2B-4T's shapes with random ternary weights, whose inputs are rounded to int8: from the master
weights and from packed ones, as `exporters.py --real` makes them, and what `generate_decoder.py` writes, which
onnxruntime runs, too. Decoding follows a prompt of one token, of 128 and of 1,024.
"""

import sys

from cache import HERE as PYTHON
from cache import progress, target_dir
from contest import Contest
from decoders import UNITS, Decoders
from process import call
from trine import Trine

SHAPES = ["--hidden", 2560, "--ffn", 6912, "--heads", 20, "--kv-heads", 5, "--layers", 2, "--vocab", 2048]
SPELLING = ["--linears", "nbits2", "--block", 128, "--accuracy-level", 4]
PROMPTS = [1, 128, 1024]


def exported(trine: Trine, seconds: float, whole: bool) -> list[Contest]:
    models = target_dir() / "peers" / "exporters" / "models"
    found = {weights: models / f"torch-sdpa-bitnet-2b4t-{weights}-f32" for weights in ("unpacked", "packed")}
    if missing := [folder for folder in found.values() if not (folder / "model.onnx").exists()]:
        sys.exit(f"there is no `{missing[0]}`: `python3 tests/peers/exporters.py --real` makes it")
    own = target_dir() / "peers" / "bitnet-2-layers-2048"
    progress("writing two layers of BitNet-2B-4T's shapes")
    call([sys.executable, PYTHON / "generate_decoder.py", "--output", own, *SHAPES, *SPELLING])

    def contest(prompt: int) -> Contest:
        decoders = Decoders(trine, prompt, seconds, whole)
        engines = [
            decoders.trine("Trine, own spelling", own / "model.onnx"),
            *(
                decoders.trine(f"Trine, torch.export {name}", at / "model.onnx", tokens="sequence_length")
                for name, at in found.items()
            ),
            decoders.onnxruntime("onnxruntime, own spelling", own / "model.onnx"),
        ]
        return Contest(f"BitNet-2B-4T's shapes, 2 layers, {prompt:,} tokens before", UNITS, engines)

    return [contest(prompt) for prompt in PROMPTS]
