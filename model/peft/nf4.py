"""Frozen kernels in four bits: the levels of NormalFloat, one absolute maximum for each block of 64 weights.

    w = absmax[block] * LEVELS[code],   code in 0 ... 15

The levels are quantiles of a normal distribution, so that weights which are normal use all of them alike. Reference: Dettmers
et al., QLoRA, arXiv:2305.14314, section 3 and appendix E.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int8, UInt8

from model.linear import Linear, project

BLOCK, CONSTANTS = 64, 256
"""Weights that share a maximum, and maxima that share constants of their own."""

LEVELS = np.array(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    np.float32,
)  # fmt: skip
"""The numbers of appendix E, in rising order."""


class Maxima(NamedTuple):
    """The maxima of blocks in eight bits, double quantisation: absmax[i] = mean + scale[i // 256] * q[i].

    Departs from the paper in the type: q is an integer, not an eight-bit float.
    """

    q: Int8[Array, " M"]
    scale: Float[Array, " C"]
    mean: Float[Array, ""]


def to_nf4(weights: Float[Array, " n"]) -> tuple[UInt8[Array, " packed"], Float[Array, " M"]]:
    """Codes, two a byte, and the maximum of each block, float32; the last block is filled up with zeros.

    >>> codes, absmax = to_nf4(jnp.array([0.5, -1.0, 0.0, 4.0]))
    >>> [f"{value:.3f}" for value in from_nf4(codes, absmax, 4)]
    ['0.644', '-1.138', '0.000', '4.000']
    """
    blocks = jnp.pad(weights.astype(jnp.float32), (0, -weights.size % BLOCK)).reshape(-1, BLOCK)
    absmax = jnp.abs(blocks).max(1)
    relative = blocks / jnp.where(absmax > 0, absmax, 1.0)[:, None]
    codes = jnp.searchsorted(jnp.asarray((LEVELS[1:] + LEVELS[:-1]) / 2), relative.reshape(-1)).astype(jnp.uint8)
    return codes[0::2] * jnp.uint8(16) + codes[1::2], absmax


def from_nf4(codes: UInt8[Array, " packed"], absmax: Float[Array, " M"], size: int) -> Float[Array, " n"]:
    """The first `size` weights, in the type of `absmax`; the inverse of `to_nf4` but for the rounding."""
    pairs = jnp.stack([codes >> 4, codes & 15], axis=1)
    values = jnp.asarray(LEVELS, absmax.dtype)[pairs.reshape(-1, BLOCK).astype(jnp.int32)]
    return (values * absmax[:, None]).reshape(-1)[:size]


def shrink(absmax: Float[Array, " M"]) -> Maxima:
    """Round maxima to eight bits: another 0.37 bits a weight saved, at an error of 1/254 of their spread."""
    mean = absmax.mean()
    groups = jnp.pad(absmax - mean, (0, -absmax.size % CONSTANTS)).reshape(-1, CONSTANTS)
    scale = jnp.abs(groups).max(1) / 127.0
    q = jnp.round(groups / jnp.where(scale > 0, scale, 1.0)[:, None])
    return Maxima(q.reshape(-1)[: absmax.size].astype(jnp.int8), scale, mean)


def grow(maxima: Maxima) -> Float[Array, " M"]:
    """The inverse of `shrink` but for the rounding.

    >>> grow(shrink(jnp.array([1.0, 3.0]))).tolist()
    [1.0, 3.0]
    """
    q = maxima.q.astype(maxima.scale.dtype)
    scale = jnp.repeat(maxima.scale, CONSTANTS)[: q.size]
    return q * scale + maxima.mean


class NF4Linear(Linear):
    """A Linear whose kernel is kept in four bits, and made whole where it is used.

    Blocks run along the inputs of an output, and its maxima are in eight bits: 4.13 bits a weight.
    """

    def __init__(self, linear: Linear):
        kernel = linear.full_kernel()
        self.contracted, self.shape, self.bias = linear.contracted, tuple(kernel.shape), linear.bias
        codes, absmax = to_nf4(kernel.reshape(math.prod(self.shape[: self.contracted]), -1).T.reshape(-1))
        maxima = shrink(absmax)
        self.kernel, self.absmax = nnx.Param(codes), nnx.Param(maxima.q)
        self.absmax_scale, self.absmax_mean = nnx.Param(maxima.scale), nnx.Param(maxima.mean)

    def full_kernel(self) -> Float[Array, "..."]:
        """The kernel in floating point."""
        return self.whole(self.kernel[...], self.maxima())

    def maxima(self) -> Maxima:
        """The maxima of its blocks."""
        return Maxima(self.absmax[...], self.absmax_scale[...], self.absmax_mean[...])

    def whole(self, codes: UInt8[Array, " packed"], maxima: Maxima) -> Float[Array, "..."]:
        """The kernel of these codes."""
        flat = from_nf4(codes, grow(maxima), math.prod(self.shape))
        return flat.reshape(-1, math.prod(self.shape[: self.contracted])).T.reshape(self.shape)

    def plain(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The map itself, whatever is added to it."""
        bias = None if self.bias is None else self.bias[...]

        # Made whole once more in the backward pass: kept from the forward pass, all kernels would lie in memory in full.
        @jax.checkpoint
        def multiply(x: Array, codes: Array, maxima: Maxima) -> Array:
            return project(x, self.whole(codes, maxima).astype(x.dtype), None, self.contracted)

        y = multiply(x, self.kernel[...], self.maxima())
        return y if bias is None else y + bias.reshape((1,) * (y.ndim - bias.ndim) + bias.shape)
