"""Prints what int8 activations cost a ternary language model, and how fast it is with them: a row a form.

    python3 tests/python/env.py tests/python/activations_table.py MODEL.onnx [--forms f32 i8 ...] [--tokens 8192] [--trine FILE]

MODEL is what `trine ternarize` wrote, with its tokenizer beside it. Perplexity is that of every other topic of the language
reference that comes with Python (`pydoc_data`), those that `ternary_table.py` does not fit to. Rates are medians of turns
that the forms take, on one thread.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

from cache import target_dir

# A scale a row, a group of the weights, and blocks of fewer.
FORMS = ["f32", "i8:row", "i8", "i8:32", "i8:16"]
TURNS = 3
RATES = ["prompt_tokens_per_s", "decode_tokens_per_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--forms", nargs="+", default=FORMS)
    parser.add_argument("--tokens", type=int, default=8192, help="tokens to measure on")
    parser.add_argument("--trine", type=Path, default=target_dir() / "release/trine")
    arguments = parser.parse_args()

    def run(verb: str, form: str, *options: object) -> dict:
        command = [arguments.trine, verb, arguments.model, "--activations", form, "--json", *options]
        return json.loads(subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE).stdout)

    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as text:
        text.write("\n\n".join(topics[name] for name in sorted(topics)[1::2]))
        text.flush()
        options = ["--text", text.name, "--tokens", arguments.tokens]
        losses = {form: run("perplexity", form, *options)["perplexity"] for form in arguments.forms}
    turns = [{form: run("bench", form, "--threads", 1) for form in arguments.forms} for _ in range(TURNS)]
    print("| activations | perplexity | prompt, tokens/s | decode, tokens/s |\n|---|---:|---:|---:|")
    for form in arguments.forms:
        prompt, decode = (statistics.median(turn[form][rate] for turn in turns) for rate in RATES)
        print(f"| {form} | {losses[form]:.3f} | {prompt:.0f} | {decode:.1f} |")


if __name__ == "__main__":
    main()
