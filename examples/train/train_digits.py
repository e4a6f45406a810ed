"""Trains a ternary MLP and a ternary CNN on scikit-learn's 8x8 digits and exports both as ONNX.

    python3 examples/train/run.py train_digits.py

Writes `mlp.onnx` and `cnn.onnx` (opset 17, f32 initializers that hold only {-s, 0, +s}: one `s` a matrix in
the MLP, one an output channel in the CNN), and `data.npz`: the test images as each model takes them, their
labels, and the logits that onnxruntime gives.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import optax
from onnx import numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import ternary

ROOT = Path(__file__).resolve().parents[2]
EPS = 1e-5


class Mlp:
    """64 → 128 → 64 → 10, RMSNorm in front of each layer, ReLU after the first two."""

    name = "mlp"
    widths = (64, 128, 64, 10)
    image_shape = (64,)
    scale_axes = None  # one scale a matrix

    def shapes(self):
        of = {}
        for i, (k, n) in enumerate(zip(self.widths, self.widths[1:])):
            of |= {f"norm{i}_gain": (k,), f"fc{i}_weight": (n, k), f"fc{i}_bias": (n,)}
        return of

    def logits(self, weights, x):
        for i in range(3):
            x = x if i == 0 else jax.nn.relu(x)
            x = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + EPS) * weights[f"norm{i}_gain"]
            x = x @ weights[f"fc{i}_weight"].T + weights[f"fc{i}_bias"]
        return x

    def onnx_text(self):
        def norm_and_linear(i, x, y):
            return f"""
                [norm{i}_square] norm{i}_square = Mul({x}, {x})
                [norm{i}_mean] norm{i}_mean = ReduceMean<axes = [-1], keepdims = 1>(norm{i}_square)
                [norm{i}_variance] norm{i}_variance = Add(norm{i}_mean, eps)
                [norm{i}_root] norm{i}_root = Sqrt(norm{i}_variance)
                [norm{i}_unit] norm{i}_unit = Div({x}, norm{i}_root)
                [norm{i}] norm{i}_out = Mul(norm{i}_unit, norm{i}_gain)
                [fc{i}] {y} = Gemm<transB = 1>(norm{i}_out, fc{i}_weight, fc{i}_bias)
            """

        return f"""
            <ir_version: 8, opset_import: ["": 17]>
            mlp (float[batch, 64] x) => (float[batch, 10] logits) <float eps = {{{EPS}}}> {{
                {norm_and_linear(0, "x", "fc0_out")}
                [relu0] relu0_out = Relu(fc0_out)
                {norm_and_linear(1, "relu0_out", "fc1_out")}
                [relu1] relu1_out = Relu(fc1_out)
                {norm_and_linear(2, "relu1_out", "logits")}
            }}
        """


class Cnn:
    """Three 3x3 convolutions (the second strided), ReLU after each, the mean over the image, a linear layer."""

    name = "cnn"
    channels = (1, 32, 64, 64)
    strides = (1, 2, 1)
    image_shape = (1, 8, 8)
    scale_axes = "rows"  # one scale an output channel

    def shapes(self):
        of = {}
        for i, (c, n) in enumerate(zip(self.channels, self.channels[1:])):
            of |= {f"conv{i}_weight": (n, c, 3, 3), f"conv{i}_bias": (n,)}
        return of | {"fc_weight": (10, self.channels[-1]), "fc_bias": (10,)}

    def logits(self, weights, x):
        for i, stride in enumerate(self.strides):
            x = jax.lax.conv(x, weights[f"conv{i}_weight"], (stride, stride), "SAME_LOWER")
            x = jax.nn.relu(x + weights[f"conv{i}_bias"][:, None, None])
        return jnp.mean(x, (2, 3)) @ weights["fc_weight"].T + weights["fc_bias"]

    def onnx_text(self):
        def convolution(i, x):
            stride = self.strides[i]
            attributes = f"kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [{stride}, {stride}]"
            return f"""
                [conv{i}] conv{i}_out = Conv<{attributes}>({x}, conv{i}_weight, conv{i}_bias)
                [relu{i}] relu{i}_out = Relu(conv{i}_out)
            """

        return f"""
            <ir_version: 8, opset_import: ["": 17]>
            cnn (float[batch, 1, 8, 8] x) => (float[batch, 10] logits) {{
                {convolution(0, "x")} {convolution(1, "relu0_out")} {convolution(2, "relu1_out")}
                [pool] pool_out = GlobalAveragePool(relu2_out)
                [flat] flat_out = Flatten(pool_out)
                [fc] logits = Gemm<transB = 1>(flat_out, fc_weight, fc_bias)
            }}
        """


def main():
    flags = arguments()
    train_x, test_x, train_y, test_y = digits()
    flags.output.mkdir(parents=True, exist_ok=True)
    data = {"labels": test_y.astype(np.int64)}
    for model in (Mlp(), Cnn()):
        weights = train(flags, model, train_x.reshape(-1, *model.image_shape), train_y)
        path = flags.output / f"{model.name}.onnx"
        export(model, weights, path)

        inputs = test_x.reshape(-1, *model.image_shape)
        logits = onnxruntime.InferenceSession(path).run(None, {"x": inputs})[0]
        np.testing.assert_allclose(logits, model.logits(weights, inputs), rtol=1e-4, atol=1e-4, equal_nan=False)
        data |= {f"{model.name}.x": inputs, f"{model.name}.logits": logits}
        accuracy = np.mean(logits.argmax(1) == test_y)
        print(f"{model.name}: test accuracy {accuracy:.4f}, {path.stat().st_size} bytes", flush=True)
    np.savez_compressed(flags.output / "data.npz", **data)


def digits():
    """`(train_x, test_x, train_y, test_y)`: images f32 `[n, 64]` from 0 to 1, labels i64 `[n]`."""
    data = load_digits()
    images = (data.data / 16.0).astype(np.float32)
    return train_test_split(images, data.target, test_size=450, random_state=0, stratify=data.target)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000, help="optimizer steps a model")
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--rate", type=float, default=4e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and batches")
    parser.add_argument("--output", type=Path, default=ROOT / "tests/models/digits", help="where the models go")
    return parser.parse_args()


def train(flags, model, images, labels):
    """The weights as they run, ternary where the model is, after Adam with a cosine decay."""
    random = np.random.default_rng(flags.seed)
    optimizer = optax.adam(optax.cosine_decay_schedule(flags.rate, flags.steps))
    parameters = {n: initial(random, n, shape) for n, shape in model.shapes().items()}
    state = optimizer.init(parameters)

    def mean_loss(parameters, x, y):
        logits = model.logits(quantized(model, parameters), x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(parameters, state, x, y):
        updates, state = optimizer.update(jax.grad(mean_loss)(parameters, x, y), state)
        return optax.apply_updates(parameters, updates), state

    for _ in range(flags.steps):
        rows = random.integers(0, len(images), flags.batch)
        parameters, state = step(parameters, state, images[rows], labels[rows])
    return frozen(model, parameters)


def initial(random, name, shape):
    if name.endswith("weight"):
        return jnp.asarray(random.normal(0, np.prod(shape[1:]) ** -0.5, shape), jnp.float32)
    return jnp.ones(shape) if name.endswith("gain") else jnp.zeros(shape)


def scale_axes(model, weight):
    return tuple(range(1, weight.ndim)) if model.scale_axes == "rows" else None


def quantized(model, parameters):
    """The parameters as the forward pass sees them, gradients passing straight through."""
    return {
        n: ternary.quantize(p, scale_axes(model, p)) if n.endswith("weight") else p for n, p in parameters.items()
    }


def frozen(model, parameters):
    """The same as plain arrays, the ternary ones exactly {-s, 0, +s}: no rounding of `w + (s·t - w)`."""
    arrays = {}
    for name, parameter in parameters.items():
        if name.endswith("weight"):
            trits, scale = ternary.split(parameter, scale_axes(model, parameter))
            parameter = trits * scale + 0.0  # no negative zeros
        arrays[name] = np.asarray(parameter)
    return arrays


def export(model, weights, path):
    proto = onnx.parser.parse_model(model.onnx_text())
    proto.producer_name = "trine examples/train"
    proto.graph.initializer.extend(numpy_helper.from_array(w, n) for n, w in weights.items())
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


if __name__ == "__main__":
    main()
