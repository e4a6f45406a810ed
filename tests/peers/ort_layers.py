"""Measures onnxruntime on a model that `layers.py` wrote, printing JSON as `ggml.py` does.

    ort_layers.py --model DIR/model.onnx --batches 1 32 --threads 1

`run.py` starts it.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from ort_session import session
from timing import measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL.onnx")
    parser.add_argument("--batches", type=int, nargs="+", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()

    model = session(arguments.model, arguments.threads)
    width = model.get_inputs()[0].shape[1]
    rng, results = np.random.default_rng(0), {}
    for batch in arguments.batches:
        inputs = {"x": rng.standard_normal((batch, width), np.float32)}
        results[str(batch)] = measured(lambda inputs=inputs: model.run(None, inputs), arguments.seconds)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
