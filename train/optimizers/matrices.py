"""Which parameters are matrices of layers, by which of their axes, and how whole ones come to lie on one device.

A parameter is a matrix by the axes that train/sharding.py declares for it, not by its dimensions: layers are stored as one
stack [L, ...], in which a bias has as many dimensions as a matrix, and a query's kernel has three.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import AbstractMesh, PartitionSpec
from jaxtyping import Array
from optax.contrib import MuonDimensionNumbers

from train.optimizers.parts import STACKED, words
from train.sharding import logical_axes, spec

STACKED_AXES = ("layers", "experts")  # logical axes along which every matrix counts by itself


def matrix_axes(params: Any) -> Any:
    """For each parameter the axes of its matrix, (inputs, outputs), None where it is none: what `optax.contrib.muon` takes as
    `muon_weight_dimension_numbers`. Axes that are in neither, those of layers, count apart.

    >>> shape = jax.ShapeDtypeStruct((4, 512, 8, 64), "float32")
    >>> matrix_axes({"layers": {"attention": {"query": {"kernel": shape}}}})["layers"]["attention"]["query"]["kernel"]
    MuonDimensionNumbers(reduction_axis=(1,), output_axis=(2, 3))
    """

    def numbers(path, leaf):
        axes = axes_of(".".join(words(path)), len(leaf.shape))
        return None if axes is None else MuonDimensionNumbers(*axes)

    return jax.tree_util.tree_map_with_path(numbers, params)


def axes_of(path: str, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The axes (inputs, outputs) of the matrix at a dotted path: a kernel of a layer that reads the residual stream or writes to
    it; None of anything else."""
    if not path.endswith(".kernel"):
        return None
    axes = logical_axes(path, rank)
    first = sum(axis in STACKED_AXES for axis in axes)
    if first == 0 or rank - first < 2 or "embed" not in (axes[first], axes[-1]):
        return None
    turn = first + 1 if axes[first] == "embed" else rank - 1
    return tuple(range(first, turn)), tuple(range(turn, rank))


def matrix_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of the parameter at a dotted path as matrices, [..., inputs, outputs]: those of layers by their axes, others by
    their last dimension; None for vectors.

    >>> matrix_shape("layers.attention.out.kernel", (4, 8, 64, 512)), matrix_shape("embeddings.tokens.embedding", (100, 8))
    ((4, 512, 512), (100, 8))
    >>> matrix_shape("layers.mlp.up.bias", (4, 2048))
    """
    axes = axes_of(path, len(shape))
    if axes is not None:
        inputs, outputs = (math.prod(shape[axis] for axis in side) for side in axes)
        return (*shape[: axes[0][0]], inputs, outputs)
    if STACKED in path.split(".") or len(shape) < 2:
        return None
    return (math.prod(shape[:-1]), shape[-1])


def on_whole_matrices(function: Callable[[Array], Array], path: str, leaf: Array) -> Array:
    """Inside a jitted function: `function` of a stack of matrices, none of which is split over devices meanwhile.

    Each mesh axis that splits the matrices splits the layers instead, so that every device works on its own few, where
    their number divides; where it does not, all devices of that axis work on all. An axis at a time: the compiler exchanges
    parts along one axis, but would copy everything everywhere for two at once.
    """
    mesh = jax.sharding.get_abstract_mesh()
    ways = [] if mesh.empty else list(layouts(spec(logical_axes(path, leaf.ndim), leaf.shape, mesh), leaf.shape, mesh))
    for way in ways:
        leaf = jax.lax.with_sharding_constraint(leaf, way)
    leaf = function(leaf)
    for way in reversed(ways):
        leaf = jax.lax.with_sharding_constraint(leaf, way)
    return leaf


def layouts(placed: PartitionSpec, shape: tuple[int, ...], mesh: AbstractMesh) -> Iterator[PartitionSpec]:
    """From where a stack lies, one mesh axis at a time, to where its layers are split instead of what is in them.

    >>> mesh = AbstractMesh((2, 4), ("fsdp", "tensor"))
    >>> [tuple(way) for way in layouts(PartitionSpec(None, "fsdp", "tensor"), (6, 8, 8), mesh)]
    [(None, 'fsdp', 'tensor'), ('fsdp', None, 'tensor'), ('fsdp', None, None)]
    """
    entries, first = list(placed), ()
    yield placed
    for dimension in range(1, len(entries)):
        names = entries[dimension]
        for name in (names,) if isinstance(names, str) else names or ():
            entries[dimension] = None
            if shape[0] % math.prod(mesh.shape[one] for one in (*first, name)) == 0:
                first = (*first, name)
                entries[0] = first
            yield PartitionSpec(*entries)
