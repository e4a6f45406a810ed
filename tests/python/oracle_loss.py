"""What onnxruntime says the loss of a language model on a text is: the oracle of `trine perplexity`.

    python3 tests/python/env.py tests/python/oracle_loss.py MODEL.onnx [--tokenizer FILE] [--text FILE] \\
        [--context N] [--tokens N] [-o loss.json]

The model reads windows of `--context` tokens with nothing before them, and predicts the token behind each; the loss
is the mean of -ln p over all tokens but the first. Without a text it takes that of `oracle_smollm2.py`. The JSON has
`text`, `context`, `tokens` (how many were predicted), `loss` and `perplexity`. The fixture of the committed model:

    python3 tests/python/env.py tests/python/oracle_loss.py tests/models/lm/f32.onnx --context 48 \\
        -o tests/models/lm/loss.json
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import oracle_smollm2
from ort_session import Decoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json beside the model if not given")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--context", type=int, default=512, help="tokens that are read at once")
    parser.add_argument("--tokens", type=int, help="predict only so many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, help="where the JSON goes, else to standard output")
    arguments = parser.parse_args()

    text = arguments.text.read_text(encoding="utf-8") if arguments.text else oracle_smollm2.TEXT
    tokenizer = arguments.tokenizer or arguments.model.with_name("tokenizer.json")
    ids = Tokenizer.from_file(str(tokenizer)).encode(text).ids
    if arguments.tokens:
        ids = ids[: arguments.tokens + 1]
    total = nats(Decoder(arguments.model, arguments.threads), np.array(ids), arguments.context)
    loss = total / (len(ids) - 1)
    answer = {"context": arguments.context, "tokens": len(ids) - 1, "loss": loss, "perplexity": math.exp(loss)}
    if not arguments.text:
        answer["text"] = text
    written = json.dumps(answer, indent=1, ensure_ascii=False) + "\n"
    if arguments.output:
        arguments.output.write_text(written, encoding="utf-8")
    else:
        sys.stdout.write(written)


def nats(decoder: Decoder, ids: np.ndarray, context: int) -> float:
    """The sum of -ln p over all tokens but the first."""
    total = 0.0
    for start in range(0, len(ids) - 1, context):
        window = ids[start : start + context + 1]
        logits = decoder.run(decoder.inputs(window[None, :-1]))["logits"][0].astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        chosen = logits[np.arange(len(window) - 1), window[1:]]
        total += float((np.log(np.exp(logits).sum(axis=-1)) - chosen).sum())
    return total


if __name__ == "__main__":
    main()
