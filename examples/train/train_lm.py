"""Trains the ternary language model and saves it for `export_lm.py`.

    python3 -m venv target/venv-train
    target/venv-train/bin/pip install -r examples/train/requirements.txt
    taskset -c 0 target/venv-train/bin/python examples/train/train_lm.py

The checkpoint holds what runs, not what trains: int8 trits with one f32 scale a matrix, f32 for the rest.
"""

import argparse
import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tokenizers import Tokenizer

import corpus
import language_model
import ternary

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ["The", "A computer", "Love is", "If you"]


def main():
    flags = arguments()
    config = language_model.Config(int8_activations=flags.int8_activations)
    texts = corpus.fortunes(flags.cache)
    tokenizer = corpus.train_tokenizer(texts, config.vocabulary)
    training, validation = corpus.token_streams(tokenizer, texts)
    parameters = language_model.initialize(config, flags.seed)
    count = sum(p.size for p in parameters.values())
    print(f"{len(texts)} fortunes, {len(training)} training tokens, {count} parameters", flush=True)

    parameters = train(flags, config, parameters, training, validation)
    flags.output.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(flags.output / "tokenizer.json"))
    save(flags.output / "checkpoint.npz", config, parameters)
    for prompt in PROMPTS:
        print(repr(sample(config, parameters, tokenizer, prompt, flags.seed)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10000, help="optimizer steps")
    parser.add_argument("--minutes", type=float, default=25, help="stop (with a full decay) by then")
    parser.add_argument("--batch", type=int, default=6, help="windows a step")
    parser.add_argument("--window", type=int, default=192, help="tokens a window")
    parser.add_argument("--rate", type=float, default=5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights, batches and samples")
    parser.add_argument("--int8-activations", action="store_true", help="also quantize what enters a projection")
    parser.add_argument("--cache", type=Path, default=ROOT / "target/train", help="where downloads go")
    parser.add_argument("--output", type=Path, default=ROOT / "tests/models/lm", help="where the model goes")
    return parser.parse_args()


def train(flags, config, parameters, training, validation):
    """AdamW with a linear warm-up and decay over the part of the budget used, be it steps or minutes."""
    transform = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(b1=0.9, b2=0.98),
        optax.add_decayed_weights(0.01, mask={n: p.ndim > 1 for n, p in parameters.items()}),
    )
    state = transform.init(parameters)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(parameters, state, batch, rate):
        loss, gradients = jax.value_and_grad(partial(mean_loss, config))(parameters, batch)
        updates, state = transform.update(gradients, state, parameters)
        updates = jax.tree.map(lambda u: -rate * u, updates)
        return optax.apply_updates(parameters, updates), state, loss

    evaluate = jax.jit(partial(mean_loss, config))
    random = np.random.default_rng(flags.seed)
    start, recent = time.monotonic(), []
    number = 0
    while True:
        elapsed = (time.monotonic() - start) / 60
        done = max(number / flags.steps, elapsed / flags.minutes)
        if done >= 1:
            break
        rate = flags.rate * min((number + 1) / 100, 1 - done)
        offsets = random.integers(0, len(training) - flags.window - 1, flags.batch)
        batch = np.stack([training[o : o + flags.window + 1] for o in offsets])
        parameters, state, loss = step(parameters, state, batch, rate)
        recent.append(loss)
        number += 1
        if number % 100 == 0:
            mean = np.mean(jax.device_get(recent))
            recent.clear()
            print(f"step {number}  loss {mean:.3f}  rate {rate:.5f}  {elapsed:.1f} min", flush=True)

    usable = len(validation) // (flags.window + 1) * (flags.window + 1)
    windows = validation[:usable].reshape(-1, flags.window + 1)
    rows = len(windows) // flags.batch * flags.batch
    losses = [evaluate(parameters, part) for part in np.split(windows[:rows], rows // flags.batch)]
    print(f"validation loss {np.mean(losses):.3f} a token after {number} steps", flush=True)
    return parameters


def mean_loss(config, parameters, batch):
    """Cross entropy, in nats a token, of predicting `batch[:, 1:]` from `batch[:, :-1]`."""
    weights = language_model.quantized(parameters)
    predicted = language_model.logits(config, weights, batch[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(predicted, batch[:, 1:]).mean()


def save(path, config, parameters):
    arrays = {"config": np.array(json.dumps(asdict(config)))}
    for name, parameter in parameters.items():
        if language_model.is_ternary(name):
            trits, scale = ternary.split(parameter)
            arrays[f"{name}.trits"] = np.asarray(trits, np.int8)
            arrays[f"{name}.scale"] = np.asarray(scale, np.float32)
        else:
            arrays[name] = np.asarray(parameter)
    np.savez_compressed(path, **arrays)


def sample(config, parameters, tokenizer: Tokenizer, prompt, seed, length=128, temperature=0.7):
    """`prompt` and what the model says after it, drawn at `temperature`."""
    forward = jax.jit(partial(language_model.logits, config))
    weights = language_model.quantized(parameters)
    end = tokenizer.token_to_id(corpus.END)
    ids = tokenizer.encode(prompt).ids
    key = jax.random.key(seed)
    while len(ids) < length:
        padded = jnp.array([ids + [end] * (length - len(ids))])
        key, draw = jax.random.split(key)
        chosen = jax.random.categorical(draw, forward(weights, padded)[0, len(ids) - 1] / temperature)
        if chosen == end:
            break
        ids.append(int(chosen))
    return tokenizer.decode(ids)


if __name__ == "__main__":
    main()
