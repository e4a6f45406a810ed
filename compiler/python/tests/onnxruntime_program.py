"""Classifies digits with onnxruntime: a program as others write it, for `test_swap.py`."""

import sys

import numpy as np
import onnxruntime as ort

folder = sys.argv[1]
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
data = np.load(f"{folder}/data.npz")

assert "CPUExecutionProvider" in ort.get_available_providers()
for name in ("mlp", "cnn"):
    session = ort.InferenceSession(f"{folder}/{name}.onnx", sess_options=options, providers=["CPUExecutionProvider"])
    for node in (*session.get_inputs(), *session.get_outputs()):
        print(name, node.name, node.type, node.shape)
    feed = {session.get_inputs()[0].name: data[f"{name}.x"]}
    logits = session.run([session.get_outputs()[0].name], feed)[0]
    np.testing.assert_allclose(logits, data[f"{name}.logits"], atol=1e-3)
    print(name, logits.shape, logits.dtype, "accuracy", (logits.argmax(1) == data["labels"]).mean())
    try:
        session.run(None, {"no such input": data["labels"]})
    except Exception:
        print(name, "refuses an input that it does not have")
