"""A program that uses what is public, for type checkers: they are to know every type in it."""

# pyright: strict

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import trine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import assert_type


def run(path: Path) -> npt.NDArray[Any]:
    options = trine.SessionOptions()
    options.intra_op_num_threads = 2
    options.graph_optimization_level = trine.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = trine.InferenceSession(path, options, ["CPUExecutionProvider"], state_capacity=None, level=1)
    shape: list[int | str] = session.get_inputs()[0].shape
    made_by: str = session.get_modelmeta().custom_metadata_map.get("by", session.get_modelmeta().producer_name)
    names: list[str] = [node.name for node in session.get_outputs()]
    outputs = session.run(names, {"x": np.zeros([1 if isinstance(n, str) else n for n in shape], np.float32)})
    session.truncate(session.filled)
    session.reset()
    return outputs[0] if made_by else outputs[-1]


def look(path: str) -> list[str]:
    model = trine.compile(path, target=["native", "v3"], ternarize="twn")
    model.save(Path(path).with_suffix(".trine"))
    told = model.explain()
    lines = [f"{layer.node}: {layer.became.op}" for layer in told.layers if layer.became is not None]
    return [*lines, model.ir("kernels"), *(kernel.name for kernel in told.kernels)]


def talk(path: str) -> None:
    text = trine.generate(path, "Once", max_tokens=4)
    ids = trine.generate(path, [1, 2], temperature=0.5)
    if TYPE_CHECKING:
        assert_type(text, Iterator[str])
        assert_type(ids, Iterator[int])
    try:
        print("".join(text), sum(ids), trine.Decoder(path, capacity=8).feed([1]).argmax())
    except (trine.InvalidModel, trine.InvalidInput) as error:
        print(error)
