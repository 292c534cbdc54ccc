"""Drawing the next token, in closed form: which tokens are kept, how often each is drawn, what a penalty does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.sampling import LOWEST, Sampling, SamplingError, choose, kept, penalized

CHANCES = jnp.log(jnp.array([[0.05, 0.4, 0.1, 0.25, 0.2]]))


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ({"top_k": 1}, {1}),
        ({"top_k": 3}, {1, 3, 4}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.01}, {1}),
        ({"top_p": 0.39}, {1}),
        ({"top_p": 0.64}, {1, 3}),
        ({"top_p": 0.66}, {1, 3, 4}),
        ({"top_p": 1.0}, {0, 1, 2, 3, 4}),
        ({"top_k": 2, "top_p": 0.62}, {1, 3}),  # of the two that are left the first has 0.615
        ({"top_k": 2, "top_p": 0.61}, {1}),
        ({"top_p": 1e-12}, {1}),
        ({"top_k": 5, "top_p": 1.0, "min_p": 0.0}, {0, 1, 2, 3, 4}),
        ({"min_p": 0.49}, {1, 3, 4}),
        ({"min_p": 0.51}, {1, 3}),
        ({"min_p": 1.0}, {1}),
        ({"min_p": 0.0}, {0, 1, 2, 3, 4}),
        ({"top_k": 4, "min_p": 0.2}, {1, 2, 3, 4}),
    ],
)
def test_exactly_the_right_tokens_are_kept(choice, left):
    sampling = Sampling(1.0, **choice)
    found = kept(CHANCES, sampling.rule, sampling.knobs)
    assert set(np.flatnonzero(found[0] > LOWEST)) == left
    np.testing.assert_array_equal(found[0, sorted(left)], CHANCES[0, sorted(left)])


@pytest.mark.parametrize("top_p", [0.5, 0.9, 0.9999, 0.9999999, 1.0])
def test_a_nucleus_of_many_tokens_is_that_of_exact_sums(top_p):
    """Fifty thousand flat scores, where sums in float32 that begin at the likeliest are wrong by more than the whole tail."""
    scores = np.random.default_rng(0).normal(0, 2, (2, 50_000)).astype(np.float32)
    sampling = Sampling(1.0, top_p=top_p)
    found = np.asarray(kept(jnp.asarray(scores), sampling.rule, sampling.knobs)) > LOWEST
    for row, stays in zip(scores.astype(np.float64), found, strict=True):
        chances = np.sort(np.exp(row - row.max()) / np.exp(row - row.max()).sum())
        expected = int((np.cumsum(chances) > 1 - top_p).sum()) if top_p < 1 else len(row)
        assert abs(int(stays.sum()) - expected) <= max(1, (len(row) - expected) // 1_000)
        assert row[stays].min() >= row[~stays].max(initial=-np.inf)
    assert found.all() or top_p < 1


def test_scores_that_are_equal_stay_or_go_together():
    """Those too that equal the k-th and are more than k: top-p is of all that top-k left."""
    tied = jnp.log(jnp.array([[0.4, 0.2, 0.2, 0.2]]))
    for choice, left in [
        ({"top_k": 2, "top_p": 0.5}, 4),
        ({"top_k": 2, "top_p": 0.39}, 1),
        ({"top_k": 1}, 1),
        ({"top_p": 0.41}, 4),
    ]:
        sampling = Sampling(1.0, **choice)
        assert int((kept(tied, sampling.rule, sampling.knobs) > LOWEST).sum()) == left, choice


def test_a_temperature_near_zero_takes_the_best_and_never_divides_to_infinity():
    keys, sampling = jax.random.split(jax.random.key(0), 2), Sampling(1e-30)
    scores = jnp.array([[1e10, 3e10, 2e10], [-3e10, -2e10, -1e10]])
    assert choose(scores, sampling.rule, sampling.knobs, keys, jnp.asarray(0)).tolist() == [1, 2]


def test_what_keeps_every_token_is_no_part_of_the_program():
    assert Sampling(1.0, top_p=1.0, min_p=0.0).rule == Sampling(1.0).rule


def test_tokens_are_drawn_as_often_as_they_are_likely():
    draws, sampling = 20_000, Sampling(0.5, top_k=4)
    keys = jax.random.split(jax.random.key(3), draws)
    scores = jnp.tile(CHANCES, (draws, 1))
    found = jax.jit(lambda scores: choose(scores, sampling.rule, sampling.knobs, keys, jnp.asarray(2)))(scores)
    expected = np.array([0.0, 0.4, 0.1, 0.25, 0.2]) ** 2
    expected /= expected.sum()
    counts = np.bincount(found, minlength=5) / draws
    assert counts[0] == 0 and np.abs(counts - expected).max() < 4 * np.sqrt(0.25 / draws)


def test_a_penalty_divides_positive_scores_and_multiplies_negative_ones():
    scores, seen = jnp.array([[3.0, -3.0, 3.0, -3.0]]), jnp.array([[True, True, False, False]])
    np.testing.assert_allclose(penalized(scores, seen, 1.5)[0], [2.0, -4.5, 3.0, -3.0])


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        ({"temperature": -0.1}, "must be 0 .greedy. or a positive number"),
        ({"temperature": float("nan")}, "temperature=nan must be"),
        ({"temperature": 1.0, "top_k": 0}, "top_k=0 must be 1 or more"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p=0.0 must lie in"),
        ({"temperature": 1.0, "top_p": 1.1}, "top_p=1.1 must lie in"),
        ({"temperature": 1.0, "min_p": -0.1}, "min_p=-0.1 must lie in"),
        ({"repetition_penalty": 0.0}, "repetition_penalty=0.0 must be positive"),
        ({"temperature": 1e-40}, "too small to divide by in float32; use 0"),
        ({"top_k": 5}, "top_k means nothing without a temperature above 0"),
    ],
)
def test_choices_that_mean_nothing_are_refused(choice, error):
    with pytest.raises(SamplingError, match=error):
        Sampling(**choice)
