"""Our side of a bench of training steps: the compiled step that training runs, on one fixed batch."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Prepared(NamedTuple):
    """A step that is compiled, with all that it takes.

    Attributes:
        compiled: the program, (state, batch) -> (state, scalars); the state is donated.
        state: step 0.
        batch: on the devices.
        built: structure, optimizer and shapes.
    """

    compiled: Any
    state: Any
    batch: Any
    built: Any


def prepare(experiment: Any, batch: Any) -> Prepared:
    """The training step of `experiment` compiled for a host batch, and a state with weights drawn from its seed."""
    import jax

    from train.optimizers import eval_params_of
    from train.sharding import MeshShape, batch_sharding, make_mesh, place_batch, replicated
    from train.state import build, build_model, init_state
    from train.step import StepOptions, make_step

    built = build(experiment, make_mesh(MeshShape()))
    state = init_state(lambda rngs: build_model(experiment, rngs), experiment.seed, built.optimizer, built.target)
    options = StepOptions(experiment.seed, experiment.accumulate, experiment.compute_dtype)
    schedule = experiment.optimizer.schedule.build(experiment.steps)
    function = make_step(
        built.parts,
        experiment.objective,
        built.optimizer,
        schedule,
        options,
        built.rates,
        eval_params=eval_params_of(experiment.optimizer),
    )
    where = jax.tree.map(lambda leaf: leaf.sharding, built.target)
    jitted = jax.jit(function, donate_argnums=0, out_shardings=(where, replicated(built.mesh)))
    placed = place_batch(batch, batch_sharding(built.mesh))
    with jax.set_mesh(built.mesh):
        compiled = jitted.lower(built.target, placed).compile()
    return Prepared(compiled, state, placed, built)


def stepper(experiment: Any, batch: Any) -> Callable[[], None]:
    """A function that takes one more training step of `experiment` on a host batch, and waits for it."""
    return steps_of(prepare(experiment, batch))


def steps_of(prepared: Prepared) -> Callable[[], None]:
    """A function that takes one more step, and waits for it."""
    import jax

    state = prepared.state

    def step() -> None:
        nonlocal state
        state, scalars = prepared.compiled(state, prepared.batch)
        jax.block_until_ready((state, scalars))

    return step
