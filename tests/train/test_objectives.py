"""Laws of the masked-LM objective on the device, and of the sums and counts it returns."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.metrics import add_up, divide
from train.objectives import MaskedLM, Measured
from train.objectives.scoring import gather, unigram_entropy


@pytest.fixture(scope="module")
def random_batch(random_rows):
    """Random batches as arrays of JAX, which is what a jitted function sees."""
    return lambda **shape: jax.tree.map(jnp.asarray, random_rows(**shape))


class Uniform:
    """A model that knows nothing: all logits equal."""

    def __call__(self, tokens, positions, segments, token_types=None, *, dropout_keys=None):
        return jnp.zeros((*tokens.shape, 4))

    def predict_tokens(self, hidden):
        return jnp.zeros((*hidden.shape[:2], 256))

    def predict_next_sentence(self, hidden):
        return jnp.zeros((*hidden.shape[:2], 2))


def test_uniform_model_scores_log_of_the_vocabulary(random_batch):
    seen = divide(add_up([MaskedLM().measure(Uniform(), random_batch(), None)]))
    assert seen["masked"] == pytest.approx(math.log(256), rel=1e-6)
    assert seen["next_sentence"] == pytest.approx(math.log(2), rel=1e-6)


def test_places_without_weight_do_not_matter(random_batch):
    """Targets, and the places they stand at, are free where the weight is zero."""
    batch = random_batch()

    class Lookup(Uniform):
        def __call__(self, tokens, *args, **kwargs):
            return jax.nn.one_hot(tokens, 256) * 3.0

        def predict_tokens(self, hidden):
            return hidden

    unused = batch.labels["masked_weights"] == 0
    changed = batch.labels | {
        "masked_targets": jnp.where(unused, 255 - batch.labels["masked_targets"], batch.labels["masked_targets"]),
        "masked_places": jnp.where(unused, 7, batch.labels["masked_places"]),
    }
    one, other = (MaskedLM().measure(Lookup(), rows, None) for rows in (batch, batch._replace(labels=changed)))
    assert one.terms["masked"] == other.terms["masked"]
    assert one.metrics["masked_accuracy"] == other.metrics["masked_accuracy"]


def test_batches_add_up(random_batch):
    """The mean over two batches of uneven weight is the mean over all their places."""
    parts = [random_batch(rows=4, seed=1), random_batch(rows=12, seed=2)]
    whole = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *parts)

    class Peaked(Uniform):
        def predict_tokens(self, hidden):
            return jnp.zeros((*hidden.shape[:2], 256)).at[..., :128].set(2.0)

    measured = [MaskedLM().measure(Peaked(), rows, None) for rows in (*parts, whole)]
    assert divide(add_up(measured[:2])) == pytest.approx(divide(add_up(measured[2:])), rel=1e-6)


def test_gather_takes_the_places():
    hidden = jnp.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    places = jnp.array([[4, 0], [2, 2]])
    assert (gather(hidden, places) == jnp.stack([hidden[0, [4, 0]], hidden[1, [2, 2]]])).all()


def test_scores_are_those_of_their_modes():
    means = {
        "all_masked": {"masked": 5.0, "masked_accuracy": 0.1},
        "as_trained": {"masked": 4.5, "next_sentence": 0.6, "next_sentence_accuracy": 0.7},
        "shuffled": {"masked": 5.25},
    }
    scores = MaskedLM().scores(means)
    assert scores["valid_loss"] == 5.0 and scores["valid_loss_80_10_10"] == 4.5
    assert scores["context_gain"] == 0.25 and scores["next_sentence_accuracy"] == 0.7
    assert set(MaskedLM().scores({"all_masked": means["all_masked"]})) == {"valid_loss", "masked_accuracy"}


def test_nothing_counted_is_left_out():
    zero = np.float32(0)
    assert divide(add_up([Measured({"masked": (zero, zero)}, {})])) == {}


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_entropy_of_equal_counts_is_the_logarithm(size):
    assert unigram_entropy([3] * size + [0]) == pytest.approx(math.log(size), abs=1e-12)
