"""Normalisation of the residual stream: layer norm and RMS norm, statistics in float32."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model.capture import tap


@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """Zero mean and unit variance, then a scale and a bias (Ba et al., arXiv:1607.06450)."""

    epsilon: float = 1e-12
    """Added to the variance. BERT's is 1e-12; 1e-5 is common elsewhere."""
    bias: bool = True
    """Whether a bias is added."""


@dataclasses.dataclass(frozen=True)
class RMSNorm:
    """Unit root mean square, then a scale; no mean is removed and there is no bias (arXiv:1910.07467)."""

    epsilon: float = 1e-6
    """Added to the mean square."""
    centred: bool = False
    """Whether the stored scale is the distance from one, multiplying by 1 + scale, as Gemma does (arXiv:2403.08295)."""


def layer_norm(
    x: Float[Array, "... D"], scale: Float[Array, " D"], bias: Float[Array, " D"] | None, epsilon: float = 1e-12
) -> Float[Array, "... D"]:
    """Bring each vector to zero mean and unit variance, then multiply by `scale` and add `bias`.

        y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias

    Statistics in float32, whatever the type of `x`; the result has the type of `x`. The variance is that of the centred
    values, not mean(x^2) - mean(x)^2, which cancels. Reference: Ba, Kiros and Hinton, arXiv:1607.06450.

    >>> layer_norm(jnp.array([1.0, 3.0]), jnp.ones(2), jnp.zeros(2))
    Array([-1.,  1.], dtype=float32)
    """
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    normed = centred * jax.lax.rsqrt(variance + epsilon)
    normed = normed * _last(scale, x)
    return (normed if bias is None else normed + _last(bias, x)).astype(x.dtype)


def rms_norm(x: Float[Array, "... D"], scale: Float[Array, " D"], epsilon: float = 1e-6) -> Float[Array, "... D"]:
    """Bring each vector to unit root mean square, then multiply by `scale`.

        y = x / sqrt(mean(x * x) + epsilon) * scale

    Unlike layer norm, the mean stays and there is no bias. Statistics in float32.
    Reference: Zhang and Sennrich, arXiv:1910.07467.

    >>> rms_norm(jnp.array([4.0, 0.0, 0.0, 0.0]), jnp.ones(4), 0.0)
    Array([2., 0., 0., 0.], dtype=float32)
    """
    wide = x.astype(jnp.float32)
    normed = wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + epsilon)
    return (normed * _last(scale, x)).astype(x.dtype)


class Norm(nnx.Module):
    """The scale, and for layer norm the bias, of one normalisation. What model/peft adds hangs under the name `tuned`."""

    tuned: str | None = None

    def __init__(self, width: int, choice: LayerNorm | RMSNorm):
        self.choice = choice
        zero_based = isinstance(choice, RMSNorm) and choice.centred
        self.scale = nnx.Param((jnp.zeros if zero_based else jnp.ones)(width, jnp.float32))
        if isinstance(choice, LayerNorm) and choice.bias:
            self.bias = nnx.Param(jnp.zeros(width, jnp.float32))

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        return tap(self, "output", self.plain(x) if self.tuned is None else getattr(self, self.tuned)(self, x, None))

    def plain(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """The norm itself, whatever is added to it."""
        if isinstance(self.choice, LayerNorm):
            return layer_norm(x, self.scale[...], self.bias[...] if self.choice.bias else None, self.choice.epsilon)
        scale = self.scale[...].astype(jnp.float32)
        return rms_norm(x, scale + 1.0 if self.choice.centred else scale, self.choice.epsilon)


def _last(vector: Array, like: Array) -> Array:
    """Give a [D] vector the rank of `like` and float32, so that nothing is promoted behind our back."""
    return vector.astype(jnp.float32).reshape((1,) * (like.ndim - 1) + vector.shape)
