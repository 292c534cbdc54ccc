"""Our side of a bench of training steps: the compiled step that `train.pretrain` runs, on one fixed batch."""

from collections.abc import Callable
from typing import Any


def stepper(experiment: Any, batch: Any) -> Callable[[], None]:
    """A function that takes one more training step of `experiment` on a host batch, and waits for it."""
    import jax

    from train.sharding import MeshShape, batch_sharding, make_mesh, place_batch, replicated
    from train.state import build, init_state
    from train.step import StepOptions, make_step

    built = build(experiment, make_mesh(MeshShape()))
    make = lambda rngs: experiment.objective.build(experiment.model, rngs)  # noqa: E731
    state = init_state(make, experiment.seed, built.optimizer, built.target)
    options = StepOptions(experiment.seed, experiment.accumulate, experiment.compute_dtype)
    schedule = experiment.optimizer.schedule.build(experiment.steps)
    function = make_step(built.parts, experiment.objective, built.optimizer, schedule, options)
    where = jax.tree.map(lambda leaf: leaf.sharding, built.target)
    jitted = jax.jit(function, donate_argnums=0, out_shardings=(where, replicated(built.mesh)))
    placed = place_batch(batch, batch_sharding(built.mesh))
    with jax.set_mesh(built.mesh):
        compiled = jitted.lower(built.target, placed).compile()

    def step() -> None:
        nonlocal state
        state, scalars = compiled(state, placed)
        jax.block_until_ready((state, scalars))

    return step
