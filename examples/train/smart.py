"""Smart ternary quantization (arXiv 1909.12205): training decides which matrices are binary.

Each matrix has an angle β, learned between π/4 and π/2, and adds to the loss

    R = mean_i min( ||w_i| + μ|^p, ||w_i| - μ|^p, tan β · |w_i|^p ) / μ^p + γ |cot β|        μ = mean |w|,  p = 1

At π/4 the third term makes zero as good a place for a weight as ±μ; towards π/2 it makes zero dear, and the weights
gather at ±μ. γ is the price of being ternary: small ones keep every matrix ternary, large ones make all binary. A
matrix runs binary, {-s, +s}, while β is above 3π/8, half-way. (The first term is the paper's, which lets w have its
sign; for |w| it is never the least, so it is not computed.)
"""

import jax
import jax.numpy as jnp

import ternary

P = 1


def angle(depth):
    """β of the parameter that is trained: 0 is 3π/8."""
    return jnp.pi / 4 * (1.0 + jax.nn.sigmoid(depth))


def split(weight, depth):
    """`(trits, scale)`; a binary matrix has no zeros among its trits."""
    trits, scale = ternary.split(weight)
    return jnp.where(depth > 0, jnp.where(weight < 0, -1.0, 1.0), trits), scale


def regularizer(weight, depth, gamma):
    """`R` of one matrix; it has no unit."""
    w = jnp.abs(weight) / jax.lax.stop_gradient(ternary.scale(weight))
    tan = jnp.tan(angle(depth))
    return jnp.mean(jnp.minimum(jnp.abs(w - 1.0) ** P, tan * w**P)) + gamma / tan
