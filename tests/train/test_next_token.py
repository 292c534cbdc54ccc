"""Laws of the objectives that predict the next token, on the device: values, sums, parts, and scores."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data.batch import Batch
from data.config import TextData
from data.documents import MemoryDocuments
from data.errors import DataError
from data.sentences import Encoded
from data.tokenizers import Bytes, train_tokenizer
from model.attention import MultiHead
from model.decoder import LanguageModel
from model.families import bert
from train.config import Experiment
from train.evaluator import Evaluator
from train.metrics import add_up, divide
from train.objectives import HeldOut, MaskedLM, NextToken, PrefixLM, SequenceToSequence, SpanCorruption
from train.objectives.scoring import score_tokens, spread
from train.optimizers import AdamW
from train.sharding import MeshShape, make_mesh
from train.state import build, init_state

OBJECTIVES = [NextToken(), PrefixLM(), SpanCorruption(), SequenceToSequence()]
NAMES = ["next_token", "prefix_lm", "span_corruption", "sequence_to_sequence"]
LATER = ("prefix_lm", "span_corruption")  # near to the two others
BY_NAME = [
    pytest.param(objective, id=name, marks=pytest.mark.slow if name in LATER else ())
    for objective, name in zip(OBJECTIVES, NAMES, strict=True)
]
VOCABULARY = 261


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = train_tokenizer(Bytes(), [])
    unused = tuple(range(VOCABULARY - 1, VOCABULARY - 9, -1))  # bytes that no UTF-8 holds
    tokenizer.special = tokenizer.special._replace(sentinels=unused)
    return tokenizer


@pytest.fixture(scope="module")
def documents(tokenizer):
    """Short texts that are also pairs: the second half of each repeats the first."""
    encoded = []
    for number in range(12):
        half = tokenizer.encode(f"text {number**3} of some words"[: 6 + number])
        encoded.append(Encoded(np.concatenate([half, half]), np.array([len(half), 2 * len(half)], np.int32)))
    return MemoryDocuments(encoded, tokenizer.special, size=sum(len(document.ids) for document in encoded))


@pytest.fixture(scope="module")
def evaluator(tokenizer, documents):
    """A factory: an objective's evaluator and the weights of a tiny model, on one device."""
    small = bert.config("tiny", vocab_size=VOCABULARY, max_length=32)
    model = dataclasses.replace(
        small,
        hidden_size=16,
        num_layers=1,
        attention=MultiHead(num_heads=2),
        mlp=dataclasses.replace(small.mlp, intermediate_size=16),
    )

    @functools.cache
    def make(objective):
        data = TextData(tokenizer=Bytes(), row_length=32, batch_size=4)
        experiment = Experiment(data=data, model=model, objective=objective, optimizer=AdamW(), steps=1)
        experiment = experiment.for_platform("cpu")
        built = build(experiment, make_mesh(MeshShape(), jax.devices()[:1]))
        state = init_state(lambda rngs: objective.build(model, rngs), 0, built.optimizer, built.target)
        return Evaluator(built, experiment, tokenizer, documents), state.params

    return make


class Uniform:
    """A model that knows nothing: all logits equal, whatever else it is given."""

    def __call__(self, tokens, positions, segments, **others):
        return jnp.zeros((*tokens.shape, 4))

    def predict_tokens(self, hidden):
        return jnp.zeros((*hidden.shape[:2], VOCABULARY))


@pytest.mark.parametrize("objective", BY_NAME)
def test_a_uniform_model_scores_the_log_of_the_vocabulary(objective, evaluator):
    batches = list(evaluator(objective)[0].batches(objective.modes[0]))
    seen = divide(add_up(objective.measure(Uniform(), jax.tree.map(jnp.asarray, batch), None) for batch in batches))
    assert seen["next"] == pytest.approx(math.log(VOCABULARY), rel=1e-6)
    scores = objective.scores({objective.modes[0]: seen})
    assert scores["valid_loss"] == seen["next"] and scores["perplexity"] == pytest.approx(VOCABULARY, rel=1e-5)


@pytest.mark.parametrize("objective", BY_NAME)
def test_rows_add_up_to_the_batch_and_padding_weighs_nothing(objective, evaluator):
    """The sums of a batch are those of its rows in any grouping; what stands where the weight is 0 is free."""
    seen, params = evaluator(objective)
    batch = next(seen.batches(objective.modes[0]))
    whole = add_up([seen._measure(params, batch)])
    order = [2, 0, 3, 1]
    turned = jax.tree.map(lambda rows: rows[order], batch)
    noise = np.where(batch.labels["next_weights"] == 0, 7, batch.labels["next_targets"])
    turned.labels["next_targets"] = noise[order]
    again = add_up([seen._measure(params, turned)])

    def only(rows: slice):
        return jax.tree.map(lambda array: np.concatenate([array[rows], np.zeros_like(array[rows])]), batch)

    apart = add_up(seen._measure(params, only(rows)) for rows in (slice(0, 2), slice(2, 4)))
    assert set(apart) == set(whole) == {"next", "accuracy"}
    for name, pair in whole.items():
        assert again[name] == pytest.approx(pair, rel=1e-5)
        assert apart[name] == pytest.approx(pair, rel=1e-5)
    assert whole["next"][1] == batch.labels["next_weights"].sum()


@pytest.mark.parametrize("objective", BY_NAME)
def test_every_score_and_sample_that_a_report_needs_is_there(objective, evaluator, documents, tokenizer):
    seen, params = evaluator(objective)
    scores = seen.full(params)
    assert {"valid_loss", "perplexity", "accuracy", "unigram_entropy", "context_gain", "held_out_targets"} <= set(
        scores
    )
    floors = set(objective.floors(documents, documents, tokenizer.vocab_size))
    assert set(objective.headline) <= set(scores) | floors
    assert all(np.isfinite(value) for value in scores.values())
    assert ("bits_per_byte" in scores) == isinstance(objective, NextToken)
    if isinstance(objective, NextToken):
        assert scores["held_out_targets"] == documents.tokens  # each token but the first, and [SEP]
        nats = scores["valid_loss"] * scores["held_out_targets"] / documents.bytes
        assert scores["bits_per_byte"] == pytest.approx(nats / math.log(2))
    quick = seen.quick(params)
    assert set(quick) == {"valid_loss", "perplexity", "accuracy"} and quick["valid_loss"] == pytest.approx(
        scores["valid_loss"]
    )
    samples = seen.samples(params, rows=3, places=4)
    assert samples and all(
        ("source" in sample) == isinstance(objective, (SpanCorruption, SequenceToSequence)) for sample in samples
    )
    for sample in samples:
        assert 1 <= len(sample["places"]) <= 4
        for place in sample["places"]:
            assert sample["tokens"][place["token_index"]] == place["target"]
            chances = [chance for _, chance in place["predictions"]]
            assert len(chances) == 5 and chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1


def test_a_prefix_is_seen_from_before_it_and_nothing_else_is():
    config = dataclasses.replace(bert.config("tiny", vocab_size=20, max_length=8), num_layers=1)
    model = LanguageModel(config, rngs=nnx.Rngs(0))
    places = np.tile(np.arange(8, dtype=np.int32), (9, 1))
    tokens = places % 5 + 5
    tokens[np.arange(8), np.arange(8)] = 10  # row n differs from the last row at place n
    batch = Batch(
        tokens=tokens,
        positions=places,
        segments=np.ones_like(places),
        example_ids=places[:, 0],
        epochs=places[:, 0],
        labels={},
        prefix=places < 4,
    )
    for objective, last in ((NextToken(), 0), (PrefixLM(), 3)):
        first = np.asarray(jax.jit(lambda rows, o=objective: o.hidden(model, rows, None)[:, 0])(batch))
        assert (first[:8] != first[8]).any(axis=1).tolist() == [at <= last for at in range(8)]


class Table:
    """Logits as a linear map of hidden states."""

    def __init__(self, weights):
        self.weights = weights

    def predict_tokens(self, hidden):
        return jnp.einsum("BKD,DV->BKV", hidden, self.weights)


@pytest.mark.parametrize("options", [{}, {"z_loss": 1e-2, "label_smoothing": 0.1}], ids=["plain", "regularised"])
def test_scoring_part_by_part_changes_nothing(options):
    """Parts that do not divide the places, in values and in gradients of hidden states and of what scores them."""
    draw = np.random.default_rng(0)
    hidden, weights = (jnp.asarray(draw.standard_normal(shape), jnp.float32) for shape in ((3, 11, 4), (4, 50)))
    labels = {
        "next_targets": jnp.asarray(draw.integers(0, 50, (3, 11))),
        "next_weights": jnp.asarray(draw.random((3, 11)) < 0.7, jnp.float32),
    }

    def loss(hidden, weights, most_logits):
        seen = score_tokens(Table(weights), hidden, labels, "next", most_logits=most_logits, **options)
        return seen.terms["next"][0], seen

    results = [
        jax.jit(jax.value_and_grad(functools.partial(loss, most_logits=most), argnums=(0, 1), has_aux=True))(
            hidden, weights
        )
        for most in (2**26, 3 * 50 * 4, 1)
    ]
    for other in results[1:]:
        for one, two in zip(jax.tree.leaves(results[0]), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_what_only_regularises_is_not_the_reported_loss():
    draw = np.random.default_rng(0)
    hidden = jnp.asarray(draw.standard_normal((2, 5, 9)), jnp.float32)
    labels = {"next_targets": jnp.asarray(draw.integers(0, 9, (2, 5))), "next_weights": jnp.ones((2, 5))}
    model = Table(jnp.eye(9))
    plain = divide(add_up([score_tokens(model, hidden, labels, "next")]))
    both = divide(add_up([score_tokens(model, hidden, labels, "next", z_loss=0.1, label_smoothing=0.2)]))
    only_z = divide(add_up([score_tokens(model, hidden, labels, "next", z_loss=0.1)]))
    assert both["next_nll"] == only_z["next_nll"] == plain["next"]
    assert only_z["next"] == pytest.approx(plain["next"] + only_z["z_loss"], rel=1e-6)
    assert only_z["z_loss"] == pytest.approx(0.1 * float((jax.nn.logsumexp(hidden, -1) ** 2).mean()), rel=1e-5)
    assert len({seen["next"] for seen in (plain, only_z, both)}) == 3
    for objective in (NextToken(z_loss=0.1), PrefixLM(z_loss=0.1)):
        assert objective.scores({"as_trained": only_z | {"accuracy": 0.5}})["valid_loss"] == plain["next"]
    masked = {"masked": 3.0, "masked_nll": 2.0, "masked_accuracy": 0.5}
    assert MaskedLM(label_smoothing=0.1).scores({"all_masked": masked})["valid_loss"] == 2.0


def test_scores_of_next_tokens():
    seen = {
        "as_trained": {"next": 2.0, "accuracy": 0.5},
        "second_half": {"next": 1.5, "accuracy": 0.6},
        "shuffled": {"next": 1.75, "accuracy": 0.4},
    }
    held_out = HeldOut(bytes=400, token_counts=np.array([0, 60, 60]), target_counts=np.array([20, 50, 30]))
    scores = NextToken().scores(seen, held_out)
    assert scores["valid_loss"] == 2.0 and scores["perplexity"] == math.exp(2.0)
    assert scores["nats_per_byte"] == 0.5 and scores["bits_per_byte"] == 0.5 / math.log(2)
    assert scores["context_gain"] == 0.25 and scores["second_half_loss"] == 1.5
    assert "bits_per_byte" not in NextToken(answer_after="=").scores(seen, held_out)
    assert "context_gain" not in NextToken().scores({"as_trained": seen["as_trained"], "shuffled": {}})
    assert PrefixLM().scores(seen, held_out)["context_gain"] == -0.25
    with pytest.raises(DataError, match="the held-out rows hold nothing that the objective asks for; name a larger"):
        NextToken(answer_after="=").scores({"as_trained": {}})


def test_impossible_options_are_refused_with_the_remedy():
    for objective in (MaskedLM, NextToken, PrefixLM, SpanCorruption, SequenceToSequence):
        with pytest.raises(ValueError, match=r"z_loss=-1 must be 0 or more, such as 1e-4"):
            objective(z_loss=-1)
        with pytest.raises(ValueError, match=r"label_smoothing=1.0 must lie in \[0, 1\), such as 0.1"):
            objective(label_smoothing=1.0)
    with pytest.raises(ValueError, match="a pair has one label; use next_sentence=False with sentence_order=True"):
        MaskedLM(sentence_order=True)
    with pytest.raises(DataError, match="rate=2 is out of range"):
        SpanCorruption(rate=2)
    with pytest.raises(DataError, match="target_length=0 is too small"):
        SequenceToSequence(target_length=0)


def test_spread_takes_the_first_and_the_last():
    assert spread(np.arange(10, 20), 4).tolist() == [10, 13, 16, 19]
    assert spread(np.arange(2), 4).tolist() == [0, 1] and spread(np.arange(0), 4).tolist() == []
