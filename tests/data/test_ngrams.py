"""Count models: probabilities sum to one, documents stand apart, and the published table comes out."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from data.errors import DataError
from data.ngrams import additive_ngrams, all_ids, discounted_ngrams

V = 6
RNG = np.random.default_rng(0)
TRAIN = [RNG.choice(V - 1, size=n, p=[0.5, 0.2, 0.15, 0.1, 0.05]) for n in (40, 1, 2, 0, 25, 60, 3)]  # 5 is never seen
HELD_OUT = [RNG.integers(0, V, size=n) for n in (30, 1, 0, 7)]


def by_hand(train, held_out, order, add=None) -> list[float]:
    """The formulas with dictionaries, one token at a time."""
    counts = [defaultdict(Counter) for _ in range(order + 1)]
    for ids in train:
        for at, token in enumerate(ids):
            for n in range(1, min(order, at + 1) + 1):
                counts[n][tuple(ids[at - n + 1 : at])][token] += 1
    sizes = [Counter(count for after in table.values() for count in after.values()) for table in counts]
    discounts = [s[1] / (s[1] + 2 * s[2]) if s[1] and s[2] else 0.5 for s in sizes]

    def probability(token, history):
        if history is None:
            return 1 / V
        after = counts[len(history) + 1][history]
        if add is not None:
            return (after[token] + add) / (after.total() + add * V)
        lower = probability(token, history[1:] if history else None)
        if not after:
            return lower
        d = discounts[len(history) + 1]
        return (max(after[token] - d, 0) + d * len(after) * lower) / after.total()

    sums, tokens = [0.0] * order, sum(map(len, held_out))
    for ids in held_out:
        for at, token in enumerate(ids):
            for n in range(1, order + 1):
                sums[n - 1] -= math.log(probability(token, tuple(ids[max(0, at - n + 1) : at])))
    return [total / tokens for total in sums]


def test_vectors_equal_dictionaries():
    for model, add in ((discounted_ngrams, None), (additive_ngrams, 0.1)):
        scores = model(TRAIN, HELD_OUT, vocab_size=V, order=4)
        assert scores.tokens == 38
        np.testing.assert_allclose(scores.nats, by_hand(TRAIN, HELD_OUT, 4, add), rtol=1e-12)
        framed = model(TRAIN, HELD_OUT, vocab_size=V + 2, order=3, opening=V, closing=V + 1)
        assert framed.tokens == 38 + 4  # the closing token of each document, not the opening one


@pytest.mark.parametrize("model", [discounted_ngrams, additive_ngrams])
@pytest.mark.parametrize("history", [[], [0], [5], [4, 4], [5, 0], [1, 5]], ids=str)
def test_probabilities_sum_to_one(model, history):
    def nats(ids) -> float:
        scores = model(TRAIN, [np.array(ids)], vocab_size=V, order=3)
        return scores.nats[2] * scores.tokens

    before = nats(history) if history else 0.0
    assert sum(math.exp(before - nats([*history, token])) for token in range(V)) == pytest.approx(1.0)


def test_documents_stand_apart_and_their_order_does_not_matter():
    scores = discounted_ngrams(TRAIN, HELD_OUT, vocab_size=V)
    assert discounted_ngrams(TRAIN[::-1], HELD_OUT[::-1], vocab_size=V).nats == pytest.approx(scores.nats)
    joined = discounted_ngrams([np.concatenate(TRAIN)], HELD_OUT, vocab_size=V)
    assert joined.nats[0] == pytest.approx(scores.nats[0])
    assert joined.nats[2] != pytest.approx(scores.nats[2])
    # A framed document is a longer document whose first token is free.
    framed = [np.array([V, *ids, V + 1]) for ids in TRAIN]
    opened = discounted_ngrams(TRAIN, TRAIN, vocab_size=V + 2, opening=V, closing=V + 1)
    assert opened.tokens == sum(map(len, framed)) - len(framed)


def test_repeated_blocks_are_known_to_the_longer_history():
    text = [np.tile(np.arange(V), 50)]
    scores = discounted_ngrams(text, text, vocab_size=V)
    assert scores.nats[0] == pytest.approx(math.log(V), abs=0.01)
    assert scores.nats[1] < 0.06


def test_ids_of_prepared_documents(prepared):
    found = list(all_ids(prepared.train))
    assert len(found) == len(prepared.train)
    assert all(np.array_equal(ids, prepared.train.ids(number)) for number, ids in enumerate(found))
    vocab_size = prepared.tokenizer.vocab_size
    scores = discounted_ngrams(found, all_ids(prepared.valid), vocab_size=vocab_size)
    assert scores.tokens == prepared.valid.tokens
    assert scores.nats[1] < scores.nats[0] < math.log(vocab_size)


def test_what_cannot_be_counted_is_told():
    with pytest.raises(DataError, match="no tokens to count"):
        discounted_ngrams([np.zeros(0, int)], HELD_OUT, vocab_size=V)
    with pytest.raises(DataError, match="ids from 0 to 5 do not fit vocab_size=5"):
        additive_ngrams(TRAIN, HELD_OUT, vocab_size=5)


def test_the_published_floors_of_shakespeare(published):
    text = published("tinyshakespeare/input.txt").read_text(encoding="utf-8")
    number = {character: n for n, character in enumerate(sorted(set(text)))}
    ids = np.array([number[character] for character in text])
    cut = int(len(ids) * 0.9)
    plain = additive_ngrams([ids[:cut]], [ids[cut:]], vocab_size=65, order=5)
    assert plain.tokens == 111_540
    assert plain.nats == pytest.approx((3.347, 2.484, 2.046, 1.784, 1.788), abs=0.001)
    discounted = discounted_ngrams([ids[:cut]], [ids[cut:]], vocab_size=65, order=5)
    assert discounted.nats == pytest.approx((3.347, 2.487, 2.060, 1.798, 1.709), abs=0.001)
