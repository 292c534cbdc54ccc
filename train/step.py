"""One step of training: loss terms, exact accumulation, the guard, the update.

    loss = sum over terms of  (sum over the whole batch) / (count over the whole batch)

The counts are known from the labels before anything is computed, so each micro-batch is divided by the count of the whole
batch and the gradients simply add up: accumulation is exact, not a mean of means.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from data.batch import Batch
from kernels.dropout import fold
from train.mixout import mixed
from train.objectives import Measured, Trainable
from train.rates import Rates, masked, scaled
from train.sharding import gather_unstacked, keep_split
from train.state import ModelParts, Params, TrainState, join

Scalars = dict[str, Array]
StepFunction = Callable[[TrainState, Batch], tuple[TrainState, Scalars]]


class StepOptions(NamedTuple):
    """What shapes the compiled step besides model, objective and optimizer.

    Attributes:
        seed: of the run; with epoch and example id it decides every dropout mask.
        accumulate: micro-batches a step; must divide the rows of a batch.
        compute_dtype: parameters are cast to it for the forward and backward pass; they and their updates stay float32.
        average_from: steps before those whose parameters are averaged, where the state has a mean.
        mixout: share of what the state has an origin of that stands there (train/mixout.py).
    """

    seed: int
    accumulate: int = 1
    compute_dtype: str = "float32"
    average_from: int = 0
    mixout: float = 0.0


def make_step(
    parts: ModelParts,
    objective: Trainable,
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: optax.Schedule,
    options: StepOptions,
    rates: Callable[[Array], Rates] | None = None,
    penalty: Callable[[Params], Array] | None = None,
    eval_params: Callable[[optax.OptState, Params], Params] | None = None,
) -> StepFunction:
    """The training step as a pure function (state, batch) -> (state, scalars); jit it with the state donated.

    `rates` are multiples of the learning rate by parameter (train/rates.py); `penalty` is added to the loss; `eval_params` is
    that of an optimizer whose result is not what it trains.
    A loss or gradient that is not finite leaves parameters and optimizer as they were, and `skipped` is 1. The scalars are
    float32: `loss`, the mean of each term and metric, `grad_norm`, `learning_rate`, `skipped`, `skips_in_a_row`.
    """
    seed = jnp.uint32(options.seed % 2**32)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        def loss_of(params: Params, batch: Batch, counts: Scalars) -> tuple[Array, Measured]:
            if state.origin is not None:
                params = mixed(params, state.origin, options.mixout, fold(seed, state.step))
            model = parts.merge(gather_unstacked(cast(join(params, state.frozen), options.compute_dtype)))
            seen = objective.measure(model, batch, example_keys(options.seed, batch))
            loss = sum((total / counts[name] for name, (total, _) in seen.terms.items()), start=jnp.float32(0))
            return loss if penalty is None else loss + penalty(params) / options.accumulate, seen

        def gradient_of(batch: Batch, counts: Scalars):
            found, gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params, batch, counts)
            return found, gradients if rates is None else masked(gradients, rates(taken))

        taken = state.step - state.skips
        counts = term_counts(batch)
        if options.accumulate == 1:
            (loss, seen), gradients = gradient_of(batch, counts)
        else:
            (loss, seen), gradients = summed(gradient_of, batch, counts, options.accumulate)

        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)

        def update() -> tuple[Any, optax.OptState]:
            updates, moved = optimizer.update(gradients, state.optimizer, state.params, gradient_norm=norm, value=loss)
            if rates is not None:
                updates = scaled(updates, rates(taken))
            return optax.apply_updates(state.params, updates), moved

        # A branch, not a choice between two results: that would keep the old arrays and the new ones, and copy one of them.
        params, moved = jax.lax.cond(finite, update, lambda: (state.params, state.optimizer))
        skipped = (~finite).astype(jnp.int32)
        after = TrainState(
            step=state.step + 1,
            params=params,
            optimizer=moved,
            skips=state.skips + skipped,
            skips_in_a_row=(state.skips_in_a_row + 1) * skipped,
            frozen=state.frozen,
            origin=state.origin,
            mean=running_mean(state.mean, params, state.step + 1 - options.average_from)
            if eval_params is None
            else eval_params(moved, params),
        )
        scalars = means({**seen.terms, **seen.metrics}) | {
            "loss": loss,
            "grad_norm": norm,
            "learning_rate": schedule(taken),
            "skipped": skipped,
            "skips_in_a_row": after.skips_in_a_row,
        }
        return after, {name: jnp.asarray(value, jnp.float32) for name, value in scalars.items()}

    return step


def running_mean(mean: Params | None, params: Params, count: Array) -> Params | None:
    """The mean of `count` trees, the last of which is `params`, from that of the others; `params` where there are no others.

    It is the average of weights of Polyak and Juditsky, 1992, and of Izmailov et al., arXiv:1803.05407.
    """
    if mean is None:
        return None
    share = 1.0 / jnp.maximum(count, 1).astype(jnp.float32)
    return jax.tree.map(lambda old, new: jnp.where(count > 1, old + (new - old) * share, new), mean, params)


def example_keys(seed: int, batch: Batch) -> Array:
    """Dropout keys, uint32 [B], folded from (seed, epoch, example id): the same on any mesh and in any micro-batch."""
    epochs, ids = (jnp.asarray(words).astype(jnp.uint32) for words in (batch.epochs, batch.example_ids))
    return fold(fold(jnp.full(ids.shape, seed % 2**32, jnp.uint32), epochs), ids)


def term_counts(batch: Batch) -> Scalars:
    """The weight of each loss term over a whole batch, at least one: `labels[name + "_weights"]` summed, by name."""
    suffix = "_weights"
    return {
        name.removesuffix(suffix): jnp.maximum(weights.sum(), 1.0)
        for name, weights in batch.labels.items()
        if name.endswith(suffix)
    }


def summed(gradient_of: Callable, batch: Batch, counts: Scalars, ways: int):
    """Loss, sums and gradients added over `ways` micro-batches, one after the other.

    Micro-batch i takes rows i, i + ways, ...: rows that lie on one device then stay on it.
    """

    def micro_batches(rows: Array) -> Array:
        return jnp.moveaxis(rows.reshape(rows.shape[0] // ways, ways, *rows.shape[1:]), 1, 0)

    def add(total, micro):
        seen, gradients = gradient_of(micro, counts)
        return jax.tree.map(jnp.add, total, (seen, keep_split(gradients))), None

    pieces = jax.tree.map(micro_batches, batch)
    shapes = jax.eval_shape(gradient_of, jax.tree.map(lambda rows: rows[0], pieces), counts)
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    return jax.lax.scan(add, (zeros[0], keep_split(zeros[1])), pieces)[0]


def cast(params: Params, dtype: str) -> Params:
    """Parameters in the dtype in which the model computes; the float32 originals are untouched, as are integers."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, params)


def means(pairs: dict[str, tuple[Array, Array]]) -> Scalars:
    """Divide each (sum, count); an empty count gives 0."""
    return {name: total / jnp.maximum(count, 1.0) for name, (total, count) in pairs.items()}


def make_measure(parts: ModelParts, objective: Trainable, compute_dtype: str = "float32") -> Callable:
    """The evaluation step (params, batch) -> Measured, without dropout; jit it."""

    def measure(params: Params, batch: Batch) -> Measured:
        return objective.measure(parts.merge(gather_unstacked(cast(params, compute_dtype))), batch, None)

    return measure
