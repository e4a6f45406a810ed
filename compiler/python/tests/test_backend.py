"""What ONNX asks of a backend, besides its own tests, which `onnx_backend.py` runs."""

import unittest

import numpy as np
import onnx
import trine.backend
from onnx import TensorProto, helper
from support import addition, identity


class Backend(unittest.TestCase):
    def test_models_and_nodes_run(self):
        a, b = np.ones((2, 4), np.float32), np.full((2, 4), 2, np.float32)
        model = onnx.load_from_string(addition())
        prepared = trine.backend.prepare(model)
        for given in ([a, b], {"a": a, "b": b}):
            self.assertTrue((prepared.run(given)[0] == 3).all())
        self.assertTrue((trine.backend.run_model(model, [a, b])[0] == 3).all())
        (y,) = trine.backend.run_node(helper.make_node("Add", ["a", "b"], ["y"]), [a, b])
        self.assertTrue((y == 3).all())
        info = [(np.dtype(np.float32), (2, 4))]
        (y,) = trine.backend.run_node(helper.make_node("Neg", ["a"], ["y"]), a, outputs_info=info)
        self.assertTrue((y == -1).all())
        one = onnx.load_from_string(identity(TensorProto.FLOAT, ["n"]))
        self.assertEqual(trine.backend.prepare(one).run(np.array([5], np.float32))[0].tolist(), [5])

    def test_there_is_a_cpu_and_nothing_else(self):
        model = onnx.load_from_string(addition())
        self.assertTrue(trine.backend.supports_device("CPU"))
        self.assertFalse(trine.backend.supports_device("CUDA:0"))
        self.assertTrue(trine.backend.is_compatible(model))
        with self.assertRaisesRegex(ValueError, "no device `CUDA`"):
            trine.backend.prepare(model, "CUDA")
        with self.assertRaises(ValueError):
            trine.backend.prepare(model).run([np.ones((2, 4), np.float32)])
        with self.assertRaisesRegex(ValueError, "has 2 inputs, got 1"):
            trine.backend.run_node(helper.make_node("Add", ["a", "b"], ["y"]), [np.ones(1, np.float32)])


if __name__ == "__main__":
    unittest.main()
