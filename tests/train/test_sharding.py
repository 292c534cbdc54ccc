"""The mesh, the two tables, and the errors that they give."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from train.sharding import (
    MeshError,
    MeshShape,
    batch_sharding,
    check_batch,
    logical_axes,
    make_mesh,
    place_batch,
    shardings,
)


@pytest.mark.parametrize("text", ["", "data=8", "data=2,fsdp=2,tensor=2", "fsdp=4", "tensor=8,data=1"])
def test_meshes_use_every_device(text):
    mesh = make_mesh(MeshShape.parse(text))
    assert math.prod(mesh.shape.values()) == len(jax.devices())
    assert MeshShape.parse(str(MeshShape.parse(text))) == MeshShape.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data=3", "does not fit 8 devices"),
        ("fsdp=3", "does not fit 8 devices"),
        ("data=2,fsdp=2", "does not fit 8 devices"),
        ("data=-1,fsdp=-1", "does not fit 8 devices"),
        ("dat=2", "'dat=2' is not AXIS=SIZE"),
        ("data=0", "'data=0' is not AXIS=SIZE"),
        ("data", "'data' is not AXIS=SIZE"),
    ],
)
def test_wrong_meshes_say_why(text, message):
    with pytest.raises(MeshError, match=message):
        make_mesh(MeshShape.parse(text))


def test_batch_must_divide():
    mesh = make_mesh(MeshShape.parse("data=2,fsdp=2,tensor=2"))
    check_batch(16, 4, mesh)
    with pytest.raises(MeshError, match=r"batch_size=30 is not a multiple of 8 .* use 32"):
        check_batch(30, 2, mesh)


def test_every_parameter_needs_a_row_of_the_table():
    with pytest.raises(ValueError, match="no sharding for parameter"):
        logical_axes("router.weights", 2)


def test_a_dimension_that_does_not_divide_stays_whole():
    mesh = make_mesh(MeshShape.parse("data=2,tensor=4"))
    shapes = {"embeddings": {"tokens": {"embedding": jnp.zeros((30_522, 8))}}}
    assert shardings(shapes, mesh)["embeddings"]["tokens"]["embedding"].spec == PartitionSpec(None, None)
    shapes = {"embeddings": {"tokens": {"embedding": jnp.zeros((30_524, 8))}}}
    assert shardings(shapes, mesh)["embeddings"]["tokens"]["embedding"].spec == PartitionSpec(("tensor",), None)


def test_optimizer_state_lies_with_its_parameters(training):
    target = training("data=2,fsdp=2,tensor=2").target
    places = {leaf.sharding for leaf in jax.tree.leaves(target.params)}
    moments = next(part for part in target.optimizer if hasattr(part, "mu"))
    assert jax.tree.map(lambda leaf: leaf.sharding, moments.mu) == jax.tree.map(
        lambda leaf: leaf.sharding, target.params
    )
    assert len(places) > 3, "the table splits nothing"


def test_rows_are_split_and_whole():
    mesh = make_mesh(MeshShape.parse("data=4,tensor=2"))
    rows = np.arange(16 * 3).reshape(16, 3)
    placed = place_batch(rows, batch_sharding(mesh))
    assert {shard.data.shape for shard in placed.addressable_shards} == {(4, 3)}
    assert (np.asarray(placed) == rows).all()


@pytest.mark.parametrize(
    ("path", "rank", "axes"),
    [
        ("layers.attention.query.lora.a", 3, ("layers", "embed", None)),
        ("layers.attention.query.lora.b", 4, ("layers", None, "heads", None)),
        ("decoder.layers.cross_attention.out.lora.a", 4, ("layers", "heads", None, None)),
        ("layers.attention.out.lora.b", 3, ("layers", None, "embed")),
        ("encoder.layers.mlp.up.lora.b", 3, ("layers", None, "mlp")),
        ("layers.mlp.down.lora.a", 3, ("layers", "mlp", None)),
        ("layers.attention.value.lora.magnitude", 3, ("layers", "heads", None)),
        ("layers.attention.value.lora.scale", 1, ("layers",)),
        ("classifier.lora.b", 2, (None, None)),
        ("layers.mlp.up.absmax", 2, ("layers", None)),
    ],
)
def test_a_thin_matrix_lies_as_the_side_of_the_kernel_that_it_shares(path, rank, axes):
    assert logical_axes(path, rank) == axes
