"""Linear layers in ggml, the library under llama.cpp, called without a model around them.

    ggml.py --type TQ2_0 --shape 6912 2560 --batches 1 32 --threads 1

Prints JSON: for each batch, what a run of a chain of layers takes (`layers.py` says which chain). A type that ggml
packs again for this CPU is packed so, as llama.cpp does when it loads a model.
"""

import argparse
import ctypes
import json
from ctypes import POINTER, c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import cached_property

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

import llama
from layers import chain
from timing import measured

NODES = 4096


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool)]


# ggml.h, ggml-alloc.h, ggml-backend.h: result, then arguments.
BASE = {
    "ggml_init": (c_void_p, InitParams),
    "ggml_tensor_overhead": (c_size_t,),
    "ggml_graph_overhead_custom": (c_size_t, c_size_t, c_bool),
    "ggml_new_tensor_2d": (c_void_p, c_void_p, c_int, c_int64, c_int64),
    "ggml_mul_mat": (c_void_p, c_void_p, c_void_p, c_void_p),
    "ggml_set_input": (None, c_void_p),
    "ggml_set_output": (None, c_void_p),
    "ggml_new_graph_custom": (c_void_p, c_void_p, c_size_t, c_bool),
    "ggml_build_forward_expand": (None, c_void_p, c_void_p),
    "ggml_quantize_chunk": (c_size_t, c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p),
    "ggml_gallocr_new": (c_void_p, c_void_p),
    "ggml_gallocr_alloc_graph": (c_bool, c_void_p, c_void_p),
    "ggml_backend_alloc_ctx_tensors_from_buft": (c_void_p, c_void_p, c_void_p),
    "ggml_backend_cpu_buffer_type": (c_void_p,),
    "ggml_backend_tensor_set": (None, c_void_p, c_void_p, c_size_t, c_size_t),
    "ggml_backend_tensor_get": (None, c_void_p, c_void_p, c_size_t, c_size_t),
    "ggml_backend_get_device": (c_void_p, c_void_p),
    "ggml_backend_dev_supports_op": (c_bool, c_void_p, c_void_p),
    "ggml_backend_reg_get_proc_address": (c_void_p, c_void_p, c_char_p),
    "ggml_backend_graph_compute": (c_int, c_void_p, c_void_p),
}
CPU = {
    "ggml_backend_cpu_init": (c_void_p,),
    "ggml_backend_cpu_reg": (c_void_p,),
    "ggml_backend_cpu_set_n_threads": (None, c_void_p, c_int),
}


class Ggml:
    """The functions of the libraries, by their names without `ggml_`."""

    def __init__(self):
        for library, functions in (("base", BASE), ("cpu", CPU)):
            loaded = ctypes.CDLL(str(llama.folder() / f"libggml-{library}.so"))
            for name, (result, *arguments) in functions.items():
                function = loaded[name]
                function.restype, function.argtypes = result, arguments
                setattr(self, name.removeprefix("ggml_"), function)

    def context(self, tensors: int, nodes: int = 0) -> int:
        size = tensors * self.tensor_overhead() + (self.graph_overhead_custom(nodes, False) if nodes else 0)
        return self.init(InitParams(size, None, True))

    def quantize(self, array: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
        """The bytes of f32 `[rows, columns]` in a quantized type."""
        array = np.ascontiguousarray(array, np.float32)
        rows, columns = array.shape
        block, size = GGML_QUANT_SIZES[kind]
        if columns % block:
            raise SystemExit(f"{kind.name} takes rows of {block}, not {columns}")
        packed = np.empty((rows, columns // block * size), np.uint8)
        self.quantize_chunk(kind, array.ctypes.data, packed.ctypes.data, 0, rows, columns, None)
        return packed

    @cached_property
    def packings(self) -> list[int]:
        """The buffer types that pack weights again, best first, and the plain one."""
        address = self.backend_reg_get_proc_address(self.backend_cpu_reg(), b"ggml_backend_dev_get_extra_bufts")
        extra = ctypes.CFUNCTYPE(POINTER(c_void_p), c_void_p)(address)(None)
        found = []
        while extra[len(found)]:
            found.append(extra[len(found)])
        return [*found, self.backend_cpu_buffer_type()]


class Layers:
    """A chain of layers, each with weights of its own."""

    def __init__(self, ggml: Ggml, weights: list[np.ndarray], kind: GGMLQuantizationType, threads: int):
        """`weights` are f32 `[out, in]`; one array may stand for several layers."""
        self.ggml = ggml
        self.backend = ggml.backend_cpu_init()
        ggml.backend_cpu_set_n_threads(self.backend, threads)
        self.inputs, self.outputs = weights[0].shape[1], weights[-1].shape[0]
        self.tensors = self._place([w.shape for w in weights], kind)
        packed = {id(w): ggml.quantize(w, kind) for w in weights}
        for tensor, weight in zip(self.tensors, weights, strict=True):
            data = packed[id(weight)]
            ggml.backend_tensor_set(tensor, data.ctypes.data, 0, data.nbytes)

    def _place(self, shapes: list[tuple[int, int]], kind: GGMLQuantizationType) -> list[int]:
        ggml = self.ggml
        device = ggml.backend_get_device(self.backend)
        for packing in ggml.packings:
            context = ggml.context(len(shapes) + 2)
            tensors = [ggml.new_tensor_2d(context, kind, k, n) for n, k in shapes]
            if not ggml.backend_alloc_ctx_tensors_from_buft(context, packing):
                continue
            x = ggml.new_tensor_2d(context, GGMLQuantizationType.F32, shapes[0][1], 1)
            if ggml.backend_dev_supports_op(device, ggml.mul_mat(context, tensors[0], x)):
                return tensors
        raise SystemExit(f"ggml cannot multiply by {kind.name}")

    def prepare(self, batch: int) -> None:
        """Makes the graph for so many rows at once."""
        ggml = self.ggml
        context = ggml.context(len(self.tensors) + 1, NODES)
        self.batch = batch
        self.x = y = ggml.new_tensor_2d(context, GGMLQuantizationType.F32, self.inputs, batch)
        ggml.set_input(self.x)
        # Else its memory is given to a later layer, and the next run reads that.
        ggml.set_output(self.x)
        for tensor in self.tensors:
            y = ggml.mul_mat(context, tensor, y)
        self.y = y
        ggml.set_output(y)
        self.graph = ggml.new_graph_custom(context, NODES, False)
        ggml.build_forward_expand(self.graph, y)
        if not ggml.gallocr_alloc_graph(ggml.gallocr_new(ggml.backend_cpu_buffer_type()), self.graph):
            raise SystemExit(f"ggml has no memory for {batch} rows")

    def feed(self, x: np.ndarray) -> None:
        x = np.ascontiguousarray(x, np.float32)
        self.ggml.backend_tensor_set(self.x, x.ctypes.data, 0, x.nbytes)

    def run(self) -> None:
        if status := self.ggml.backend_graph_compute(self.backend, self.graph):
            raise SystemExit(f"ggml failed with {status}")

    def result(self) -> np.ndarray:
        y = np.empty((self.batch, self.outputs), np.float32)
        self.ggml.backend_tensor_get(self.y, y.ctypes.data, 0, y.nbytes)
        return y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--type", required=True, help="such as TQ2_0")
    parser.add_argument("--shape", type=int, nargs=2, required=True, metavar=("OUT", "IN"))
    parser.add_argument("--batches", type=int, nargs="+", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()

    kind = GGMLQuantizationType[arguments.type]
    block, size = GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(0)
    shapes = chain(*arguments.shape, size / block)
    distinct = {s: (rng.integers(-1, 2, s, np.int8) * np.float32(s[1] ** -0.5)) for s in set(shapes)}
    layers = Layers(Ggml(), [distinct[s] for s in shapes], kind, arguments.threads)
    results = {"weight_bytes": size / block}
    for batch in arguments.batches:
        layers.prepare(batch)
        layers.feed(rng.standard_normal((batch, shapes[0][1])))
        results[str(batch)] = measured(layers.run, arguments.seconds)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
