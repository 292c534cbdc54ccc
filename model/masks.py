"""Who may attend to whom: booleans, True may attend, built once and combined with `&` and `|`."""

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


def causal_mask(
    query_length: int, key_length: int | None = None, start: int | Int[Array, ""] | None = None
) -> Bool[Array, "1 1 T S"]:
    """A token sees itself and what came before it. The queries are the last of the keys, or begin at the key `start`.

    >>> causal_mask(2, 3)[0, 0].astype(int)
    Array([[1, 1, 0],
           [1, 1, 1]], dtype=int32)
    >>> causal_mask(1, 4, start=1)[0, 0].astype(int)
    Array([[1, 1, 0, 0]], dtype=int32)
    """
    key_length = query_length if key_length is None else key_length
    start = key_length - query_length if start is None else start
    query = jnp.arange(query_length)[None, None, :, None] + start
    return query >= jnp.arange(key_length)[None, None, None, :]


def prefix_mask(prefix: Bool[Array, "B S"]) -> Bool[Array, "B 1 1 S"]:
    """Everybody sees the prefix: `causal_mask(T) | prefix_mask(prefix)`, inside a segment (Raffel et al., arXiv:1910.10683)."""
    return prefix[:, None, None, :]


def window_mask(
    query_positions: Int[Array, "B T"], key_positions: Int[Array, "B S"], size: int, causal: bool
) -> Bool[Array, "B 1 T S"]:
    """A token sees what is near it: causal, itself and the `size` - 1 before it; else `size` // 2 on either side.

    Distances are those of the positions, so they hold inside a segment and in a cache. References: Beltagy et al.,
    arXiv:2004.05150; Jiang et al., arXiv:2310.06825.

    >>> window_mask(jnp.array([[2]]), jnp.array([[0, 1, 2, 3]]), size=2, causal=False)[0, 0].astype(int)
    Array([[0, 1, 1, 1]], dtype=int32)
    """
    distance = query_positions[:, None, :, None] - key_positions[:, None, None, :]
    return distance < size if causal else jnp.abs(distance) <= size // 2
