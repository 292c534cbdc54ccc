"""Keys and values that are kept while text is generated, so that each new token costs one token's work.

A cache is a pytree of arrays of fixed size: keys and values of every layer, and for each slot the position and segment of the
token that it holds. Segment 0 marks a slot that holds nothing, or padding: nobody sees it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class KeyValues(NamedTuple):
    """Keys and values of one layer (or of all, with a leading axis), heads first, as attention reads them."""

    key: Float[Array, "*L B K S H"]
    value: Float[Array, "*L B K S H"]

    def write(self, key: Float[Array, "B T K H"], value: Float[Array, "B T K H"], at: Int[Array, ""]) -> "KeyValues":
        """Put T new tokens at the slots from `at` on."""
        start = (0, 0, at, 0)
        key, value = (new.transpose(0, 2, 1, 3) for new in (key, value))
        return KeyValues(
            jax.lax.dynamic_update_slice(self.key, key.astype(self.key.dtype), start),
            jax.lax.dynamic_update_slice(self.value, value.astype(self.value.dtype), start),
        )


class LayerCache(NamedTuple):
    """What one block keeps: its own keys and values, and those of the source where it reads one."""

    own: KeyValues
    source: KeyValues | None = None


class Cache(NamedTuple):
    """The state of a decoder between two calls.

    Attributes:
        layers: a LayerCache with a leading axis of layers, or a tuple of one for each.
        positions: int32 [B, S], of the token in each slot.
        segments: int32 [B, S], 0 for slots that nobody sees.
        length: int32, slots written so far.
        source_segments: int32 [B, S'], of the encoder's tokens; None in a decoder alone.
    """

    layers: Any
    positions: Int[Array, "B S"]
    segments: Int[Array, "B S"]
    length: Int[Array, ""]
    source_segments: Int[Array, "B C"] | None = None

    def advance(self, positions: Int[Array, "B T"], segments: Int[Array, "B T"]) -> "Cache":
        """Note the tokens of the next T slots; their keys and values are written by the layers."""
        start = (0, self.length)
        return self._replace(
            positions=jax.lax.dynamic_update_slice(self.positions, positions.astype(jnp.int32), start),
            segments=jax.lax.dynamic_update_slice(self.segments, segments.astype(jnp.int32), start),
            length=self.length + positions.shape[1],
        )


def empty_cache(
    batch: int,
    slots: int,
    *,
    num_layers: int,
    num_kv_heads: int,
    head_size: int,
    dtype: Any = jnp.float32,
    apart: bool = False,
) -> Cache:
    """A cache of `slots` tokens a row with nothing in it; `apart`: a tuple of one for each layer.

    >>> empty_cache(2, 8, num_layers=3, num_kv_heads=1, head_size=4).layers.own.key.shape
    (3, 2, 1, 8, 4)
    """
    shape = (num_layers, batch, num_kv_heads, slots, head_size)
    nothing = jnp.zeros((batch, slots), jnp.int32)

    def layer(shape: tuple[int, ...]) -> LayerCache:
        return LayerCache(KeyValues(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)))

    layers = tuple(layer(shape[1:]) for _ in range(num_layers)) if apart else layer(shape)
    return Cache(layers, nothing, nothing, jnp.zeros((), jnp.int32))
