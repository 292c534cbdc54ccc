"""Whether what a run must hold at the least has room in the memory that is here; asked before anything is allocated.

A size that is out of all proportion would otherwise end in an error of a library, in memory that the machine pages out, or in the
death of the process. Counted are arrays that there must be: parameters and optimizer, a batch, and its first hidden states.
"""

import math
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from data.tasks.config import TaskData
from train.config import Experiment
from train.sharding import RULES, check_batch
from train.state import Built

BATCH_BYTES = 12  # of a place in a batch: its token, position and segment
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


class RoomError(ValueError):
    """A model or a batch that no memory here can hold; the message is one line with the remedy."""

    exit_code = 2


def check_room(built: Built) -> None:
    """RoomError unless parameters and optimizer state have room on the devices that they are to lie on."""
    sizes = {
        jax.tree_util.keystr(path, simple=True, separator="."): math.prod(leaf.sharding.shard_shape(leaf.shape))
        * leaf.dtype.itemsize
        for path, leaf in jax.tree_util.tree_leaves_with_path(built.target)
    }
    need, room = sum(sizes.values()), memory(built.mesh)
    if room is not None and need > room:
        largest = max(sizes, key=lambda path: sizes[path])
        raise RoomError(
            f"parameters and optimizer state take {told(need)} on each device, the largest of them {largest} with "
            f"{told(sizes[largest])}, and there are {told(room)}; make the model smaller, or split it over more devices"
        )


def check_rows(experiment: Experiment, mesh: Mesh) -> None:
    """MeshError unless the rows of a step split evenly over micro-batches and devices; RoomError where they have no room."""
    data, width = experiment.data, experiment.model.hidden_size
    check_batch(data.batch_size, experiment.accumulate, mesh)
    length = min(data.row_length, data.bucket) if isinstance(data, TaskData) else data.row_length
    ways = math.prod(mesh.shape[name] for name in RULES["batch"])
    held = data.batch_size * length // ways * BATCH_BYTES
    states = (
        data.batch_size * length // (ways * experiment.accumulate) * width * jnp.dtype(dtype_of(experiment)).itemsize
    )
    room = memory(mesh)
    if room is not None and held + states > room:
        raise RoomError(
            f"data.batch_size={data.batch_size} rows of {length} tokens, of model.hidden_size={width}, take "
            f"{told(held + states)} or more on each device, and there are {told(room)}; lower one of them"
            + (", or raise accumulate" if states > held else "")
        )


def dtype_of(experiment: Experiment) -> str:
    """Precision of hidden states, the smallest that it may be where it is not decided yet."""
    return "bfloat16" if experiment.compute_dtype == "auto" else experiment.compute_dtype


def memory(mesh: Mesh) -> int | None:
    """Bytes that each device of a mesh has for arrays; of processors its share of what the machine has. None: not known."""
    devices: list[Any] = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
    if not devices:
        return None
    if devices[0].platform != "cpu":
        return (devices[0].memory_stats() or {}).get("bytes_limit")
    return None if (bytes_here := host_memory()) is None else bytes_here // len(devices)


def host_memory() -> int | None:
    """Bytes of memory that this machine has, or its container may take; None where neither is told."""
    found = []
    if {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in LIMITS:
        try:
            found.append(int(Path(limit).read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return min((size for size in found if size > 0), default=None)


def told(size: int) -> str:
    """Bytes as a reader takes them in.

    >>> told(3 << 29), told(5 << 50)
    ('1.5 GiB', '5,242,880.0 GiB')
    """
    return f"{size / 2**30:,.1f} GiB"
