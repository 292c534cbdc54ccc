"""Losses of tasks against their formulas in NumPy: contrast with hard negatives, choices, ends of answers."""

import jax.numpy as jnp
import numpy as np
import pytest

from data.batch import Batch
from data.tasks.metric_names import FITTING
from train.objectives.segments import Choose, Contrast
from train.objectives.tasks import FindAnswers
from train.task_metrics import METRICS

ROWS, WIDTH = 4, 6


class Given:
    """A model whose states are what it was made with: of segments [B, P, D], or of tokens [B, T, D]."""

    def __init__(self, states):
        self.given = jnp.asarray(states, jnp.float32)

    def states(self, *arrays, dropout_keys=None):
        return self.given

    def summed_up(self, states, segments, count=1):
        return states if count == 1 else states[:, :count]  # one: every token by itself

    def classify(self, states, dropout_keys=None):
        return states


def batch_of(segments, **labels) -> Batch:
    """A batch of rows with these segments; tokens do not matter."""
    segments = jnp.asarray(segments, jnp.int32)
    rows = segments.shape[0]
    zeros = jnp.zeros_like(segments)
    return Batch(
        tokens=zeros,
        positions=zeros,
        segments=segments,
        token_types=zeros,
        example_ids=jnp.arange(rows, dtype=jnp.int32),
        epochs=jnp.zeros(rows, jnp.int32),
        labels={name: jnp.asarray(value) for name, value in labels.items()},
    )


def log_softmax(scores):
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


@pytest.mark.parametrize("texts", [2, 3])
def test_a_text_is_told_from_every_partner_and_every_hard_negative_of_the_batch(texts):
    rng = np.random.default_rng(0)
    states = rng.normal(size=(ROWS, texts, WIDTH))
    weights = np.array([[1.0], [1.0], [1.0], [0.0]])  # the last row fills up the batch
    batch = batch_of(np.tile(np.arange(1, texts + 1), (ROWS, 1)), pair_weights=weights)
    seen = Contrast(temperature=0.1, segments=texts).measure(Given(states), batch, None)

    vectors = states / np.linalg.norm(states, axis=-1, keepdims=True)
    others = np.concatenate([vectors[:3, place] for place in range(1, texts)])  # partners, then negatives
    scores = log_softmax(vectors[:3, 0] @ others.T / 0.1)
    total, count = seen.terms["pair"]
    assert float(count) == 3
    np.testing.assert_allclose(float(total), -np.trace(scores[:, :3]), rtol=1e-5)
    right, _ = seen.metrics["accuracy"]
    assert float(right) == (scores.argmax(-1) == np.arange(3)).sum()


def test_a_hard_negative_makes_it_harder_by_what_it_weighs():
    """With one row there is nothing to tell apart but its own negative: loss = log(1 + exp((c_n - c_p) / t))."""
    states = np.array([[[1.0, 0.0], [1.0, 1.0], [1.0, -2.0]]])
    batch = batch_of([[1, 2, 3]], pair_weights=[[1.0]])
    alone = Contrast(segments=2, temperature=0.5).measure(Given(states), batch, None).terms["pair"][0]
    assert float(alone) == pytest.approx(0.0, abs=1e-6)
    both = Contrast(segments=3, temperature=0.5).measure(Given(states), batch, None).terms["pair"][0]
    near, far = 1 / np.sqrt(2), 1 / np.sqrt(5)
    assert float(both) == pytest.approx(np.log1p(np.exp((far - near) / 0.5)), rel=1e-5)


def test_a_choice_that_a_question_lacks_cannot_win():
    scores = np.array([[[0.1], [0.3], [9.0]], [[0.2], [0.1], [0.5]]])
    batch = batch_of(
        [[1, 2, 0], [1, 2, 3]], choice_targets=np.array([[1], [2]], np.int32), choice_weights=np.ones((2, 1))
    )
    objective = Choose(choices=3)
    assert np.asarray(objective.predict(Given(scores), batch)["logits"]).argmax(-1).tolist() == [1, 2]
    total, count = objective.measure(Given(scores), batch, None).terms["choice"]
    expected = -log_softmax(scores[0, :2, 0])[1] - log_softmax(scores[1, :, 0])[2]
    assert float(count) == 2
    np.testing.assert_allclose(float(total), expected, rtol=1e-5)


def test_an_answer_does_not_begin_or_end_in_padding():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(2, 5, 2))
    scores[0, 3:] = 50.0
    batch = batch_of(
        [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]],
        start_targets=np.array([[1], [0]], np.int32),
        end_targets=np.array([[2], [4]], np.int32),
        start_weights=np.ones((2, 1)),
        end_weights=np.ones((2, 1)),
    )
    seen = FindAnswers().measure(Given(scores), batch, None)
    for side, (name, targets) in enumerate((("start", (1, 0)), ("end", (2, 4)))):
        lengths = (3, 5)
        expected = sum(-log_softmax(scores[n, : lengths[n], side])[targets[n]] for n in range(2)) / 2
        np.testing.assert_allclose(float(seen.terms[name][0]), expected, rtol=1e-5)
    assert np.asarray(FindAnswers().predict(Given(scores), batch)["start"])[0, 3:].max() < -1e8


def test_whatever_a_task_may_name_is_computed():
    """By the scorers of its kind, or by its objective."""
    own = {"Similarity": {"accuracy"}, "Generation": {"perplexity"}}
    kinds = {"MultiLabel": "multi_label", "MultipleChoice": "multiple_choice"}
    for kind, names in FITTING.items():
        assert set(names) <= {*METRICS[kinds.get(kind, kind.lower())], *own.get(kind, ())}, kind
