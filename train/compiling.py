"""A step compiled for each shape that its batches have, when the first such batch comes."""

import time
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from data.batch import Batch
from model.peft import AdaLoRA
from model.peft.ada_lora import penalty
from train.config import Experiment
from train.console import Console
from train.optimizers import eval_params_of
from train.sharding import batch_sharding, place_batch, replicated
from train.state import Built, Params, TrainState, parameter_count
from train.step import StepOptions, make_step


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


def jitted_step(experiment: Experiment, built: Built) -> Any:
    """The training step of an experiment, (state, batch) -> (state, scalars), to be compiled; it takes the state's memory."""
    average_from = experiment.selection.average_from(experiment.steps)
    mixout = experiment.tuning.mixout
    options = StepOptions(experiment.seed, experiment.accumulate, experiment.compute_dtype, average_from, mixout)
    schedule = experiment.optimizer.schedule.build(experiment.steps)
    step = make_step(
        built.parts,
        experiment.objective,
        built.optimizer,
        schedule,
        options,
        built.rates,
        penalty_of(experiment),
        eval_params_of(experiment.optimizer),
    )
    where = jax.tree.map(lambda leaf: leaf.sharding, built.target)
    return jax.jit(step, donate_argnums=0, out_shardings=(where, replicated(built.mesh)))


def compile_step(experiment: Experiment, built: Built, example: Batch, console: Console) -> CompiledByShape:
    """Compile the training step for the shape that it will see first, and say what it is."""
    compiled = CompiledByShape(jitted_step(experiment, built), built.target, built.mesh, console.status)
    seconds = compiled.prepare(place_batch(example, batch_sharding(built.mesh)))
    total, trained = parameter_count(built.parts.params), parameter_count(built.target.params)
    count = f"{total / 1e6:.1f} M parameters"
    if trained != total:
        count += f", {trained:,} of them trained ({100 * trained / total:.2f}%)"
    console.say(
        f"{count}, {size_of_step(experiment, example)}, {experiment.steps} steps, "
        f"mesh {dict(built.mesh.shape)}, {experiment.compute_dtype}; compiled in {seconds:.1f} s"
    )
    return compiled


def penalty_of(experiment: Experiment) -> Callable[[Params], Array] | None:
    """What is added to the loss for the sake of the parameters that are trained: AdaLoRA wants its factors orthogonal."""
    peft = experiment.peft
    return (lambda params: peft.penalty * penalty(params)) if isinstance(peft, AdaLoRA) else None


def size_of_step(experiment: Experiment, example: Batch) -> str:
    """How much a step sees: tokens of packed rows, or examples."""
    if experiment.is_task:
        return f"{len(example.tokens)} rows a step"
    return f"{sum(side.size for side in (example.tokens, example.source_tokens) if side is not None)} tokens a step"
