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
        ({"top_k": 5}, "top_k means nothing without a temperature above 0"),
    ],
)
def test_choices_that_mean_nothing_are_refused(choice, error):
    with pytest.raises(SamplingError, match=error):
        Sampling(**choice)
