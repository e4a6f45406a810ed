"""Every spelling that `decoder.py` writes is the same function, by onnxruntime.

python3 tests/python/env.py -m unittest discover tests/python
"""

import tempfile
import unittest
from itertools import product
from pathlib import Path

import numpy as np

from decoder import Config, export
from generate_decoder import RandomWeights
from linear import LINEARS, Ternary, pack
from ort_session import Decoder, past_of
from styles import STYLES

SMALL = {"vocab": 100, "hidden": 96, "layers": 2, "heads": 6, "kv_heads": 2, "head_dim": 16, "ffn": 200}
BITNET = {"activation": "relu2", "quantize_activations": True}
IDS = np.random.default_rng(0).integers(0, SMALL["vocab"], (2, 11))


class Spellings(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def decoder(self, config: Config, sub_norms: bool, style: str, linears: str, **options) -> Decoder:
        path = self.folder / "model.onnx"
        export(path, config, RandomWeights(config, False, sub_norms, 0), style, linears, **options)
        return Decoder(path)

    def logits(self, decoder: Decoder) -> np.ndarray:
        return decoder.run(decoder.inputs(IDS))["logits"]

    def plain(self, config: Config, sub_norms: bool) -> np.ndarray:
        return self.logits(self.decoder(config, sub_norms, "decomposed17", "f32"))

    def test_all_agree(self):
        for config, sub_norms in ((Config(**SMALL), False), (Config(**SMALL, **BITNET), True)):
            expected = self.plain(config, sub_norms)
            self.assertGreater(expected.std(), 0.1)
            for style, linears in product(STYLES, LINEARS):
                with self.subTest(style=style, linears=linears, sub_norms=sub_norms):
                    actual = self.logits(self.decoder(config, sub_norms, style, linears))
                    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4, equal_nan=False)

    def test_the_parts_matter(self):
        plain = self.plain(Config(**SMALL), False)
        changes = [({}, True), ({"activation": "relu2"}, False), ({"quantize_activations": True}, False)]
        for options, sub_norms in changes:
            with self.subTest(options=options, sub_norms=sub_norms):
                changed = self.plain(Config(**SMALL, **options), sub_norms)
                self.assertGreater(abs(changed - plain).max(), 1e-2)

    def test_a_cache_changes_nothing(self):
        for style in STYLES:
            decoder = self.decoder(Config(**SMALL), True, style, "f32")
            first = decoder.run(decoder.inputs(IDS[:, :7]))
            second = decoder.run(decoder.inputs(IDS[:, 7:], past_of(first)))
            pieces = np.concatenate([first["logits"], second["logits"]], axis=1)
            np.testing.assert_allclose(pieces, self.logits(decoder), rtol=0, atol=1e-4, equal_nan=False)

    def test_a_mask_hides_padding(self):
        for style in STYLES:
            decoder = self.decoder(Config(**SMALL), True, style, "f32")
            inputs = decoder.inputs(IDS)
            inputs["attention_mask"][:, :3] = 0
            inputs["position_ids"] = np.maximum(inputs["position_ids"] - 3, 0)
            padded = decoder.run(inputs)["logits"][:, 3:]
            alone = decoder.run(decoder.inputs(IDS[:, 3:]))["logits"]
            np.testing.assert_allclose(padded, alone, rtol=0, atol=1e-4, equal_nan=False)

    def test_external_data_changes_nothing(self):
        spelling = (Config(**SMALL), True, "decomposed17", "nbits2")
        inline = self.logits(self.decoder(*spelling, block=32))
        external = self.logits(self.decoder(*spelling, block=32, external_data=True))
        self.assertTrue(np.array_equal(inline, external), "the same bits, and no NaN")


class Packing(unittest.TestCase):
    def test_the_first_code_is_lowest(self):
        codes = np.array([1, -1, 0, 1, -1], np.int8)
        self.assertEqual(pack(codes, 2).tolist(), [0b01_00_11_01, 0b11])
        self.assertEqual(pack(codes, 4).tolist(), [0xF1, 0x10, 0x0F])
        self.assertEqual(pack(codes, 8).tolist(), [1, 255, 0, 1, 255])

    def test_scales_are_by_row_or_one_for_all(self):
        trits = np.array([[1, 0], [-1, 1]], np.int8)
        self.assertEqual(Ternary(trits, np.float32(2)).dense().tolist(), [[2, 0], [-2, 2]])
        self.assertEqual(Ternary(trits, np.array([2, 3])).dense().tolist(), [[2, 0], [-3, 3]])


if __name__ == "__main__":
    unittest.main()
