"""Positions as numbers added to the scores of attention: ALiBi, and T5's relative buckets."""

import math

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from model.initializers import Initializer
from model.positions import RelativeBuckets


def alibi_slopes(num_heads: int) -> np.ndarray:
    """A slope a head, 2^(-8 n / N) for n = 1 ... N where N is a power of two; else those of the power below, then every other
    one of the power above, as in the authors' code.

    >>> alibi_slopes(4)
    array([0.25      , 0.0625    , 0.015625  , 0.00390625])
    """
    below = 2 ** math.floor(math.log2(num_heads))
    slopes = 2.0 ** (-8.0 / below * np.arange(1, below + 1))
    more = 2.0 ** (-8.0 / (2 * below) * np.arange(1, 2 * below + 1))
    return np.concatenate([slopes, more[::2][: num_heads - below]])


def alibi_bias(
    query_positions: Int[Array, "B T"], key_positions: Int[Array, "B S"], num_heads: int
) -> Float[Array, "B N T S"]:
    """-slope * |distance|, float32 (Press et al., arXiv:2108.12409; the absolute value serves encoders too).

    >>> alibi_bias(jnp.array([[2]]), jnp.array([[0, 1, 2]]), 1)[0, 0] * 2.0**8
    Array([[-2., -1., -0.]], dtype=float32)
    """
    distance = jnp.abs(_distances(query_positions, key_positions)).astype(jnp.float32)
    slopes = jnp.asarray(alibi_slopes(num_heads), jnp.float32)
    return -slopes[None, :, None, None] * distance[:, None]


def relative_buckets(distances: Int[Array, "..."], choice: RelativeBuckets, bidirectional: bool) -> Int[Array, "..."]:
    """The bucket of each distance key - query (arXiv:1910.10683, and the authors' code for the growing ones).

    >>> relative_buckets(jnp.array([0, -1, -7, -8, -40, -4000]), RelativeBuckets(16, 64), bidirectional=False)
    Array([ 0,  1,  7,  8, 14, 15], dtype=int32)
    """
    buckets = choice.num_buckets // 2 if bidirectional else choice.num_buckets
    after = jnp.where(distances > 0, buckets, 0) if bidirectional else 0
    distance = jnp.abs(distances) if bidirectional else jnp.maximum(-distances, 0)
    exact = buckets // 2
    # In float32 and in this order, as published: rounding decides the bucket of some distances.
    growth = jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / exact) / math.log(choice.max_distance / exact)
    far = exact + (growth * (buckets - exact)).astype(jnp.int32)
    return after + jnp.where(distance < exact, distance, jnp.minimum(far, buckets - 1)).astype(jnp.int32)


class RelativeBias(nnx.Module):
    """The table of T5's buckets, [buckets, N]: one for all layers of a stack."""

    def __init__(
        self, num_heads: int, choice: RelativeBuckets, *, bidirectional: bool, initializer: Initializer, rngs: nnx.Rngs
    ):
        self.choice, self.bidirectional = choice, bidirectional
        self.embedding = nnx.Param(initializer(rngs.params(), (choice.num_buckets, num_heads), jnp.float32))

    def __call__(self, query_positions: Int[Array, "B T"], key_positions: Int[Array, "B S"]) -> Float[Array, "B N T S"]:
        buckets = relative_buckets(-_distances(query_positions, key_positions), self.choice, self.bidirectional)
        return jnp.take(self.embedding[...], buckets, axis=0).transpose(0, 3, 1, 2)


def _distances(query_positions: Int[Array, "B T"], key_positions: Int[Array, "B S"]) -> Int[Array, "B T S"]:
    return query_positions[:, :, None] - key_positions[:, None, :]
