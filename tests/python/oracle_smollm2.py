"""Writes what onnxruntime answers for SmolLM2: the expected values of the Rust tests.

    python3 tests/python/env.py tests/python/oracle_smollm2.py --model DIR

DIR is one that `smollm2.py` or `smollm2_mobius.py` made. `DIR/oracle/` gets `oracle.json` and, for
each case in it, `<case>.in.npz` (all inputs) and `<case>.out.npz` (all outputs, by name):

    prompt      128 tokens, no past
    decode-1…4  one token each, the past being all before it
    chunk       16 more tokens at once, on a past of 128
    padded      two rows, the first padded on the left by 3 masked tokens

`oracle.json`: `cases` (`name`, `max_abs_logit`, and `masked`, the tokens of row 0 that see nothing,
whose logits are therefore nobody's to compare), `prompt` (`text`, `ids`), `greedy` (`prompt`,
`prompt_ids`, `ids`, `text`, and `lead`, the least distance between the best and second best logit).
Greedy tokens go on past the end-of-text token.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from cache import HERE, STAMP, build_once, digest
from onnxruntime_run import write
from ort_session import Decoder, past_of

PROMPT_TOKENS = 128
CHUNK = 16
DECODE_STEPS = 4
PADDING = 3
GREEDY_PROMPT = "The capital of France is"
GREEDY_TOKENS = 64
TEXT = """\
A compiler is a program that reads a program and writes another one. It is easy to say and hard to do well, because
the reader of the first text is a person and the reader of the second is a machine with 2 threads, 16 registers and
no patience. Between the two lies a chain of small steps. Each step keeps the meaning and changes the form: names
become numbers, loops are turned inside out, and whatever can be computed once is computed once. When a step goes
wrong, the result is rarely a crash; more often it is an answer that looks right on Monday and wrong on Friday. So
people who write compilers learn to distrust themselves. They print every stage, compare it with the one before,
and keep the simplest version of each idea around, slow as it may be, only to ask it whether the fast one is still
telling the truth. In the year 1957 the first such program for Fortran was shipped on punched cards, and its
authors, who had promised that it would be as good as a careful programmer, were the most surprised of all."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    folder = parser.parse_args().model
    if not (folder / STAMP).exists():
        raise SystemExit(f"`{folder}` is not a model that smollm2.py or smollm2_mobius.py made")
    sources = ["oracle_smollm2.py", "ort_session.py", "onnxruntime_run.py", "requirements.txt"]
    stamp = digest(folder / STAMP, *(HERE / source for source in sources))
    build_once(folder / "oracle", stamp, lambda oracle: Oracle(folder, oracle).write())


class Oracle:
    def __init__(self, model: Path, folder: Path):
        self.decoder = Decoder(model / "model.onnx")
        self.tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self.folder = folder
        self.cases: list[dict] = []

    def write(self) -> None:
        ids = self.tokenizer.encode(TEXT).ids
        assert len(ids) >= PROMPT_TOKENS + CHUNK, f"the text has {len(ids)} tokens only"
        prompt = np.array([ids[:PROMPT_TOKENS]])
        outputs = self._case("prompt", self.decoder.inputs(prompt))
        after = past_of(outputs)
        self._case("chunk", self.decoder.inputs(np.array([ids[PROMPT_TOKENS : PROMPT_TOKENS + CHUNK]]), after))
        for step in range(DECODE_STEPS):
            token = outputs["logits"][:, -1:].argmax(-1)
            outputs = self._case(f"decode-{step + 1}", self.decoder.inputs(token, past_of(outputs)))
        self._case("padded", self._padded(ids))
        answer = {
            "cases": self.cases,
            "prompt": {"text": self.tokenizer.decode(prompt[0]), "ids": prompt[0].tolist()},
            "greedy": self._greedy(),
        }
        (self.folder / "oracle.json").write_text(json.dumps(answer, indent=1, ensure_ascii=False))

    def _case(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self.decoder.run(inputs)
        write(self.folder / f"{name}.in.npz", inputs)
        write(self.folder / f"{name}.out.npz", outputs)
        masked = int((inputs["attention_mask"][0] == 0).sum())
        largest = float(np.abs(outputs["logits"]).max())
        self.cases.append({"name": name, "max_abs_logit": largest, "masked": masked})
        return outputs

    def _padded(self, ids: list[int]) -> dict[str, np.ndarray]:
        inputs = self.decoder.inputs(np.array([ids[:8], ids[8:16]]))
        inputs["attention_mask"][0, :PADDING] = 0
        inputs["position_ids"][0] = np.maximum(np.arange(8) - PADDING, 0)
        return inputs

    def _greedy(self) -> dict:
        prompt = self.tokenizer.encode(GREEDY_PROMPT).ids
        ids, lead = self.decoder.greedy(prompt, GREEDY_TOKENS)
        text = self.tokenizer.decode(ids)
        assert "Paris" in text, f"the model answers {text!r}: its weights are wrong"
        return {"prompt": GREEDY_PROMPT, "prompt_ids": prompt, "ids": ids, "text": text, "lead": lead}


if __name__ == "__main__":
    main()
