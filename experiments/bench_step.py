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


def compile_for(experiment: Any, batch: Any, mesh: str = "") -> tuple[Any, Any]:
    """The training step of `experiment` compiled for a host batch, on one device or a mesh; and what it was built of."""
    import jax

    from train.compiling import jitted_step
    from train.sharding import MeshShape, batch_sharding, make_mesh
    from train.state import build

    built = build(experiment, make_mesh(MeshShape.parse(mesh)))
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=batch_sharding(built.mesh)), batch
    )
    with jax.set_mesh(built.mesh):
        return jitted_step(experiment, built).lower(built.target, like).compile(), built


def prepare(experiment: Any, batch: Any) -> Prepared:
    """The training step of `experiment` compiled for a host batch, and a state with weights drawn from its seed."""
    from train.sharding import batch_sharding, place_batch
    from train.state import build_model, init_state

    compiled, built = compile_for(experiment, batch)
    state = init_state(lambda rngs: build_model(experiment, rngs), experiment.seed, built.optimizer, built.target)
    return Prepared(compiled, state, place_batch(batch, batch_sharding(built.mesh)), built)


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
