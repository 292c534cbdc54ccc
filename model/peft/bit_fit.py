"""BitFit: only biases are trained."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model.linear import Linear
from model.norms import Norm
from model.peft.ia3 import spread
from model.peft.sites import find, hang


@dataclasses.dataclass(frozen=True)
class BitFit:
    """y = W x + b + d, with d trained from zero (Ben Zaken et al., arXiv:2106.10199).

    The paper trains b itself. Apart from it, d takes the same steps, and the base stays as it was.
    """

    sites: str = "*"
    """Linear maps and norms by pattern, separated by commas; those without a bias are passed over."""

    def tune(self, model: nnx.Module, rngs: nnx.Rngs) -> None:
        """Hang it on the biases of a model, in place."""
        for found in find(model, self.sites, (Linear, Norm), lambda module: getattr(module, "bias", None) is not None):
            hang(found, lambda module, key, on, name: Shift(module, on), rngs)


class Shift(nnx.Module):
    """What is added to a bias."""

    word = "shift"

    def __init__(self, module: Linear | Norm, on: Float[Array, ""]):
        assert module.bias is not None
        self.bias, self.scale = nnx.Param(jnp.zeros(module.bias.shape, jnp.float32)), nnx.Param(on)

    def __call__(self, module: Linear | Norm, x: Float[Array, "..."], dropout_keys: Any) -> Float[Array, "..."]:
        y = module.plain(x)
        return y + spread(self.bias[...] * self.scale[...], y)

    def merged(self, module: Linear | Norm) -> dict[str, Any]:
        """The bias of the module that does the same."""
        assert module.bias is not None
        return {"bias": module.bias[...] + self.bias[...] * self.scale[...]}
