"""Trains a small language model, ternary in one of several ways or f32, and saves it for `export_lm.py`.

    python3 examples/train/run.py train_lm.py                            # straight-through ternary weights
    python3 examples/train/run.py train_lm.py --tequila --gradual        # methods combine
    python3 examples/train/run.py train_lm.py --table --minutes 3        # what norms and λ do, in a table

The checkpoint holds what runs, not what trains: int8 trits with one f32 scale a matrix, f32 for the rest. The loss
printed last is that of what runs, on text that was held out.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tokenizers import Tokenizer

import corpus
import fortunes
import language_model
from method import Method

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ["The", "A computer", "Love is", "If you"]


def main(argv=None):
    """Trains as the flags say; returns the held-out loss, in nats a token."""
    flags = arguments(argv)
    texts = corpus.paragraphs(flags.text) if flags.text else fortunes.texts(flags.cache)
    config = language_model.Config(
        layers=flags.layers,
        int8_activations=flags.int8_activations,
        sub_norms=not flags.no_norm,
        activation=flags.activation,
    )
    method = Method(flags.weights == "ternary", flags.tequila, flags.gradual, flags.hypersphere, flags.smart)
    tokenizer = corpus.train_tokenizer(texts, config.vocabulary)
    training, validation = corpus.token_streams(tokenizer, texts)
    print(f"{len(texts)} texts, {len(training)} training tokens", flush=True)
    if flags.table:
        print_table(flags, config, method, training, validation)
        return None

    weights, loss = train(flags, config, method, training, validation)
    flags.output.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(flags.output / "tokenizer.json"))
    np.savez_compressed(flags.output / "checkpoint.npz", config=np.array(json.dumps(asdict(config))), **weights)
    for prompt in PROMPTS[: flags.samples]:
        print(repr(sample(config, dense(weights), tokenizer, prompt, flags.seed)))
    return loss


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10000, help="optimizer steps")
    parser.add_argument("--minutes", type=float, default=25, help="stop (with a full decay) by then")
    parser.add_argument("--batch", type=int, default=6, help="windows a step")
    parser.add_argument("--window", type=int, default=192, help="tokens a window")
    parser.add_argument("--rate", type=float, default=5e-3, help="peak learning rate")
    parser.add_argument("--layers", type=int, default=4, help="layers of the model")
    parser.add_argument("--activation", choices=language_model.ACTIVATIONS, default="relu2", help="of the gates")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights, batches and samples")
    parser.add_argument("--samples", type=int, default=len(PROMPTS), help="how many texts to print at the end")
    parser.add_argument("--text", type=Path, metavar="FILE", help="train on its paragraphs, not on fortunes")
    parser.add_argument("--cache", type=Path, default=fortunes.CACHE, help="where downloads go")
    parser.add_argument("--output", type=Path, default=ROOT / "tests/models/lm", help="where the model goes")
    how = parser.add_argument_group("how weights become ternary")
    how.add_argument("--weights", choices=["ternary", "f32"], default="ternary", help="f32: nothing is quantized")
    how.add_argument("--int8-activations", action="store_true", help="also quantize what enters a projection")
    how.add_argument("--tequila", action="store_true", help="weights rounded to zero add to a bias")
    how.add_argument("--gradual", action="store_true", help="from f32 to ternary layer by layer")
    how.add_argument("--no-norm", action="store_true", help="no extra norms before o_proj and down_proj")
    how.add_argument("--hypersphere", type=float, default=0.0, metavar="C", help="C times the angular distance")
    how.add_argument("--smart", type=float, metavar="GAMMA", help="binary or ternary, for a price of GAMMA")
    how.add_argument("--table", action="store_true", help="train with and without norms and --gradual, save nothing")
    flags = parser.parse_args(argv)

    quantizing = ["int8_activations", "tequila", "gradual", "hypersphere", "smart", "table"]
    used = [name for name in quantizing if getattr(flags, name) != parser.get_default(name)]
    if flags.weights == "f32" and used:
        used = ", ".join(f"--{name.replace('_', '-')}" for name in used)
        parser.error(f"{used}: nothing is quantized with --weights f32")
    if flags.table and (flags.gradual or flags.no_norm):
        parser.error("--table tries --gradual and --no-norm itself")
    if flags.hypersphere < 0 or (flags.smart or 0) < 0:
        parser.error("--hypersphere and --smart take numbers that are not negative")
    return flags


def print_table(flags, config, method, training, validation):
    """The held-out losses of {extra norms} × {λ}, after equal budgets."""
    rows = ["| | λ = 1 throughout | λ from 0 to 1 by layer |", "|---|---|---|"]
    for name, sub_norms in [("with extra norms", True), ("without", False)]:
        shape = replace(config, sub_norms=sub_norms)
        methods = [replace(method, gradual=gradual) for gradual in (False, True)]
        losses = [train(flags, shape, m, training, validation)[1] for m in methods]
        rows.append(f"| {name} | {losses[0]:.3f} | {losses[1]:.3f} |")
    print("\n".join(rows))


def train(flags, config, method, training, validation):
    """AdamW with a linear warm-up and decay over the part of the budget used, be it steps or minutes.

    Returns the weights as `Method.frozen` gives them, and their held-out loss.
    """
    parameters = language_model.initialize(config, flags.seed)
    parameters |= method.parameters([n for n in parameters if language_model.is_projection(n)])
    print(f"{method}, {sum(p.size for p in parameters.values())} parameters", flush=True)
    transform = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(b1=0.9, b2=0.98),
        optax.add_decayed_weights(0.01, mask={n: p.ndim > 1 for n, p in parameters.items()}),
    )
    state = transform.init(parameters)

    def objective(parameters, batch, done):
        loss = mean_loss(config, method.weights(parameters, config.layers, done), batch)
        # From nothing to all of it: trits that are held where they began learn little.
        return loss + done * method.penalty(parameters), loss

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(parameters, state, batch, done, rate):
        gradients, loss = jax.grad(objective, has_aux=True)(parameters, batch, done)
        updates, state = transform.update(gradients, state, parameters)
        updates = jax.tree.map(lambda u: -rate * u, updates)
        return optax.apply_updates(parameters, updates), state, loss

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
        parameters, state, loss = step(parameters, state, batch, done, rate)
        recent.append(loss)
        number += 1
        if number % 100 == 0:
            mean = np.mean(jax.device_get(recent))
            recent.clear()
            print(f"step {number}  loss {mean:.3f}  rate {rate:.5f}  {elapsed:.1f} min", flush=True)

    weights = method.frozen(parameters)
    if method.smart is not None:
        binary = [n.removesuffix(".trits") for n, t in weights.items() if n.endswith(".trits") and t.all()]
        print(f"{len(binary)} binary projections: {', '.join(binary) or 'none'}")
    loss = held_out_loss(config, dense(weights), held_out(validation, flags.window), flags.batch)
    print(f"held-out loss {loss:.5f} nats a token after {number} steps", flush=True)
    return weights, loss


def mean_loss(config, weights, batch):
    """Cross entropy, in nats a token, of predicting `batch[:, 1:]` from `batch[:, :-1]`."""
    predicted = language_model.logits(config, weights, batch[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(predicted, batch[:, 1:]).mean()


def held_out(validation, window):
    """The windows of a stream: `i32[windows, window + 1]`, the first of each given, the others predicted."""
    usable = len(validation) // (window + 1) * (window + 1)
    return validation[:usable].reshape(-1, window + 1)


def held_out_loss(config, weights, windows, batch):
    evaluate = jax.jit(partial(mean_loss, config))
    parts = [windows[i : i + batch] for i in range(0, len(windows), batch)]
    return float(sum(evaluate(weights, part) * len(part) for part in parts) / len(windows))


def dense(weights):
    """Frozen weights as `language_model.logits` takes them: `s · t` for a ternary one."""
    run = {name: w for name, w in weights.items() if not name.endswith((".trits", ".scale"))}
    for name in (n.removesuffix(".trits") for n in weights if n.endswith(".trits")):
        run[name] = weights[f"{name}.trits"].astype(np.float32) * weights[f"{name}.scale"]
    return run


def sample(config, weights, tokenizer: Tokenizer, prompt, seed, length=128, temperature=0.7):
    """`prompt` and what the model says after it, drawn at `temperature`."""
    forward = jax.jit(partial(language_model.logits, config))
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
