"""Measures onnxruntime on a decoder, printing JSON with the keys of `trine bench --json`.

    python3 tests/python/env.py tests/python/ort_bench.py --model DIR/model.onnx [--threads 1 2]

`prompt_tokens_per_s` is for one run of `--prompt` tokens, `decode_tokens_per_s` for runs of one
token on that past and what grows from it; each from the median time of a run. Caches are bound, not copied.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from ort_session import Bound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL.onnx")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--prompt", type=int, default=128, help="tokens of the prompt")
    parser.add_argument("--runs", type=int, default=7, help="runs of the prompt")
    parser.add_argument("--steps", type=int, default=64, help="tokens decoded")
    arguments = parser.parse_args()
    results = [measure(arguments, threads) for threads in arguments.threads]
    print(json.dumps({"engine": "onnxruntime", "model": str(arguments.model), "results": results}, indent=1))


def measure(arguments: argparse.Namespace, threads: int) -> dict:
    # Two more than counted: the first steps of another shape allocate.
    steps = arguments.steps + 2
    decoder = Bound(arguments.model, threads, arguments.prompt + steps)
    ids = np.random.default_rng(0).integers(32, 256, (1, arguments.prompt))
    prompt = []
    for _ in range(arguments.runs + 1):
        decoder.reset()
        prompt.append(timed(decoder, ids))
    prompt = prompt[1:]
    decode = [timed(decoder, ids[:, :1]) for _ in range(steps)]
    return {
        "threads": threads,
        "prompt_tokens": arguments.prompt,
        "prompt_tokens_per_s": round(arguments.prompt / statistics.median(prompt), 1),
        "prompt_tokens_per_s_best": round(arguments.prompt / min(prompt), 1),
        "decode_tokens_per_s": round(1 / statistics.median(decode[2:]), 2),
        "decode_tokens_per_s_best": round(1 / min(decode[2:]), 2),
    }


def timed(decoder: Bound, ids: np.ndarray) -> float:
    start = time.perf_counter()
    decoder.run(ids)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
