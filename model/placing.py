"""Where activations lie when a mesh is set: their rows are split, all else is left to the compiler."""

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

ROW_AXES = ("data", "fsdp")  # the mesh axes that split a batch, by the names of train/sharding.py


def split_rows(x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """Keep `x` split by rows only. Without a mesh, its input.

    Left alone, the compiler may carry the split of a parameter's width over to the activations, and then has to undo it at
    every residual; told so, it gathers the parameters of one layer when that layer runs.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(name for name in ROW_AXES if name in mesh.axis_names)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes)) if axes else x
