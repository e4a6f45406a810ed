"""Elements of every type that ONNX has, in and out, to the bit."""

import subprocess
import sys
import unittest

import ml_dtypes
import numpy as np
from onnx import TensorProto
from support import identity

import trine

PLAIN = {
    "FLOAT": np.float32,
    "DOUBLE": np.float64,
    "FLOAT16": np.float16,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
}
EXTENSIONS = {
    "BFLOAT16": ml_dtypes.bfloat16,
    "FLOAT8E4M3FN": ml_dtypes.float8_e4m3fn,
    "FLOAT8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "FLOAT8E5M2": ml_dtypes.float8_e5m2,
    "FLOAT8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "FLOAT4E2M1": ml_dtypes.float4_e2m1fn,
    "INT4": ml_dtypes.int4,
    "UINT4": ml_dtypes.uint4,
}


class Types(unittest.TestCase):
    def test_every_type_passes_through(self):
        for name, dtype in (PLAIN | EXTENSIONS).items():
            with self.subTest(name):
                session = trine.InferenceSession(identity(getattr(TensorProto, name), ["n"]))
                # Five, so that the last byte of packed elements is half full.
                numbers = [0, 1, 1, 0, 1] if name == "BOOL" else [0, 1, 2, 4, 6] if "U" in name else [0, 1, -2, 4, -6]
                x = np.array(numbers, np.float32).astype(dtype)
                (y,) = session.run(None, {"x": x})
                self.assertEqual(y.dtype, x.dtype)
                self.assertEqual(y.tobytes(), x.tobytes())
                self.assertEqual(y.astype(np.float32).tolist(), x.astype(np.float32).tolist())

    def test_types_are_spelt_as_onnxruntime_does(self):
        import onnxruntime

        for name in (*PLAIN, "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"):
            model = identity(getattr(TensorProto, name), ["n"])
            theirs = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            self.assertEqual(trine.InferenceSession(model).get_inputs()[0].type, theirs.get_inputs()[0].type)

    def test_truth_is_any_byte_but_zero(self):
        session = trine.InferenceSession(identity(TensorProto.BOOL, ["n"]))
        (y,) = session.run(None, {"x": np.array([0, 1, 2, 255], np.uint8).view(np.bool_)})
        self.assertEqual(y.view(np.uint8).tolist(), [0, 1, 1, 1])

    def test_without_the_package_the_error_names_it(self):
        model = identity(TensorProto.BFLOAT16, [1])
        program = f"""
import sys
sys.modules["ml_dtypes"] = None
import numpy as np, trine
session = trine.InferenceSession({model!r})
assert session.get_inputs()[0].type == "tensor(bfloat16)"
try:
    session.run(None, {{"x": np.zeros(1, np.float32)}})
except trine.InvalidArgument as error:
    print(error)
"""
        said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
        self.assertEqual(said.strip(), "`x` is bf16[1]: numpy has no `bfloat16` of its own: install the package `ml_dtypes`")


if __name__ == "__main__":
    unittest.main()
