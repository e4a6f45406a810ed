"""HitNet's two quantizers (Wang et al., NeurIPS 2018): weights by a threshold, states by chance.

Weights are dense around zero, so a threshold keeps the large ones: t = sign(w)·1[|w| > 0.7·mean|w|], and s is the
mean of those |w|. States lie in [-1, 1], often near the ends; a state `h` becomes sign(h)·B(|h|), with B(p) one with
chance p: its expectation is `h`. What is exported draws nothing, and takes the likelier value:

    sign(h)·1[|h| > 1/2] = round(h)        half-way goes to zero, in numpy as in ONNX

Gradients pass straight through both.
"""

import jax
import jax.numpy as jnp

import ternary

THRESHOLD = 0.7


def split(weight):
    """`(trits, scale)` of a matrix."""
    magnitude = jnp.abs(weight)
    kept = magnitude > THRESHOLD * jnp.mean(magnitude)
    return jnp.sign(weight) * kept, jnp.sum(magnitude * kept) / jnp.sum(kept)


def quantize(weight):
    """`trits · scale` in the forward pass, the identity in the backward pass."""
    trits, scale = split(weight)
    return ternary.straight_through(weight, trits * scale)


def drawn(state, key):
    """`sign(h)·B(|h|)`."""
    draws = jax.random.bernoulli(key, jnp.abs(state)).astype(state.dtype)
    return ternary.straight_through(state, jnp.sign(state) * draws)


def rounded(state):
    """`sign(h)·1[|h| > 1/2]`."""
    return ternary.straight_through(state, jnp.round(state))
