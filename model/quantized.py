"""Weights kept in fewer bits for writing text: bfloat16, or int8 with a scale for each output.

    kernel[i, o] = scale[o] * q[i, o],   q in -127 ... 127,   scale[o] = max over i of |kernel[i, o]| / 127

Only weights are rounded: products are taken in the type of the activations, and the scale is multiplied in afterwards.
Reference: Dettmers et al., arXiv:2208.07339, section 2.1 (vector-wise absmax; there for activations too).
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Int8

from model.linear import Embedding, Linear, project

Weights = Literal["float32", "bfloat16", "int8"]


def quantize(weights: Float[Array, "..."], summed: int) -> tuple[Int8[Array, "..."], Float[Array, "..."]]:
    """Round weights to int8; their first `summed` axes share a scale.

    >>> q, scale = quantize(jnp.array([[1.0, -8.0], [2.0, 4.0]]), 1)
    >>> q.tolist(), (scale * 127).tolist()
    ([[64, -127], [127, 64]], [2.0, 8.0])
    """
    axes = tuple(range(summed))
    scale = jnp.abs(weights).max(axes) / 127.0
    wide = jnp.expand_dims(jnp.where(scale > 0, scale, 1.0), axes)
    return jnp.round(weights / wide).astype(jnp.int8), scale.astype(jnp.float32)


class QuantizedLinear(Linear):
    """A Linear whose kernel is int8. What is added to the map stays as it is."""

    def __init__(self, linear: Linear):
        kernel, scale = quantize(linear.kernel[...], linear.contracted)
        self.contracted = linear.contracted
        self.kernel, self.scale, self.bias = nnx.Param(kernel), nnx.Param(scale), linear.bias
        if linear.tuned is not None:
            self.tuned = linear.tuned
            setattr(self, linear.tuned, getattr(linear, linear.tuned))

    def full_kernel(self) -> Float[Array, "..."]:
        """The kernel in floating point."""
        scale = self.scale[...]
        return self.kernel[...].astype(scale.dtype) * scale.reshape((1,) * self.contracted + scale.shape)

    def plain(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The map itself, whatever is added to it."""

        # Converted once more in the backward pass, where there is one: kept, all kernels would lie in memory in full.
        @jax.checkpoint
        def multiply(x: Array, kernel: Array) -> Array:
            return project(x, kernel.astype(x.dtype), None, self.contracted)

        y = multiply(x, self.kernel[...])
        y = y * self.scale[...].astype(x.dtype).reshape((1,) * (y.ndim - self.scale.ndim) + self.scale.shape)
        if self.bias is None:
            return y
        return y + self.bias[...].reshape((1,) * (y.ndim - self.bias.ndim) + self.bias.shape)


class QuantizedEmbedding(Embedding):
    """An Embedding whose rows are int8, with a scale for each."""

    def __init__(self, table: Embedding):
        rows, scale = quantize(table.embedding[...].T, 1)
        self.embedding, self.scale = nnx.Param(rows.T), nnx.Param(scale)

    @property
    def dtype(self) -> Any:
        """The type of the vectors that it gives."""
        return jnp.float32

    def __call__(self, ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        rows, scale = jnp.take(self.embedding[...], ids, axis=0), jnp.take(self.scale[...], ids)
        return rows.astype(jnp.float32) * scale[..., None]

    def attend(self, x: Float[Array, "B K D"], bias: Float[Array, " V"] | None = None) -> Float[Array, "B K V"]:
        """Scores of every row for each vector of `x`, plus `bias`, in float32."""
        scores = jnp.einsum("BKD,VD->BKV", x, self.embedding[...].astype(x.dtype), preferred_element_type=jnp.float32)
        scores = scores * self.scale[...][None, None]
        return scores if bias is None else scores + bias[None, None]


def cast(model: nnx.Module, weights: Weights | None) -> None:
    """Bring the weights of a model whose layers are apart to another type, in place."""
    if weights == "int8":
        for _, module in list(nnx.iter_modules(model)):
            for name, child in list(vars(module).items()):
                if type(child) is Linear:
                    setattr(module, name, QuantizedLinear(child))
                elif type(child) is Embedding:
                    setattr(module, name, QuantizedEmbedding(child))
    elif weights is not None:
        state = jax.tree.map(
            lambda leaf: leaf.astype(weights) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, nnx.state(model)
        )
        nnx.update(model, state)
