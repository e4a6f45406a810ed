"""Tequila (arXiv 2509.23809): weights that ternarization zeroes live on as a bias.

A weight whose trit is 0 hardly learns: its own gradient says nothing until it leaves the dead zone. Here it also
adds to a constant of its output,

    y_j = Σ_i s·t_ji x_i + C_j        C_j = λ Σ_{i: t_ji = 0} w_ji

so the gradient of C_j reaches it directly. λ starts at 1e-3 and is learned, one a matrix. When training ends, C is an
ordinary bias: one addition an output, whatever the weights.
"""

import jax.numpy as jnp

FIRST = 1e-3


def bias(weight, trits, reactivation):
    """`C`, f32 `[out]`, of weights and trits `[out, in]`; `reactivation` is λ."""
    return reactivation * jnp.sum(jnp.where(trits == 0, weight, 0.0), axis=1)
