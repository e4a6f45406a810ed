"""How trained parameters become the weights that run, as the flags of `train_lm.py` say.

Each projection `w` runs as `(1 - λ) w + λ s·t`, perhaps with a bias. Where `s·t` comes from, which λ and which bias
are the flags' choice; gradients pass straight through to `w`. Every method ends at `s·t`, so every model compiles to
the same kernels.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

import gradual
import hypersphere
import smart
import tequila
import ternary
from language_model import is_projection


@dataclass(frozen=True)
class Method:
    # Without it weights stay f32, and nothing below applies.
    ternary: bool = True
    tequila: bool = False
    gradual: bool = False
    # What the hyperspherical distance weighs in the loss.
    hypersphere: float = 0.0
    # γ of smart ternary quantization; `None` keeps every projection ternary.
    smart: float | None = None

    def parameters(self, names):
        """What is trained beside the weights of the projections `names`: a scalar each."""
        extra = {}
        for name in names:
            if self.tequila:
                extra[f"{name}.reactivation"] = jnp.float32(tequila.FIRST)
            if self.smart is not None:
                extra[f"{name}.depth"] = jnp.float32(0)
        return extra

    def split(self, parameters, name):
        """`(trits, scale)` of a projection."""
        if self.smart is None:
            return ternary.split(parameters[name])
        return smart.split(parameters[name], parameters[f"{name}.depth"])

    def weights(self, parameters, layers, done):
        """What `language_model.logits` takes when the share `done` of the training is over."""
        run = {name: p for name, p in parameters.items() if not is_projection(name)}
        for name in filter(is_projection, parameters):
            run[name] = weight = parameters[name]
            if not self.ternary:
                continue
            trits, scale = self.split(parameters, name)
            share = gradual.share(layer_of(name), layers, done) if self.gradual else 1.0
            run[name] = ternary.straight_through(weight, (1.0 - share) * weight + share * trits * scale)
            if self.tequila:
                run[f"{name}.bias"] = share * tequila.bias(weight, trits, parameters[f"{name}.reactivation"])
        return run

    def penalty(self, parameters):
        """What is added to the loss: the mean over all projections."""
        terms = []
        for name in filter(is_projection, parameters):
            if self.hypersphere:
                terms.append(self.hypersphere * hypersphere.distance(parameters[name], self.split(parameters, name)[0]))
            if self.smart is not None:
                terms.append(smart.regularizer(parameters[name], parameters[f"{name}.depth"], self.smart))
        return sum(terms) / max(1, sum(map(is_projection, parameters)))

    def frozen(self, parameters):
        """What runs, as plain arrays: int8 trits and one f32 scale for a ternary matrix, f32 for the rest."""
        arrays = {}
        for name, parameter in parameters.items():
            if name.endswith((".reactivation", ".depth")):
                continue
            if not is_projection(name) or not self.ternary:
                arrays[name] = np.asarray(parameter)
                continue
            trits, scale = self.split(parameters, name)
            arrays[f"{name}.trits"] = np.asarray(trits, np.int8)
            arrays[f"{name}.scale"] = np.asarray(scale, np.float32)
            if self.tequila:
                bias = tequila.bias(parameter, trits, parameters[f"{name}.reactivation"])
                arrays[f"{name}.bias"] = np.asarray(bias, np.float32)
        return arrays


def layer_of(name):
    """3 of `layers.3.mlp.up_proj`."""
    return int(name.split(".")[1])
