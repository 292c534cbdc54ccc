"""Arrays filled piece by piece where they lie, so that the host never holds more than a piece of them.

A stack of layers is read layer by layer, a large tensor in parts; each goes to the devices whose shards it belongs to, and
into their arrays in place.
"""

import functools
import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

Box = tuple[slice, ...]


def fill(
    shape: tuple[int, ...],
    dtype: Any,
    sharding: Sharding | None,
    pieces: Iterable[tuple[Box, np.ndarray]],
    *,
    most: int = 0,
) -> jax.Array:
    """An array of this shape from pieces, each with the box that it fills; they must cover all of it.

    An array of at most `most` bytes is put together on the host: one copy, where pieces in place compile a program a shape.

    >>> halves = [((slice(0, 1), slice(0, 2)), np.ones((1, 2))), ((slice(1, 2), slice(0, 2)), np.zeros((1, 2)))]
    >>> fill((2, 2), np.float32, None, halves)
    Array([[1., 1.],
           [0., 0.]], dtype=float32)
    """
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0]) if sharding is None else sharding
    if math.prod(shape) * np.dtype(dtype).itemsize <= most:
        whole = np.empty(shape, dtype)
        for box, piece in pieces:
            whole[box] = piece
        return jax.make_array_from_callback(shape, sharding, lambda box: whole[box])
    shards = {
        device: _plain(box, shape)
        for device, box in sharding.addressable_devices_indices_map(shape).items()
        if box is not None
    }
    arrays = {
        device: jnp.zeros([part.stop - part.start for part in shard], dtype, device=device)
        for device, shard in shards.items()
    }
    for box, piece in pieces:
        for device, shard in shards.items():
            common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, shard, strict=True)]
            if any(part.start >= part.stop for part in common):
                continue
            taken = piece[tuple(slice(c.start - b.start, c.stop - b.start) for c, b in zip(common, box, strict=True))]
            start = np.array([c.start - s.start for c, s in zip(common, shard, strict=True)], np.int32)
            placed = jax.device_put(np.asarray(taken, dtype=dtype, order="C"), device)
            arrays[device] = _put(arrays[device], placed, start)
            arrays[device].block_until_ready()  # or pieces would pile up ahead of the device
    return jax.make_array_from_single_device_arrays(shape, sharding, list(arrays.values()))


def _plain(box: Box, shape: tuple[int, ...]) -> Box:
    return tuple(slice(*part.indices(size)[:2]) for part, size in zip(box, shape, strict=True))


@functools.partial(jax.jit, donate_argnums=0)
def _put(array: jax.Array, piece: jax.Array, start: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice(array, piece, list(start))
