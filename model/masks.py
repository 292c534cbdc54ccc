"""Who may attend to whom: booleans, True may attend, built once and combined with `&`."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def segment_mask(
    query_segments: Int[Array, "B T"], key_segments: Int[Array, "B S"] | None = None
) -> Bool[Array, "B 1 T S"]:
    """A token sees its own segment of a packed row, all of it; padding (segment 0) sees nothing and is not seen.

    For cross attention `key_segments` are the source's, numbered alike.

    >>> segment_mask(jnp.array([[1, 1, 2, 0]]))[0, 0].astype(int)
    Array([[1, 1, 0, 0],
           [1, 1, 0, 0],
           [0, 0, 1, 0],
           [0, 0, 0, 0]], dtype=int32)
    """
    key_segments = query_segments if key_segments is None else key_segments
    same = query_segments[:, None, :, None] == key_segments[:, None, None, :]
    return same & (key_segments != 0)[:, None, None, :]


def causal_mask(query_length: int, key_length: int | None = None) -> Bool[Array, "1 1 T S"]:
    """A token sees itself and what came before it; with more keys than queries, the queries are the last of them.

    >>> causal_mask(2, 3)[0, 0].astype(int)
    Array([[1, 1, 0],
           [1, 1, 1]], dtype=int32)
    """
    key_length = query_length if key_length is None else key_length
    query = jnp.arange(query_length)[None, None, :, None] + (key_length - query_length)
    return query >= jnp.arange(key_length)[None, None, None, :]
