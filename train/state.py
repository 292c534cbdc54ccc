"""The training state: everything that a step reads and writes, as one tree of arrays."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int

from model.config import choice_name
from model.peft import AdaLoRA, attach, is_added, rate_of
from train.config import Experiment
from train.mixout import Params, matrices_of_layers
from train.optimizers import Optax, eval_params_of
from train.optimizers.custom import check_step
from train.optimizers.parts import OptimizerError
from train.rank_budget import with_rank_budget
from train.rates import Rates, Tuning
from train.sharding import dotted, replicated, shardings

TASK_HEADS = ("classifier.", "ends.", "choices.", "pooler.")  # parameters of a task's own


class TrainState(NamedTuple):
    """What is checkpointed. No random state: every draw is a function of (seed, epoch, example id).

    Attributes:
        step: steps taken, skipped ones included, int32.
        params: float32 parameters as nested dicts of arrays.
        optimizer: the state of the optax transformation.
        skips: steps skipped by the guard so far, int32.
        skips_in_a_row: how many of those were the latest steps, int32.
        frozen: parameters that are never trained, beside `params`; not checkpointed, for they are
            where they came from; None where there are none.
        mean: of `params` over the last steps, where `Selection.average` asks for it; before those, `params` as they are. Or
            what the optimizer is scored at, where that is not what it trains.
        origin: the matrices of layers as they began, where `Tuning.mixout` asks for them.
    """

    step: Int[Array, ""]
    params: Params
    optimizer: Any
    skips: Int[Array, ""]
    skips_in_a_row: Int[Array, ""]
    frozen: Params | None = None
    mean: Params | None = None
    origin: Params | None = None

    @property
    def weights(self) -> Params:
        """Every parameter of the model, trained or not, as it is scored: those that are averaged as their mean."""
        return join(self.params if self.mean is None else self.mean, self.frozen)


class Beside(NamedTuple):
    """Which trees a state carries beside its parameters: their running mean, and where the matrices of layers began."""

    mean: bool = False
    origin: bool = False


class ModelParts(NamedTuple):
    """A model taken apart: `merge(params)` gives it back. The structure is static, the parameters are arrays.

    Attributes:
        graph: the structure.
        params: all parameters, or their shapes.
        trained: dotted paths of those that are trained; None: all of them.
    """

    graph: nnx.GraphDef
    params: Params
    trained: frozenset[str] | None = None

    def merge(self, params: Params) -> nnx.Module:
        return nnx.merge(self.graph, nnx.State(params))

    def divide(self, params: Params) -> tuple[Params, Params]:
        """Those that are trained, and those that are not, as two trees; `join` is the inverse."""
        if self.trained is None:
            return params, {}
        return divide(params, self.trained)


def divide(params: Params, chosen: Collection[str], prefix: str = "") -> tuple[Params, Params]:
    """Nested dicts in two: the leaves at the chosen dotted paths, and the others.

    >>> divide({"a": {"x": 1, "y": 2}, "b": {"x": 3}}, {"a.x"})
    ({'a': {'x': 1}}, {'a': {'y': 2}, 'b': {'x': 3}})
    """
    inside: Params = {}
    outside: Params = {}
    for name, value in params.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            one, other = divide(value, chosen, f"{path}.")
            inside |= {name: one} if one else {}
            outside |= {name: other} if other else {}
        else:
            (inside if path in chosen else outside)[name] = value
    return inside, outside


def join(one: Params, other: Params | None) -> Params:
    """Two nested dicts with no leaf in common as one.

    >>> join({"a": {"x": 1}}, {"a": {"y": 2}, "b": {"x": 3}})
    {'a': {'x': 1, 'y': 2}, 'b': {'x': 3}}
    """
    if not other:
        return one
    both = {name: join(one[name], other[name]) for name in one.keys() & other.keys()}
    return {name: both.get(name, one.get(name, other.get(name))) for name in sorted({**one, **other})}


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


def state_shapes(
    parts: ModelParts, optimizer: optax.GradientTransformation, mesh: Mesh, beside: Beside = Beside()
) -> TrainState:
    """The state as ShapeDtypeStructs that carry their shardings: the target of a restore and of `init_state`."""
    trained, frozen = parts.divide(parts.params)
    shapes = jax.eval_shape(lambda params: fresh_state(params, optimizer, frozen, beside), trained)
    return laid_out(shapes, mesh)


def laid_out(state: TrainState, mesh: Mesh) -> TrainState:
    """The shapes of a state with where each array lies: parameters by train/sharding.py, and what mirrors one, found by the end
    of its path and by its shape, with it; everything else on every device."""
    trees = (state.params, state.frozen or {})
    placed = {
        dotted(path): (leaf.shape, where)
        for tree in trees
        for (path, leaf), where in zip(
            jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(shardings(tree, mesh)), strict=True
        )
    }

    def place(path, leaf):
        words = dotted(path).split(".")
        ends = (".".join(words[first:]) for first in range(len(words)))
        shape, where = next((placed[end] for end in ends if end in placed), (None, None))
        if shape != leaf.shape:
            where = replicated(mesh)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

    return jax.tree_util.tree_map_with_path(place, state)


def fresh_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    frozen: Params | None = None,
    beside: Beside = Beside(),
) -> TrainState:
    """Step 0 from given parameters, those that are trained and those that are not."""
    zero = jnp.zeros((), jnp.int32)
    copied = lambda tree: jax.tree.map(jnp.copy, tree)  # noqa: E731  (a step gives back the memory of the old state)
    return TrainState(
        zero,
        params,
        optimizer.init(params),
        zero,
        zero,
        frozen or None,
        mean=copied(params) if beside.mean else None,
        origin=copied(matrices_of_layers(params)) if beside.origin else None,
    )


def draw_params(build, seed: int, target: Params) -> Params:
    """Parameters drawn directly into the shardings of `target`; the values do not depend on the mesh."""
    where = jax.tree.map(lambda leaf: leaf.sharding, target)
    return jax.jit(lambda: split_model(build(nnx.Rngs(seed))).params, out_shardings=where)()


def init_state(build, seed: int, optimizer: optax.GradientTransformation, target: TrainState) -> TrainState:
    """Draw the parameters directly into their shardings, so that no device ever holds a whole model that it should not.

    The values do not depend on the mesh.
    """

    trained = {dotted(path) for path, _ in jax.tree_util.tree_leaves_with_path(target.params)}
    beside = Beside(target.mean is not None, target.origin is not None)

    def run():
        params, frozen = divide(split_model(build(nnx.Rngs(seed))).params, trained)
        return fresh_state(params, optimizer, frozen, beside)

    return jax.jit(run, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, target))()


def parameter_count(params: Params) -> int:
    """How many numbers a tree of parameters (or of their shapes) holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


class Built(NamedTuple):
    """What an experiment comes to before any weight exists: structure, optimizer, and where each array will lie.

    `rates` are those of train/rates.py, None where all parameters learn alike.
    """

    parts: ModelParts
    optimizer: optax.GradientTransformationExtraArgs
    target: TrainState
    mesh: Mesh
    rates: Callable[[Array], Rates] | None = None


def build_model(experiment: Experiment, rngs: nnx.Rngs) -> nnx.Module:
    """The model of an experiment, with what is added to it where few parameters are to be trained."""
    model = experiment.objective.build(experiment.model, rngs)
    return model if experiment.peft is None else attach(model, experiment.peft, rngs)


def trained_paths(experiment: Experiment, params: Params) -> frozenset[str] | None:
    """Dotted paths of the parameters that are trained; None: all of them.

    With few parameters added these are, and so is what stands on the hidden states: it is new, or was made for something else.
    """
    if experiment.peft is None:
        return None
    paths = [dotted(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    return frozenset(path for path in paths if is_added(path) or path.startswith(TASK_HEADS))


def build(experiment: Experiment, mesh: Mesh, *, to_train: bool = True) -> Built:
    """The model's structure, the optimizer, and the shapes and shardings of the state of an experiment.

    What is not `to_train` needs no optimizer: one that is known by name only then leaves `target.optimizer` None, and a
    checkpoint's is restored as it lies there.

    Raises:
        SiteError: a pattern of what is frozen meets nothing.
        OptimizerError: the optimizer cannot train this model.
    """
    made = abstract_model(lambda rngs: build_model(experiment, rngs), experiment.seed)
    parts = made._replace(trained=trained_paths(experiment, made.params))
    peft = experiment.peft
    ratio = None if peft is None else lambda path: rate_of(path, peft)
    rates = experiment.tuning.rates(parts.divide(parts.params)[0], ratio)
    chosen = experiment.optimizer
    known = to_train or not isinstance(chosen, Optax) or chosen.is_known
    optimizer = chosen.build(experiment.steps) if known else optax.with_extra_args_support(optax.identity())
    if isinstance(peft, AdaLoRA):
        optimizer = with_rank_budget(optimizer, peft, experiment.steps)
    if rates is not None:
        optimizer = optax.masked(optimizer, learning(experiment.tuning))
    scored_elsewhere = eval_params_of(experiment.optimizer) is not None
    if scored_elsewhere and rates is not None:
        raise OptimizerError(
            f"peft.rate_ratio does not go with optimizer={choice_name(type(experiment.optimizer))}; leave it out"
        )
    averaged = experiment.selection.average is not None or scored_elsewhere
    beside = Beside(averaged, experiment.tuning.mixout > 0)
    if isinstance(chosen, Optax) and known:
        check_step(optimizer, parts.divide(parts.params)[0], chosen.eval_params)
    target = state_shapes(parts, optimizer, mesh, beside)
    return Built(parts, optimizer, target if known else target._replace(optimizer=None), mesh, rates)


def learning(tuning: Tuning) -> Callable[[Params], Any]:
    """Which parameters ever learn: of the others the optimizer keeps no state."""

    def chosen(params: Params) -> Any:
        rates = tuning.frozen(params)
        return jax.tree_util.tree_map_with_path(lambda path, _: dotted(path) not in rates, params)

    return chosen
