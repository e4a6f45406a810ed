"""Ternary weights that can be trained: absmean quantization with a straight-through gradient.

BitNet b1.58 (Ma et al., 2024): a weight `w` runs as `s · t`, where `s` is the mean of `|w|` and
`t = clip(round(w / s), -1, 1)`. The optimizer keeps `w` in f32 and sees the gradient of `s · t` as
if it were the gradient of `w`.
"""

import jax
import jax.numpy as jnp

EPS = 1e-6


def scale(weight, axes=None):
    """The absmean scale of a weight: over the whole of it, or over `axes` (one scale per other index)."""
    return jnp.mean(jnp.abs(weight), axis=axes, keepdims=axes is not None) + EPS


def split(weight, axes=None):
    """`(trits, scale)`: trits are -1, 0 or +1 in the shape of `weight`, and `trits · scale` runs."""
    s = scale(weight, axes)
    return jnp.clip(jnp.round(weight / s), -1.0, 1.0), s


def quantize(weight, axes=None):
    """`trits · scale` in the forward pass, the identity in the backward pass."""
    trits, s = split(weight, axes)
    return straight_through(weight, trits * s)


def straight_through(weight, value):
    """`value` in the forward pass; in the backward pass its gradient is that of `weight`."""
    return weight + jax.lax.stop_gradient(value - weight)


def quantize_activations(x):
    """int8 absmax quantize-dequantize of each row, with the same straight-through gradient."""
    s = 127.0 / jnp.maximum(jnp.max(jnp.abs(x), axis=-1, keepdims=True), 1e-5)
    return straight_through(x, jnp.round(x * s) / s)
