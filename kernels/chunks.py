"""A function of a batch, computed for a few examples at a time, so that what lies between never exists for all of them.

On the way back it is made again: of a large array between arguments and result, such as the weights of attention, there is no
more than one chunk at any time. What that saves is memory first. The time it saves on a CPU is mostly that of asking the system
for fresh pages, and small where freed memory is kept, as the training commands do: `python -m experiments.bench attention`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

# Bytes between arguments and result up to which larger chunks were no slower, on two cores with 1 MiB of L2 each.
CHUNK = 4 * 2**20


def chunk_size(batch: int, example_bytes: int) -> int | None:
    """Examples a chunk: as many as CHUNK holds, at least two; None where the batch has no such part, or is one.

    A single example at a time was as slow as the whole batch: its products are too small to share among threads.

    >>> chunk_size(16, 2**20), chunk_size(16, 2**24), chunk_size(16, 2**10), chunk_size(7, 2**20)
    (4, 2, None, None)
    """
    if batch * example_bytes <= CHUNK:
        return None
    fitting = [size for size in range(2, batch) if batch % size == 0]
    small = [size for size in fitting if size * example_bytes <= CHUNK]
    return max(small) if small else min(fitting, default=None)


def in_chunks(function: Callable[..., Array], size: int, batch: int, *arrays: Any) -> Array:
    """`function(*arrays)` from `size` examples at a time. Arrays of one example, or None, go whole to each chunk.

    >>> import jax.numpy as jnp
    >>> in_chunks(lambda x, y: x * y, 2, 4, jnp.arange(4.0), jnp.ones(1))
    Array([0., 1., 2., 3.], dtype=float32)
    """
    split = [array is not None and array.shape[0] == batch for array in arrays]
    parts = [
        array.reshape(batch // size, size, *array.shape[1:]) for array, cut in zip(arrays, split, strict=True) if cut
    ]

    def chunk(parts: list[Array]) -> Array:
        given = iter(parts)
        return function(*(next(given) if cut else array for array, cut in zip(arrays, split, strict=True)))

    # Inside a loop nothing can be shared with the way there, so nothing has to be kept from being shared.
    made = jax.lax.map(jax.checkpoint(chunk, prevent_cse=False), parts)
    return made.reshape(math.prod(made.shape[:2]), *made.shape[2:])


def can_chunk(backend: str) -> bool:
    """Whether chunks help here: on a CPU, where a batch does not lie on several devices."""
    mesh = jax.sharding.get_abstract_mesh()
    return backend == "cpu" and (mesh.empty or mesh.size == 1)
