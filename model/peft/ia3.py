"""IA3: activations multiplied by a trained vector, three for each layer."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt32

from model.linear import Linear
from model.peft.sites import find, hang


@dataclasses.dataclass(frozen=True)
class IA3:
    """y = l * (W x + b), or y = W (l * x) + b, with l trained from ones (Liu et al., arXiv:2205.05638, section 3.3)."""

    sites: str = "*.attention.key,*.attention.value,*.mlp.down"
    """Linear maps by pattern, separated by commas."""
    inputs: str = "*.mlp.down"
    """Those of them whose inputs are multiplied, and not their outputs: in the paper, what is inside the feed-forward half."""

    def tune(self, model: nnx.Module, rngs: nnx.Rngs) -> None:
        """Hang it on the linear maps of a model, in place."""
        inward = {found.path for found in find(model, self.inputs, Linear)} if self.inputs else set()
        for found in find(model, self.sites, Linear):
            before = found.path in inward
            hang(found, lambda linear, key, on, name, before=before: Rescaling(linear, on, before), rngs)


class Rescaling(nnx.Module):
    """The vector l of a linear map, over its inputs or over its outputs."""

    word = "ia3"

    def __init__(self, linear: Linear, on: Float[Array, ""], before: bool):
        shape, cut = linear.full_kernel().shape, linear.contracted
        self.inputs = nnx.Param(jnp.ones(shape[:cut], jnp.float32)) if before else None
        self.outputs = None if before else nnx.Param(jnp.ones(shape[cut:], jnp.float32))
        self.scale = nnx.Param(on)

    def __call__(
        self, linear: Linear, x: Float[Array, "..."], dropout_keys: UInt32[Array, " B"] | None
    ) -> Float[Array, "..."]:
        if self.inputs is not None:
            return linear.plain(x * spread(self.factor(), x))
        y = linear.plain(x)
        return y * spread(self.factor(), y)

    def factor(self) -> Float[Array, "..."]:
        """l; ones where this does not act."""
        vector = self.outputs if self.inputs is None else self.inputs
        assert vector is not None
        return 1.0 + self.scale[...] * (vector[...] - 1.0)

    def merged(self, linear: Linear) -> dict[str, Any]:
        """The parameters of the map that does the same."""
        kernel, factor = linear.full_kernel(), self.factor()
        if self.inputs is not None:
            return {"kernel": kernel * factor.reshape(factor.shape + (1,) * (kernel.ndim - factor.ndim))}
        scaled = {} if linear.bias is None else {"bias": linear.bias[...] * factor}
        return {"kernel": kernel * spread(factor, kernel), **scaled}


def spread(vector: Float[Array, "..."], like: Float[Array, "..."]) -> Float[Array, "..."]:
    """A vector over the last axes of `like`, with its rank and its type."""
    return vector.astype(like.dtype).reshape((1,) * (like.ndim - vector.ndim) + vector.shape)
