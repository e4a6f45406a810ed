"""Gradual quantization, layer by layer (arXiv 2505.08823): `w_run = (1 - λ) w + λ s·t`.

Of L layers, layer l has

    λ_l = clip(L · done / RAMP - l, 0, 1)        done: the share of the training that is over, from 0 to 1

so a layer turns ternary when those before it are, each later layer sees what they have become, and what is left after
RAMP trains the whole as it will run. At the end every λ is exactly 1.
"""

import jax.numpy as jnp

RAMP = 0.5


def share(layer, layers, done):
    """λ of layer number `layer` of `layers`."""
    return jnp.clip(layers * done / RAMP - layer, 0.0, 1.0)
