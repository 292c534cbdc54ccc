"""Scores of heads: closed forms on maps made by hand, and a circuit whose heads are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from model.inspection.attention_scores import (
    attention_distance,
    confidence,
    duplicate_token_score,
    entropy,
    head_scores,
    induction_places,
    induction_score,
    next_token_score,
    previous_token_score,
    sink_mass,
    weight_on,
)
from model.inspection.head_table import HeadScores
from model.inspection.maps import AttentionMaps

T = 6
CAUSAL = np.tril(np.ones((T, T), bool))
UNIFORM = CAUSAL / CAUSAL.sum(-1, keepdims=True)


def random_weights(*shape, allowed=None, seed=0):
    drawn = np.random.default_rng(seed).gamma(0.5, size=shape) + 1e-3
    drawn = drawn if allowed is None else np.where(allowed, drawn, 0.0)
    total = drawn.sum(-1, keepdims=True)
    return (drawn / np.where(total > 0, total, 1.0)).astype(np.float32)


def maps_of(weights, kind="encoder", layers=None):
    weights = np.asarray(weights, np.float32)
    queries, keys = (tuple(f"w{n}" for n in range(size)) for size in weights.shape[-2:])
    return AttentionMaps(weights, queries, keys, tuple(range(len(weights))), tuple(range(weights.shape[1])), kind)


def test_a_uniform_causal_head_in_closed_form():
    counts = np.arange(1, T + 1)
    assert entropy(UNIFORM) == pytest.approx(np.log(counts).mean())
    assert entropy(UNIFORM, CAUSAL, normalised=True) == pytest.approx(1.0)  # the first row has no choice, and no say
    assert attention_distance(UNIFORM) == pytest.approx(((counts - 1) / 2).mean())
    assert confidence(UNIFORM) == pytest.approx((1 / counts).mean())
    assert sink_mass(UNIFORM, np.arange(T) == 0) == pytest.approx((1 / counts).mean())
    assert previous_token_score(UNIFORM) == pytest.approx((1 / counts[1:]).mean())
    assert np.isnan(next_token_score(UNIFORM, CAUSAL))


def test_heads_that_do_one_thing_score_one_for_it_and_zero_for_the_rest():
    tokens = np.array([3, 1, 4, 3, 1, 4])
    previous, following = np.eye(T, k=-1), np.eye(T, k=1)
    previous[0, 0] = following[-1, -1] = 1.0
    duplicate, induction = np.eye(T, k=-3), np.eye(T, k=-2)
    assert previous_token_score(previous) == 1 and next_token_score(previous) == 0
    assert next_token_score(following) == 1 and previous_token_score(following) == 0
    assert duplicate_token_score(duplicate, tokens) == 1 and induction_score(duplicate, tokens) == 0
    assert induction_score(induction, tokens) == 1 and duplicate_token_score(induction, tokens) == 0


def test_induction_counts_all_earlier_occurrences_and_only_rows_that_have_one():
    tokens = np.array([5, 7, 5, 8, 5])
    expected = np.zeros((5, 5), bool)
    expected[2, 1] = expected[4, 1] = expected[4, 3] = True
    np.testing.assert_array_equal(induction_places(tokens), expected)
    weights = random_weights(5, 5)
    assert induction_score(weights, tokens) == pytest.approx((weights[2, 1] + weights[4, 1] + weights[4, 3]) / 2)
    assert np.isnan(induction_score(weights, np.arange(5)))


def test_scores_by_the_definition_row_by_row():
    tokens = np.random.default_rng(1).integers(0, 4, 12)
    allowed = np.tril(np.ones((12, 12), bool))
    weights = random_weights(2, 3, 12, 12, allowed=allowed)
    for score, shift in ((duplicate_token_score, 0), (induction_score, 1)):
        found = score(weights, tokens)
        for layer, head in np.ndindex(2, 3):
            rows = []
            for t in range(12):
                places = [s + shift for s in range(t) if tokens[s] == tokens[t]]
                rows += [weights[layer, head, t, places].sum()] if places else []
            assert found[layer, head] == pytest.approx(np.mean(rows))


def test_padding_cannot_matter():
    tokens = np.array([3, 1, 4, 3, 1, 4])
    real = random_weights(2, 3, T, T)
    padded = np.zeros((2, 3, T + 4, T + 4), np.float32)
    padded[..., :T, :T] = real
    alone = head_scores(maps_of(real), tokens)
    beside = head_scores(maps_of(padded), np.concatenate([tokens, [0, 0, 0, 0]]))
    for name in alone.names:
        np.testing.assert_allclose(beside[name], alone[name], rtol=1e-6, err_msg=name)


def test_packed_documents_score_as_the_mean_of_their_rows():
    first, second = np.array([1, 2, 1, 2]), np.array([2, 1, 2, 1, 2])
    weights, allowed = np.zeros((9, 9)), np.zeros((9, 9), bool)
    for at, size in ((0, 4), (4, 5)):
        part = np.tril(np.ones((size, size), bool))
        allowed[at : at + size, at : at + size] = part
        weights[at : at + size, at : at + size] = random_weights(size, size, allowed=part, seed=at)
    together = induction_score(weights, np.concatenate([first, second]), allowed)
    apart = [induction_score(weights[:4, :4], first), induction_score(weights[4:, 4:], second)]
    assert together == pytest.approx((2 * apart[0] + 3 * apart[1]) / 5)  # rows with an earlier occurrence


def test_a_learned_sink_counts_as_one_and_leaves_the_entropy_of_the_rest():
    weights = 0.25 * np.full((4, 4), 0.25)
    assert sink_mass(weights, np.zeros(4, bool)) == pytest.approx(0.75)
    assert entropy(weights) == pytest.approx(np.log(4))


def test_batches_are_scored_example_by_example():
    tokens = np.random.default_rng(2).integers(0, 3, (4, T))
    weights = random_weights(4, 2, T, T)
    found = induction_score(weights, tokens[:, None])
    for example in range(4):
        np.testing.assert_allclose(found[example], induction_score(weights[example], tokens[example]))


def test_what_a_kind_of_attention_cannot_show_is_left_out():
    tokens = np.arange(T)
    decoder = head_scores(maps_of(random_weights(1, 2, T, T, allowed=CAUSAL), "decoder"), tokens)
    assert "next_token" not in decoder.names and "induction" in decoder.names
    cross = head_scores(maps_of(random_weights(1, 2, 3, T), "cross"))
    assert cross.names == ("entropy", "normalised_entropy", "confidence", "sink_mass")
    assert "induction" not in head_scores(maps_of(random_weights(1, 2, T, T))).names


def test_mistakes_are_named():
    maps = maps_of(random_weights(1, 2, T, T))
    with pytest.raises(ValueError, match="5 tokens for maps of 6 words"):
        head_scores(maps, np.arange(5))
    with pytest.raises(ValueError, match="say kind='cross'"):
        head_scores(maps_of(random_weights(1, 2, 3, T)))
    scores = head_scores(maps)
    with pytest.raises(ValueError, match="there is no score 'induktion' here; there are entropy"):
        scores["induktion"]
    with pytest.raises(ValueError, match="not 1 layers x 3 heads"):
        HeadScores({"entropy": np.zeros((1, 2))}, (0,), (0, 1, 2))


def test_the_table_sorts_prints_and_keeps_the_models_numbers():
    table = HeadScores({"induction": np.array([[0.2, 0.9], [np.nan, 0.5]])}, (3, 7), (0, 4), title="a & b")
    assert table.top("induction") == [(3, 4, 0.9), (7, 4, 0.5), (3, 0, 0.2)]
    assert table.top("induction", 1, lowest=True) == [(3, 0, 0.2)]
    assert table["induction"].axes == ("layer", "head")
    assert [(row["layer"], row["head"]) for row in table.rows("induction")][:2] == [(3, 4), (7, 4)]
    assert "3.4 0.90  7.4 0.50  3.0 0.20" in repr(table)
    page = table._repr_html_()
    assert page.count("<td") == 4 and "layer 7, head 4: 0.500" in page and "a &amp; b" in page


def test_the_planted_heads_are_found_and_no_other(planted):
    model = planted.planted_induction()
    for seed in range(3):
        tokens = planted.repeated_tokens(seed=seed)
        scores = head_scores(planted.causal_maps(model, tokens), tokens)
        induction = np.asarray(scores["induction"])
        assert induction[planted.INDUCTION] > 0.95
        induction[planted.INDUCTION] = 0.0
        assert induction.max() < 0.1
        assert scores["previous_token"][planted.PREVIOUS] > 0.95
        assert scores["duplicate_token"][planted.DUPLICATE] > 0.95
        assert scores["distance"][planted.DIAGONAL] < 0.01
        assert scores.top("induction", 1)[0][:2] == planted.INDUCTION


def test_the_planted_circuit_copies_and_its_head_is_why(planted):
    model = planted.planted_induction()
    tokens = planted.repeated_tokens()
    inputs = planted.inputs_of(tokens)

    def right() -> float:
        guess = np.asarray(model.predict_tokens(model(*inputs))[0].argmax(-1))
        return float((guess[24:71] == tokens[25:]).mean())

    assert right() == 1.0
    layer, head = planted.INDUCTION
    out = model.layers.attention.out.kernel
    out[...] = out[...].at[layer, head].set(0.0)
    assert right() < 0.1


def test_weights_may_come_from_jax_by_way_of_numpy():
    weights = jnp.full((1, 2, 3, 3), 1 / 3)
    assert weight_on(np.asarray(weights), np.eye(3, dtype=bool)).shape == (1, 2)
