"""Hyperspherical loss (arXiv 2212.12649): weights are drawn to the directions that trits can take.

On the unit sphere a weight `w` and its trits `t` are an angle apart, and `1 - cos²(w, t)` is what ternarization
loses: the least `‖w - s·t‖² / ‖w‖²` over all scales `s`. It has no unit and lies between 0 and 1.
"""

import jax.numpy as jnp


def distance(weight, trits):
    """`1 - cos²` of the angle between a weight and its trits, which are constants."""
    return 1.0 - jnp.sum(weight * trits) ** 2 / (jnp.sum(weight**2) * jnp.sum(trits**2))
