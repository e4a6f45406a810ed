"""Trine compiles ONNX models for the CPU they will run on.

``InferenceSession`` has onnxruntime's signature, so that a program changes its import and nothing else::

    import numpy as np, trine

    session = trine.InferenceSession("model.onnx")
    (y,) = session.run(None, {"x": np.zeros((1, 64), np.float32)})

``compile`` makes a file that is loaded without compiling, and tells what became of each layer; ``ternarize`` makes weights
ternary, fitted to data, and ``compare`` says what that cost; ``generate`` has a language model go on from a prompt. Errors are subclasses of ``trine.Error``, by whose fault they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

from ._trine import ModelMetadata, NodeArg, __version__
from .comparison import Comparison, Difference, compare
from .compiled import CompiledModel, compile_model, cpus
from .errors import Error, Internal, InvalidArgument, InvalidInput, InvalidModel, Unsupported
from .explanation import Became, Explanation, Kernel, Layer, Miss, Sums, Ternary, Weights
from .generation import Decoder, generate
from .options import GraphOptimizationLevel, SessionOptions
from .session import InferenceSession, Source, get_available_providers, get_device
from .ternarization import KeptLayer, RoundedLayer, Ternarized, ternarize

__all__ = [
    "Became",
    "Comparison",
    "CompiledModel",
    "Decoder",
    "Difference",
    "Error",
    "Explanation",
    "GraphOptimizationLevel",
    "InferenceSession",
    "Internal",
    "InvalidArgument",
    "InvalidInput",
    "InvalidModel",
    "Kernel",
    "KeptLayer",
    "Layer",
    "Miss",
    "ModelMetadata",
    "NodeArg",
    "RoundedLayer",
    "SessionOptions",
    "Sums",
    "Ternarized",
    "Ternary",
    "Unsupported",
    "Weights",
    "__version__",
    "compare",
    "compile",
    "cpus",
    "generate",
    "get_available_providers",
    "get_device",
    "ternarize",
]


def compile(path: Source, target: Union[str, Sequence[str]] = "native", **options: Any) -> CompiledModel:
    """Compiles a model: an ``.onnx`` or ``.ir`` file, a folder as for ``InferenceSession``, or the bytes of an ONNX model.

    ``target`` is one or several of ``native``, this machine; ``baseline``, every machine of this architecture;
    ``trine.cpus()``, such as ``x86-64-v3`` or ``v3`` for short; and other architectures, such as ``aarch64+dotprod``. The options, none of which approximates anything unless it
    says so:

    - ``dims``: a dictionary of open sizes to fix.
    - ``fed``: names of inputs that are fed though the model has initializers for them.
    - ``level``: 0, 1 or 2; or ``passes``, such as ``"fold-constants,simplify"``, in its place.
    - ``ternarize``: how to make weights ternary that are not, such as ``"twn{group=128}"``. Lossy.
    - ``states``, ``features``: how to make states of recurrent layers, or features, ternary. Lossy.
    - ``activations``: ``"auto"``, ``"f32"``, ``"i8"``, ``"i8:row"``, ``"i8:32"``. Lossy where the model does not say so.
    - ``head``: ``"auto"``, ``"keep"``, or ``"i8"``, which is lossy.
    - ``widen``: compute in f32 what a model has in f16 or bf16.
    - ``backend``: ``"auto"``, ``"interpret"`` or ``"cranelift"``.
    - ``microkernels``: names of those to prefer; ``verify_kernels``: check them against scalar ones.
    - ``autotune``: measure which are the fastest here, and remember it in the folder ``cache``.
    """
    return compile_model(path, target, options)
