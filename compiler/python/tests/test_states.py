"""States that a session holds, and text that goes on from a prompt."""

import json
import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np
from support import LM, MLP, reference, same_bits
from tokenizers import Tokenizer

import trine

TOKENIZER = LM.with_name("tokenizer.json")


def feed(ids, past: int) -> dict[str, np.ndarray]:
    ids = np.array([ids], np.int64)
    length = ids.shape[1]
    return {
        "input_ids": ids,
        "attention_mask": np.ones((1, past + length), np.int64),
        "position_ids": np.arange(past, past + length, dtype=np.int64)[None],
    }


class Held(unittest.TestCase):
    def test_caches_are_held_and_cut(self):
        session = trine.InferenceSession(LM, state_capacity=16)
        self.assertEqual({i.name for i in session.get_inputs()}, {"input_ids", "attention_mask", "position_ids"})
        self.assertEqual([o.name for o in session.get_outputs()], ["logits"])
        (first,) = session.run(None, feed([1, 2, 3], 0))
        self.assertEqual(session.filled, 3)
        (second,) = session.run(None, feed([4], 3))
        self.assertEqual(session.filled, 4)
        session.truncate(3)
        self.assertEqual(session.filled, 3)
        (again,) = session.run(None, feed([4], 3))
        self.assertTrue(same_bits(again, second))
        session.reset()
        self.assertEqual(session.filled, 0)
        self.assertTrue(same_bits(session.run(None, feed([1, 2, 3], 0))[0], first))
        with self.assertRaisesRegex(trine.InvalidInput, "the state holds 16 positions, 18 are needed"):
            session.run(None, feed(range(15), 3))
        with self.assertRaisesRegex(trine.InvalidArgument, "no output `present.0.key`"):
            session.run(["present.0.key"], feed([4], 3))
        with self.assertRaisesRegex(trine.InvalidInput, "no input `past_key_values.0.key`"):
            session.run(None, feed([4], 3) | {"past_key_values.0.key": np.zeros((1, 2, 3, 32), np.float32)})

    def test_caches_that_are_fed_give_what_held_ones_do(self):
        held, plain = trine.InferenceSession(LM, state_capacity=8), trine.InferenceSession(LM)
        caches = [i for i in plain.get_inputs() if i.name.startswith("past_key_values.")]
        past = {i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in caches}
        read = 0
        for ids in ([5, 6, 7], [8], [9]):
            outputs = dict(zip((o.name for o in plain.get_outputs()), plain.run(None, feed(ids, read) | past)))
            (logits,) = held.run(None, feed(ids, read))
            np.testing.assert_allclose(outputs["logits"], logits, atol=1e-4)
            past = {i.name: outputs[i.name.replace("past_key_values", "present")] for i in caches}
            read += len(ids)


class Generated(unittest.TestCase):
    def test_logits_and_tokens_are_those_of_the_library(self):
        decoder = trine.Decoder(LM, capacity=64, threads=1)
        prompt = reference("lm.prompt").tolist()
        self.assertTrue(same_bits(decoder.feed(prompt), reference("lm.logits")))
        self.assertEqual(len(decoder), len(prompt))
        decoder.reset()
        self.assertEqual(len(decoder), 0)
        ids = trine.generate(LM, prompt, max_tokens=12)
        self.assertEqual(list(ids), reference("lm.greedy").tolist())
        drawn = trine.generate(LM, prompt, max_tokens=12, temperature=0.9, top_p=0.95, seed=3)
        self.assertEqual(list(drawn), reference("lm.drawn").tolist())

    def test_tokens_come_one_by_one(self):
        tokens = trine.generate(LM, [1, 2, 3], max_tokens=5)
        first = next(tokens)
        self.assertIsInstance(first, int)
        self.assertEqual(len(list(tokens)), 4)
        self.assertEqual(list(trine.generate(LM, [1, 2, 3], max_tokens=0)), [])
        self.assertEqual(list(trine.generate(LM, [1, 2, 3], max_tokens=5, stop=[first])), [])

    def test_text_gives_text(self):
        tokenizer = Tokenizer.from_file(str(TOKENIZER))
        ids = tokenizer.encode("Once upon").ids
        made = list(trine.generate(LM, ids, max_tokens=16))
        for given in (None, TOKENIZER, str(TOKENIZER), tokenizer):
            pieces = list(trine.generate(LM, "Once upon", given, max_tokens=16, stop=[]))
            self.assertGreater(len(pieces), 1)
            self.assertEqual("Once upon" + "".join(pieces), tokenizer.decode(ids + made))
        compiled = trine.compile(LM)
        self.assertEqual(list(trine.generate(compiled, ids, max_tokens=16)), made)

    def test_text_ends_where_files_beside_the_tokenizer_say(self):
        tokenizer = Tokenizer.from_file(str(TOKENIZER))
        made = list(trine.generate(LM, tokenizer.encode("Once upon").ids, max_tokens=8))
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(LM, Path(folder, "model.onnx"))
            shutil.copy(TOKENIZER, folder)
            config = Path(folder, "generation_config.json")
            config.write_text(json.dumps({"eos_token_id": [made[2]]}))
            ended = "".join(trine.generate(folder, "Once upon", max_tokens=8))
            until = made[: made.index(made[2])]
            self.assertEqual(ended, "".join(trine.generate(folder, "Once upon", max_tokens=len(until), stop=[])))
            config.write_text("{")
            with self.assertRaisesRegex(trine.InvalidModel, "generation_config.json` is not JSON"):
                trine.generate(folder, "Once upon")

    def test_mistakes_are_told_at_once(self):
        cases = [
            (lambda: trine.generate(LM, []), trine.InvalidArgument, "the prompt is empty"),
            (lambda: trine.generate(LM, [1], max_tokens=-1), trine.InvalidArgument, "`max_tokens`"),
            (lambda: trine.generate(MLP, [1]), trine.InvalidModel, "the model is not a decoder"),
            (lambda: trine.generate(MLP, "text"), trine.InvalidModel, "there is no tokenizer `"),
            (lambda: trine.generate(LM, "text", MLP), trine.InvalidModel, "is not a tokenizer"),
            (lambda: trine.generate(LM.read_bytes(), "text"), trine.InvalidArgument, "needs `tokenizer`"),
            (lambda: trine.generate(LM, "text", stop=["no such token"]), trine.InvalidArgument, "has no token `no such"),
            (lambda: trine.generate(LM, [1], stop=["a"]), trine.InvalidArgument, "`stop` is of token ids"),
            (lambda: next(trine.generate(LM, [1], temperature=-1.0)), trine.InvalidArgument, "`temperature`"),
            (lambda: next(trine.generate(LM, [1], top_p=2.0)), trine.InvalidArgument, "`top_p`"),
            (lambda: next(trine.generate(LM, [100_000])), trine.InvalidInput, "index"),
        ]
        for call, kind, message in cases:
            with self.assertRaisesRegex(kind, message):
                call()


if __name__ == "__main__":
    unittest.main()
