"""What a classifier's answer owes to its tokens: the sum is right, padding owes nothing, a planted word owes most."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data.batch import Row
from data.tokenizers import load_tokenizer
from model.families import bert
from model.inspection.calls import Inputs, forward
from model.task_models import task_model
from train.task_attributions import attribute, attributions, hide

WORDS = Path(__file__).parents[1] / "data/published/bert"
PLANTED = 40


def row(tokens):
    count = np.arange(len(tokens), dtype=np.int32)
    return Row(np.array(tokens, np.int32), count, np.ones_like(count), np.zeros_like(count), {})


@pytest.fixture(scope="module")
def classifier():
    """An encoder of one layer over whose mean a head sees one word, 40, for class 1."""
    tokenizer = load_tokenizer(WORDS)
    config = dataclasses.replace(bert.config("tiny", vocab_size=tokenizer.vocab_size, max_length=64), num_layers=1)
    model = task_model("encoder", config, 2, "mean", pooler=False, rngs=nnx.Rngs(0))
    texts = [[2, *range(n, n + 4), 3] for n in range(5, 30)] + [[2, 4, 4, 4, 4, 3], [2, 5, PLANTED, 7, 8, 3]]
    tokens = jnp.asarray(texts, jnp.int32)
    places = jnp.broadcast_to(jnp.arange(6, dtype=jnp.int32), tokens.shape)
    *several, with_word = np.asarray(model.states(tokens, places, jnp.ones_like(tokens))).mean(1)
    others = np.stack(several)
    away = with_word - others.T @ np.linalg.lstsq(others.T, with_word, rcond=None)[0]  # what no other word has
    toward = 3 * away / (away @ away)
    model.classifier.kernel[...] = jnp.asarray(np.stack([-toward, toward], 1), jnp.float32)
    return model, tokenizer


def log_probability(model, one, named):
    inputs = Inputs(*(np.asarray(part)[None] for part in (one.tokens, one.positions, one.segments, one.token_types)))
    return float(jax.nn.log_softmax(forward(model, inputs)[0, 0])[named])


def test_the_planted_word_owes_most_and_speaks_for_its_class(classifier):
    model, tokenizer = classifier
    rows = [row([2, 5, 6, PLANTED, 7, 3]), row([2, 5, 6, PLANTED, 7, 3]), row([2, 9, PLANTED, 3])]
    one, other, third = attribute(model, tokenizer, rows, (1, 0, 1), steps=8)
    assert np.argmax(one.scores) == 3 and np.argmin(other.scores) == 3 and np.argmax(third.scores) == 2
    assert one.tokens == ("[CLS]", *(tokenizer.token(t) for t in (5, 6, PLANTED, 7)), "[SEP]")
    assert one.scores[0] == one.scores[-1] == 0.0 and len(third.scores) == 4  # marks stay in the baseline


def test_they_add_up_to_what_the_model_says(classifier):
    """Completeness: log p(class | x) less that of x with every word masked."""
    model, tokenizer = classifier
    one, masked = row([2, 5, 6, PLANTED, 7, 3]), row([2, 4, 4, 4, 4, 3])
    found, _ = attribute(model, tokenizer, [one, row([2, *range(5, 30), 3])], (1, 0), steps=16)  # padded for the other
    difference = log_probability(model, one, 1) - log_probability(model, masked, 1)
    assert sum(found.scores) == pytest.approx(difference, abs=0.01) and abs(difference) > 0.3
    assert hide(tokenizer, one.tokens).tolist() == masked.tokens.tolist()


def test_only_the_surest_mistakes_of_encoders_are_explained(classifier):
    model, tokenizer = classifier
    rows = [row([2, 5, 6, PLANTED, 3]), row([2, 5, 6, 7, 3]), row([2, 8, PLANTED, 9, 10, 3]), row([2] * 300)]
    held_out = SimpleNamespace(rows=rows)
    logits = np.array([[0, 3], [3, 0], [0, 1], [0, 9]], np.float32)
    found = attributions(model, held_out, logits, np.array([0, 0, 0, 0]), tokenizer)
    assert list(found) == [0, 2] and np.argmax(found[0].scores) == 3 and len(found[2].tokens) == 6
    assert attributions(SimpleNamespace(), held_out, logits, np.zeros(4, int), tokenizer) == {}
