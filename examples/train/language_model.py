"""A BitNet-b1.58-style decoder: every projection may be ternary, RMSNorm before each linear layer.

Per layer, with `bit` a projection, by a ternary matrix unless the training says otherwise:

    x += bit_o(sub(attention(rope(bit_q(h)), rope(bit_k(h)), bit_v(h))))        h = norm(x)
    x += bit_down(sub(act(bit_gate(h)) · bit_up(h)))                            h = norm(x)

`sub` is the extra norm that ternary weights are given (arXiv 2505.08823), and `act(g)` is relu(g)². Without `sub` and
with g·sigmoid(g) this is an ordinary Llama. Embeddings (tied with the output head) and the gains of the norms stay
f32. Weights are kept as `[out, in]`, named as Hugging Face's BitNet names them.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import ternary

ACTIVATIONS = {"relu2": lambda x: jnp.square(jax.nn.relu(x)), "silu": jax.nn.silu}


@dataclass(frozen=True)
class Config:
    vocabulary: int = 512
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head: int = 32
    ffn: int = 288
    eps: float = 1e-5
    rope_theta: float = 10000.0
    int8_activations: bool = False
    sub_norms: bool = True
    activation: str = "relu2"


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Name and shape of each parameter; the two-dimensional ones of the layers are the projections."""
    wide, narrow = config.heads * config.head, config.kv_heads * config.head
    of = {"embed_tokens": (config.vocabulary, config.hidden), "norm": (config.hidden,)}
    for i in range(config.layers):
        at = f"layers.{i}"
        of |= {
            f"{at}.input_layernorm": (config.hidden,),
            f"{at}.self_attn.q_proj": (wide, config.hidden),
            f"{at}.self_attn.k_proj": (narrow, config.hidden),
            f"{at}.self_attn.v_proj": (narrow, config.hidden),
            f"{at}.self_attn.attn_sub_norm": (wide,),
            f"{at}.self_attn.o_proj": (config.hidden, wide),
            f"{at}.post_attention_layernorm": (config.hidden,),
            f"{at}.mlp.gate_proj": (config.ffn, config.hidden),
            f"{at}.mlp.up_proj": (config.ffn, config.hidden),
            f"{at}.mlp.ffn_sub_norm": (config.ffn,),
            f"{at}.mlp.down_proj": (config.hidden, config.ffn),
        }
    return {name: shape for name, shape in of.items() if config.sub_norms or not name.endswith("sub_norm")}


def is_projection(name: str) -> bool:
    return name.endswith("_proj")


def initialize(config: Config, seed: int) -> dict[str, jax.Array]:
    random = np.random.default_rng(seed)
    parameters = {}
    for name, shape in shapes(config).items():
        if len(shape) == 1:
            parameters[name] = jnp.ones(shape)
        else:
            deviation = shape[1] ** -0.5 if is_projection(name) else 0.05
            parameters[name] = jnp.asarray(random.normal(0, deviation, shape), jnp.float32)
    return parameters


def logits(config: Config, weights: dict[str, jax.Array], tokens: jax.Array) -> jax.Array:
    """`i32[batch, seq]` → `f32[batch, seq, vocabulary]`, each position seeing itself and those before.

    `weights` are as they run; a projection may have a bias, `<name>.bias`.
    """
    batch, seq = tokens.shape
    cos, sin = rotary_tables(config, seq)
    causal = jnp.where(jnp.tril(jnp.ones((seq, seq), bool)), 0.0, -1e9)
    groups = config.heads // config.kv_heads

    def norm(x, name):
        if name not in weights:  # a sub-norm, where there are none
            return x
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + config.eps) * weights[name]

    def project(x, name):
        if config.int8_activations:
            x = ternary.quantize_activations(x)
        return x @ weights[name].T + weights.get(f"{name}.bias", 0.0)

    def split_heads(x):
        return x.reshape(batch, seq, -1, config.head).transpose(0, 2, 1, 3)

    def rotate(x):
        left, right = jnp.split(x, 2, axis=-1)
        return x * cos + jnp.concatenate([-right, left], -1) * sin

    def attention(h, at):
        q = rotate(split_heads(project(h, f"{at}.q_proj")))
        k = rotate(split_heads(project(h, f"{at}.k_proj")))
        v = split_heads(project(h, f"{at}.v_proj"))
        k, v = jnp.repeat(k, groups, axis=1), jnp.repeat(v, groups, axis=1)
        scores = q @ k.transpose(0, 1, 3, 2) * config.head**-0.5 + causal
        mixed = (jax.nn.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(batch, seq, -1)
        return project(norm(mixed, f"{at}.attn_sub_norm"), f"{at}.o_proj")

    def feed_forward(h, at):
        gated = ACTIVATIONS[config.activation](project(h, f"{at}.gate_proj")) * project(h, f"{at}.up_proj")
        return project(norm(gated, f"{at}.ffn_sub_norm"), f"{at}.down_proj")

    x = weights["embed_tokens"][tokens]
    for i in range(config.layers):
        at = f"layers.{i}"
        x = x + attention(norm(x, f"{at}.input_layernorm"), f"{at}.self_attn")
        x = x + feed_forward(norm(x, f"{at}.post_attention_layernorm"), f"{at}.mlp")
    return norm(x, "norm") @ weights["embed_tokens"].T


def rotary_tables(config: Config, positions: int) -> tuple[jax.Array, jax.Array]:
    """`cos` and `sin` of `f32[positions, head]`: each half of a head turns by the same angles."""
    frequencies = config.rope_theta ** (-np.arange(0, config.head, 2) / config.head)
    angles = np.outer(np.arange(positions), frequencies)
    angles = np.concatenate([angles, angles], -1).astype(np.float32)
    return jnp.cos(angles), jnp.sin(angles)
