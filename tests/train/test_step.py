"""Laws of the training step: accumulation is exact, devices do not matter, what is not finite touches nothing."""

import jax
import numpy as np
import pytest

from train.checkpoint import state_digest
from train.step import example_keys, term_counts

CUBE = ("data=2,fsdp=2,tensor=2", 2)  # every kind of parallelism, and accumulation, at once
MESHES = [("data=8", 1), ("fsdp=8,data=1", 1), ("data=2,fsdp=2,tensor=2", 1)]


def gradient_after_one_step(state) -> np.ndarray:
    """All gradients of a first step in one vector: Adam's first moment, which is a tenth of them."""
    moments = next(part.mu for part in state.optimizer if hasattr(part, "mu"))
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(moments))])


def assert_same_training(run, random_rows, reference) -> None:
    """Losses of three steps and the gradient of the first within 1e-5 relative of the reference."""
    losses, gradient = reference
    first = run.run(random_rows())
    here = gradient_after_one_step(run.state)
    assert np.linalg.norm(here - gradient) <= 1e-5 * np.linalg.norm(gradient)
    seen = first + run.run(*(random_rows(seed=seed) for seed in (1, 2)))
    for ours, theirs in zip(seen, losses, strict=True):
        for name in ours:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-9), name


@pytest.fixture(scope="module")
def reference(training, random_rows):
    """Three steps on one device: their scalars, and the gradient of the first."""
    alone = training()
    first = alone.run(random_rows())
    gradient = gradient_after_one_step(alone.state)
    return first + alone.run(*(random_rows(seed=seed) for seed in (1, 2))), gradient


@pytest.mark.parametrize(
    ("mesh", "accumulate"), [CUBE, *(pytest.param(*mesh, marks=pytest.mark.slow) for mesh in MESHES)]
)
def test_devices_do_not_matter(mesh, accumulate, training, random_rows, reference):
    assert_same_training(training(mesh, accumulate), random_rows, reference)


def test_memory_is_split(training):
    """On 2 x 2 x 2 devices the arguments of a step take at most 0.3 of what they take on one."""
    alone = training().step().memory_analysis().argument_size_in_bytes
    split = training(*CUBE).step().memory_analysis().argument_size_in_bytes
    assert split <= 0.3 * alone


def test_micro_batches_add_up(training, random_rows, reference):
    """Micro-batches of uneven weight: the gradient is that of the whole batch, not a mean of means."""
    assert_same_training(training(accumulate=8), random_rows, reference)


def test_dropout_does_not_depend_on_mesh_or_accumulation(training, random_rows):
    batch = random_rows()
    ways = [("", 1), CUBE]
    losses = [training(mesh, accumulate, dropout=0.3).run(batch)[0]["loss"] for mesh, accumulate in ways]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert losses[0] != pytest.approx(training().run(batch)[0]["loss"], rel=1e-4), "dropout does nothing"


def test_keys_differ_between_epochs_examples_and_seeds(random_rows):
    batch = random_rows()
    later = batch._replace(epochs=batch.epochs + 1)
    keys = [np.asarray(example_keys(seed, rows)) for seed, rows in [(0, batch), (1, batch), (0, later)]]
    assert len(np.unique(np.concatenate(keys))) == 3 * len(batch.example_ids)


def poisoned(state, value: float):
    """A state whose final bias of the token head is not finite, so that the loss is not either."""
    params = jax.tree.map(lambda leaf: leaf, state.params)
    params["token_head"]["bias"] = params["token_head"]["bias"].at[0].set(value)
    return state._replace(params=params)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_touches_nothing(value, training, random_rows):
    run = training()
    run.run(random_rows())
    run.state = poisoned(run.state, value)
    before = state_digest(run.state.params), state_digest(run.state.optimizer)
    (seen,) = run.run(random_rows(seed=1))
    assert (seen["skipped"], seen["skips_in_a_row"]) == (1.0, 1.0)
    assert (state_digest(run.state.params), state_digest(run.state.optimizer)) == before
    assert int(run.state.step) == 2 and int(run.state.skips) == 1


def test_skips_in_a_row_start_over(training, random_rows):
    run = training()
    clean = jax.tree.map(np.asarray, run.state.params)
    run.state = poisoned(run.state, float("nan"))
    assert [seen["skips_in_a_row"] for seen in run.run(random_rows(), random_rows(seed=1))] == [1.0, 2.0]
    run.state = run.state._replace(
        params=jax.device_put(clean, jax.tree.map(lambda leaf: leaf.sharding, run.target.params))
    )
    (seen,) = run.run(random_rows(seed=2))
    assert (seen["skipped"], seen["skips_in_a_row"], int(run.state.skips)) == (0.0, 0.0, 2)


def test_skipped_step_does_not_advance_the_learning_rate(training, random_rows):
    run = training()
    first = run.run(random_rows())[0]["learning_rate"]
    run.state = poisoned(run.state, float("nan"))
    skipped, again = (seen["learning_rate"] for seen in run.run(random_rows(seed=1), random_rows(seed=2)))
    assert first < skipped == again


def test_counts_are_those_of_the_labels(random_rows):
    batch = random_rows()
    counts = term_counts(batch)
    assert set(counts) == {"masked", "next_sentence"}
    assert float(counts["masked"]) == batch.labels["masked_weights"].sum()
    empty = batch._replace(labels={name: np.zeros_like(value) for name, value in batch.labels.items()})
    assert float(term_counts(empty)["masked"]) == 1.0
