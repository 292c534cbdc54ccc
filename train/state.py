"""The training state: everything that a step reads and writes, as one tree of arrays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int

from train.config import Experiment
from train.sharding import shardings

Params = dict[str, Any]


class TrainState(NamedTuple):
    """What is checkpointed. No random state: every draw is a function of (seed, epoch, example id).

    Attributes:
        step: steps taken, skipped ones included, int32.
        params: float32 parameters as nested dicts of arrays.
        optimizer: the state of the optax transformation.
        skips: steps skipped by the guard so far, int32.
        skips_in_a_row: how many of those were the latest steps, int32.
    """

    step: Int[Array, ""]
    params: Params
    optimizer: Any
    skips: Int[Array, ""]
    skips_in_a_row: Int[Array, ""]


class ModelParts(NamedTuple):
    """A model taken apart: `merge(params)` gives it back. The structure is static, the parameters are arrays."""

    graph: nnx.GraphDef
    params: Params

    def merge(self, params: Params) -> nnx.Module:
        return nnx.merge(self.graph, nnx.State(params))


def split_model(model: nnx.Module) -> ModelParts:
    """Take a model apart into structure and a plain tree of parameters."""
    graph, params = nnx.split(model, nnx.Param)
    return ModelParts(graph, nnx.to_pure_dict(params))


def abstract_model(build, seed: int) -> ModelParts:
    """The structure and parameter shapes of `build(rngs)`, without computing anything."""
    graphs = []

    def run():
        parts = split_model(build(nnx.Rngs(seed)))
        graphs.append(parts.graph)
        return parts.params

    shapes = jax.eval_shape(run)
    return ModelParts(graphs[0], shapes)


def state_shapes(parts: ModelParts, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """The state as ShapeDtypeStructs that carry their shardings: the target of a restore and of `init_state`."""
    shapes = jax.eval_shape(lambda params: fresh_state(params, optimizer), parts.params)
    placed = shardings(shapes, mesh)
    return jax.tree.map(
        lambda shape, where: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where), shapes, placed
    )


def fresh_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """Step 0 from given parameters."""
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, params, optimizer.init(params), zero, zero)


def init_state(build, seed: int, optimizer: optax.GradientTransformation, target: TrainState) -> TrainState:
    """Draw the parameters directly into their shardings, so that no device ever holds a whole model that it should not.

    The values do not depend on the mesh.
    """

    def run():
        return fresh_state(split_model(build(nnx.Rngs(seed))).params, optimizer)

    return jax.jit(run, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, target))()


def parameter_count(params: Params) -> int:
    """How many numbers a tree of parameters (or of their shapes) holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


class Built(NamedTuple):
    """What an experiment comes to before any weight exists: structure, optimizer, and where each array will lie."""

    parts: ModelParts
    optimizer: optax.GradientTransformationExtraArgs
    target: TrainState
    mesh: Mesh


def build(experiment: Experiment, mesh: Mesh) -> Built:
    """The model's structure, the optimizer, and the shapes and shardings of the state of an experiment."""
    parts = abstract_model(lambda rngs: experiment.objective.build(experiment.model, rngs), experiment.seed)
    optimizer = experiment.optimizer.build(experiment.steps)
    return Built(parts, optimizer, state_shapes(parts, optimizer, mesh), mesh)
