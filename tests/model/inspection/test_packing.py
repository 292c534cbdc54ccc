"""What is kept of a map: within 0.02 of every weight, and no mass of any row is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.inspection.packing import COARSER, LEVELS, STEPS, choose_step, from_stream, quantise, restore, streams

from .conftest import softmax


def one_peak_over_a_plain(rng, size):
    """Rows of one large weight and very many that are each smaller than half of a coarse step."""
    rest = rng.uniform(0, 0.2, (size, 1)).astype(np.float32)
    weights = np.broadcast_to(rest / (size - 1), (size, size)).copy()
    weights[np.arange(size), rng.integers(0, size, size)] = 1 - rest[:, 0]
    return weights


def kinds(size: int = 160) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    lower = np.tril(np.ones((size, size), bool))
    scores = rng.normal(size=(size, size))
    return {
        "flat": softmax(scores),
        "sharp": softmax(6 * scores),
        "causal": softmax(np.where(lower, 2 * scores, -np.inf)),
        "causal and uniform": softmax(np.where(lower, 0.0, -np.inf)),
        "uniform": np.full((size, size), 1 / size, np.float32),
        "previous word": np.eye(size, k=-1, dtype=np.float32),
        "a peak over a plain": one_peak_over_a_plain(rng, size),
        "nothing": np.zeros((size, size), np.float32),
        "a sink of its own": 0.3 * softmax(scores),
    }


def check(weights, step):
    kept = restore(quantise(weights, step))
    assert np.abs(kept - weights).max() <= 0.02
    assert np.abs(kept.sum(-1) - weights.sum(-1)).max() <= 0.001  # the bar is 0.01
    assert ((kept > 0) == (weights > 0)).all()  # what is masked stays masked, and nothing else becomes so


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", kinds())
def test_weights_are_kept_and_no_mass_is_lost(kind, step):
    check(kinds()[kind], step)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 12), st.sampled_from(STEPS), st.integers(0, 2**32 - 1))
def test_any_softmax_is_kept(queries, keys, spread, step, seed):
    check(softmax(spread * np.random.default_rng(seed).normal(size=(queries, keys))), step)


@pytest.mark.parametrize("step", STEPS)
def test_every_weight_stays_in_its_own_step(step):
    weights = kinds()["flat"]
    steps = np.maximum(np.sqrt(weights.max(-1, keepdims=True)) / LEVELS, step)
    assert (np.abs(np.sqrt(restore(quantise(weights, step))) - np.sqrt(weights)) <= 1.001 * steps).all()


@pytest.mark.parametrize("step", STEPS)
def test_equal_weights_are_exact(step):
    """A uniform head over 512 words is not blank, not even roughly right: it is what it was."""
    for kind in ("uniform", "causal and uniform", "previous word"):
        weights = kinds(512)[kind]
        np.testing.assert_allclose(restore(quantise(weights, step)), weights, rtol=5e-4)


def test_weights_above_one_are_kept_too():
    weights = 40 * kinds()["sharp"]
    assert np.abs(restore(quantise(weights)) - weights).max() < 0.005 * weights.max()


@pytest.mark.parametrize("step", [0.0, 1 / 63])
def test_a_stream_gives_back_what_was_put_in(step):
    weights = np.stack([kinds()["flat"], kinds()["causal"]])[:, :, :100]
    packed = quantise(weights, step)
    for head, stream in enumerate(streams(packed)):
        np.testing.assert_array_equal(restore(from_stream(stream, weights.shape[1])), restore(packed)[head])


def test_the_triangle_behind_the_mask_takes_no_room():
    whole, half = (sum(map(len, streams(quantise(kinds(512)[kind][None])))) for kind in ("flat", "causal"))
    assert half < 0.6 * whole


def test_steps_are_coarser_only_where_they_must_be():
    maps = np.stack([kinds()["flat"]] * 4)[None]
    size = sum(map(len, streams(quantise(maps[0]))))
    assert choose_step([maps], int(1.2 * size)) == STEPS[0]
    assert STEPS[0] < choose_step([maps], int(0.7 * size)) < STEPS[-1]
    assert choose_step([maps, maps], int(0.1 * size)) == COARSER[-1]
