"""A step compiled for each shape that its batches have, when the first such batch comes."""

import time
from collections.abc import Callable
from typing import Any

import jax

from data.batch import Batch
from train.state import TrainState


class CompiledByShape:
    """A jitted step, compiled ahead of its call so that the console can say what is going on.

    Batches of packed text have one shape; those of a task are padded to the longest of their rows, and have a few.
    """

    def __init__(self, jitted: Any, target: TrainState, mesh: jax.sharding.Mesh, status: Callable[[str], None]):
        self._jitted, self._target, self._mesh, self._status = jitted, target, mesh, status
        self._made: dict[tuple, Any] = {}

    def prepare(self, batch: Batch) -> float:
        """Compile for the shape of a batch that lies on the devices; the seconds that it took."""
        begin = time.perf_counter()
        self._status("compiling")
        with jax.set_mesh(self._mesh):
            self._made[shape_of(batch)] = self._jitted.lower(self._target, batch).compile()
        return time.perf_counter() - begin

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        key = shape_of(batch)
        if key not in self._made:
            self.prepare(batch)
        return self._made[key](state, batch)


def shape_of(batch: Batch) -> tuple:
    """What one compiled step is good for."""
    return tuple(leaf.shape for leaf in jax.tree.leaves(batch))
