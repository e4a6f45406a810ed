"""Trains HitNet, a recurrent network with ternary weights and states, on the rows of digits, and exports it as ONNX.

    python3 examples/train/run.py train_rnn.py                      # a GRU
    python3 examples/train/run.py train_rnn.py --cell lstm --state f32 --output lstm.onnx

The loss and the accuracy printed are those of the network that is exported: states rounded, nothing drawn.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import hitnet
import recurrent_network
from recurrent_network import Ternary, dense
from train_digits import digits

ROOT = Path(__file__).resolve().parents[2]


def main(argv=None):
    """Trains and exports as the flags say; returns the test loss, in nats an image, and the accuracy."""
    flags = arguments(argv)
    train_x, test_x, train_y, test_y = digits()
    weights = train(flags, train_x, train_y)
    logits = run(flags, {name: dense(w) for name, w in weights.items()}, test_x)
    loss = float(optax.softmax_cross_entropy_with_integer_labels(logits, test_y).mean())
    accuracy = float(jnp.mean(logits.argmax(1) == test_y))
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    recurrent_network.export(flags.output, flags.cell, flags.slope, weights, flags.state != "f32")
    size = flags.output.stat().st_size
    print(f"{flags.cell}: test accuracy {accuracy:.4f}, loss {loss:.5f} nats an image, {size} bytes", flush=True)
    return loss, accuracy


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", choices=recurrent_network.GATES, default="gru", help="what recurs")
    parser.add_argument("--width", type=int, default=64, help="values of the state")
    parser.add_argument("--weights", choices=["ternary", "f32"], default="ternary", help="f32: not quantized")
    parser.add_argument(
        "--state",
        choices=["bernoulli", "rounded", "f32"],
        default="bernoulli",
        help="drawn in training and rounded when exported, rounded in both, or not quantized",
    )
    parser.add_argument("--slope", type=float, default=2.0, help="λ of the gates' σ(λz)")
    parser.add_argument("--steps", type=int, default=3000, help="optimizer steps")
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--rate", type=float, default=4e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights, batches and draws")
    output = ROOT / "tests/models/digits/hitnet.onnx"
    parser.add_argument("--output", type=Path, default=output, metavar="FILE", help="where the model goes")
    return parser.parse_args(argv)


def run(flags, weights, x, key=None):
    """The logits of images; states are drawn where there is a key."""

    def quantize(h, t):
        if flags.state == "f32":
            return h
        return hitnet.rounded(h) if key is None else hitnet.drawn(h, jax.random.fold_in(key, t))

    return recurrent_network.logits(flags.cell, flags.slope, weights, x, quantize)


def train(flags, images, labels):
    """The weights as they run, after Adam with a cosine decay."""
    random, key = np.random.default_rng(flags.seed), jax.random.key(flags.seed)
    optimizer = optax.adam(optax.cosine_decay_schedule(flags.rate, flags.steps))
    parameters = {}
    for name, shape in recurrent_network.shapes(flags.cell, flags.width).items():
        deviation = shape[1] ** -0.5 if len(shape) == 2 else 0
        parameters[name] = jnp.asarray(random.normal(0, deviation, shape), jnp.float32)
    state = optimizer.init(parameters)

    def is_ternary(name):
        return flags.weights == "ternary" and name.endswith("_weight")

    def mean_loss(parameters, x, y, key):
        weights = {n: hitnet.quantize(p) if is_ternary(n) else p for n, p in parameters.items()}
        logits = run(flags, weights, x, key if flags.state == "bernoulli" else None)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(parameters, state, x, y, key):
        updates, state = optimizer.update(jax.grad(mean_loss)(parameters, x, y, key), state)
        return optax.apply_updates(parameters, updates), state

    for number in range(flags.steps):
        rows = random.integers(0, len(images), flags.batch)
        draws = jax.random.fold_in(key, number)
        parameters, state = step(parameters, state, images[rows], labels[rows], draws)

    return {n: frozen(p) if is_ternary(n) else np.asarray(p) for n, p in parameters.items()}


def frozen(parameter):
    trits, scale = hitnet.split(parameter)
    return Ternary(np.asarray(trits, np.int8), np.float32(scale))


if __name__ == "__main__":
    main()
