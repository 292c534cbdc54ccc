"""One vector for each segment of a row, from the hidden states of its tokens."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Pooling = Literal["first", "last", "mean"]


def pool(
    hidden: Float[Array, "B T D"], segments: Int[Array, "B T"], count: int, pooling: Pooling
) -> Float[Array, "B P D"]:
    """Sum up the segments 1 to P = `count` of each row by their first token, their last one, or the mean of all.

    The mean is taken in float32. A segment that a row does not have gives zeros, or a state that means nothing.

    >>> hidden = jnp.arange(8.0).reshape(1, 4, 2)
    >>> segments = jnp.array([[1, 1, 2, 0]])
    >>> pool(hidden, segments, 2, "last").tolist()
    [[[2.0, 3.0], [4.0, 5.0]]]
    >>> pool(hidden, segments, 2, "mean").tolist()
    [[[1.0, 2.0], [4.0, 5.0]]]
    """
    member = segments[:, None, :] == jnp.arange(1, count + 1, dtype=segments.dtype)[None, :, None]  # [B P T]
    if pooling == "mean":
        share = member / jnp.maximum(member.sum(-1, keepdims=True), 1)
        summed = jax.lax.dot_general(share, hidden.astype(jnp.float32), (((2,), (1,)), ((0,), (0,))))
        return summed.astype(hidden.dtype)
    first = jnp.argmax(member, axis=-1)  # of equal ones the first
    places = first if pooling == "first" else jnp.maximum(first + member.sum(-1) - 1, 0)
    return jnp.take_along_axis(hidden, places[:, :, None], axis=1, mode="clip")
