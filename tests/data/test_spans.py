"""Span corruption: source and target together are the text, in the published sizes, and no side ever overflows."""

import itertools
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import MemoryDocuments
from data.errors import DataError
from data.packing import PackPlan
from data.randomness import generator
from data.sentences import Encoded
from data.spans import CorruptSpans, NoisySpans, random_partition
from data.tokenizers import ByteBPE, SentencePiece, SpecialIds, WordPiece, train_tokenizer

SENTINELS, FIRST = 400, 410


SPECIAL = SpecialIds(pad=0, eos=1, sentinels=tuple(range(10 + SENTINELS - 1, 9, -1)))  # the last first, as T5 has them
# Vocabularies without sentinels are lent ids that no text of the test has.
CHOICES = [WordPiece(400), SentencePiece(300, sentinels=30), SentencePiece(300, "bpe", sentinels=30), ByteBPE(300)]


def vocabulary(size: int = 5_000):
    """A stand-in for a tokenizer: padding, end, sentinels, and ids that stand for text."""
    return SimpleNamespace(special=SPECIAL, vocab_size=size, ordinary=np.arange(FIRST, size, dtype=np.int32))


def documents_of(*lengths: int) -> MemoryDocuments:
    edges = np.cumsum([FIRST, *lengths])
    encoded = [
        Encoded(np.arange(start, stop, dtype=np.int32), np.array([stop - start], np.int32))
        for start, stop in itertools.pairwise(edges)
    ]
    return MemoryDocuments(encoded, SPECIAL)


def corrupted(documents, noise, row_length, epoch=0, mode="train"):
    plan = PackPlan(documents, noise, row_length=row_length, window=30, seed=0)
    corrupt = CorruptSpans(noise, vocabulary(FIRST + documents.tokens), row_length, mode)
    rows = [row for window in range(plan.windows) for row in plan.fill(plan.window(epoch, window))]
    return [corrupt(row, generator(0, "corrupt", epoch, number)) for number, row in enumerate(rows)]


def put_back(row, segment: int) -> list[int]:
    """The text of a segment: each sentinel of the source replaced by what the target says stands there."""
    source = row.source_tokens[row.source_segments == segment].tolist()
    target = row.labels["next_targets"][row.segments == segment].tolist()
    assert source[-1] == target[-1] == 1
    spans, order = {}, []
    for token in target[:-1]:
        if token < FIRST:
            order.append(token)
            spans[token] = []
        else:
            spans[order[-1]].append(token)
    assert order == [token for token in source[:-1] if token < FIRST] == list(SPECIAL.sentinels[: len(order)])
    assert all(spans.values())
    return [t for token in source[:-1] for t in (spans[token] if token < FIRST else [token])]


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=25),
    st.integers(3, 60),
    st.sampled_from([0.05, 0.15, 0.5, 0.9]),
    st.sampled_from([1.0, 3.0, 10.0]),
    st.integers(0, 2),
)
def test_both_sides_together_are_the_text_and_neither_overflows(lengths, row_length, rate, mean_span, epoch):
    noise, documents = NoisySpans(rate, mean_span), documents_of(*lengths)
    if max(lengths) < 2:
        return
    found = []
    for row in corrupted(documents, noise, row_length, epoch):
        assert len(row.source_tokens) == row_length and len(row.tokens) == noise.target_length(row_length)
        assert set(row.segments) - {0} == set(row.source_segments) - {0}
        assert (row.labels["next_weights"] == (row.segments > 0)).all()
        for segment in range(1, row.segments.max() + 1):
            text = put_back(row, segment)
            planned = noise.noise(len(text))
            assert planned.source == (row.source_segments == segment).sum()  # nothing fell off an end
            assert planned.target == (row.segments == segment).sum()
            assert (np.diff(text) == 1).all()
            found += text
    assert len(found) == len(set(found))
    lost = documents.tokens - len(found)  # passages of a single token
    assert lost <= len(lengths) if epoch == 0 else lost <= 2 * len(lengths)


def test_sizes_are_the_published_ones():
    """T5's: 568 tokens give a source of 512 and a target of 114; 15% of them are noise, in spans of 3 on average."""
    documents = documents_of(*[568] * 40)
    rows = corrupted(documents, NoisySpans(), 512)
    assert len(rows) == 40 and {row.tokens.shape for row in rows} == {(114,)}
    assert all((row.source_segments == 1).all() and (row.segments == 1).all() for row in rows)
    hidden = [int((row.labels["next_targets"] >= FIRST).sum()) for row in rows]
    sentinels = [int(((row.source_tokens < FIRST) & (row.source_tokens >= 10)).sum()) for row in rows]
    assert set(hidden) == {85} and set(sentinels) == {28}


@pytest.fixture(scope="module", params=CHOICES, ids=str)
def tokenizer(request, prepared):
    tokenizer = train_tokenizer(request.param, prepared.valid_texts())
    if not tokenizer.special.sentinels:
        seen = np.unique(np.concatenate(tokenizer.encode_batch(prepared.valid_texts())))
        unused = np.setdiff1d(tokenizer.ordinary, seen)[:30]
        tokenizer.special = tokenizer.special._replace(sentinels=tuple(unused.tolist()))
    return tokenizer


@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_the_stated_share_of_a_text_is_hidden_and_both_sides_spell_it(tokenizer, prepared, rate):
    noise, length = NoisySpans(rate), 64
    ids = tokenizer.encode_batch(prepared.valid_texts())
    documents = MemoryDocuments([Encoded(one, np.array([len(one)])) for one in ids], tokenizer.special)
    plan = PackPlan(documents, noise, row_length=length, window=30, seed=0)
    rows, corrupt = plan.fill(plan.window(0, 0)), CorruptSpans(noise, tokenizer, length)
    special = tokenizer.special
    marks = [special.eos if special.eos is not None else special.sep, *special.sentinels]
    whole = hidden = 0
    for number, row in enumerate(rows):
        seen = corrupt(row, generator(0, "corrupt", 0, number))
        target = seen.labels["next_targets"][seen.segments > 0]
        source = seen.source_tokens[seen.source_segments > 0]
        said = [tokens[~np.isin(tokens, marks)] for tokens in (source, target)]
        assert np.array_equal(np.sort(np.concatenate(said)), np.sort(row.tokens))
        whole, hidden = whole + len(row.tokens), hidden + len(said[1])
        starts = seen.tokens[(seen.positions == 0) & (seen.segments > 0)]
        assert set(starts.tolist()) == {special.pad if special.pad is not None else special.bos}
    assert whole > 500 and hidden / whole == pytest.approx(rate, abs=0.01)


def test_the_decoder_reads_its_target_one_place_late():
    for row in corrupted(documents_of(30, 12, 25, 9), NoisySpans(), 40):
        for segment in range(1, row.segments.max() + 1):
            here = row.segments == segment
            assert row.tokens[here].tolist() == [0, *row.labels["next_targets"][here].tolist()[:-1]]
            assert row.positions[here].tolist() == list(range(here.sum()))
        assert not row.tokens[row.segments == 0].any() and not row.source_tokens[row.source_segments == 0].any()


def test_every_partition_is_as_likely():
    drawn = [tuple(random_partition(5, 3, np.random.default_rng(seed)).tolist()) for seed in range(3_000)]
    counts = np.unique(drawn, axis=0, return_counts=True)[1]
    assert len(counts) == 6  # 4 choose 2
    assert counts == pytest.approx(np.full(6, 500), abs=5 * np.sqrt(500))
    assert random_partition(1, 1, np.random.default_rng(0)).tolist() == [1]


def test_the_same_key_hides_the_same_and_another_does_not():
    documents = documents_of(*[60] * 8)
    (one, again, other) = (corrupted(documents, NoisySpans(), 64, epoch)[0] for epoch in (0, 0, 1))
    assert np.array_equal(one.source_tokens, again.source_tokens) and np.array_equal(one.tokens, again.tokens)
    assert not np.array_equal(one.source_tokens, other.source_tokens)


def test_shuffled_sources_keep_targets_and_sentinels():
    documents = documents_of(*[60] * 8)
    plain, shuffled = (corrupted(documents, NoisySpans(), 64, mode=mode) for mode in ("as_trained", "shuffled"))
    for one, two in zip(plain, shuffled, strict=True):
        assert np.array_equal(one.labels["next_targets"], two.labels["next_targets"])
        assert not np.array_equal(one.source_tokens, two.source_tokens)
        assert np.array_equal(np.sort(one.source_tokens), np.sort(two.source_tokens))
        marks = one.source_tokens < FIRST
        assert np.array_equal(one.source_tokens[marks], two.source_tokens[marks])


def test_wrong_choices_are_told_with_the_remedy():
    with pytest.raises(DataError, match=r"rate=1.5 is out of range; use a share between 0 and 1"):
        NoisySpans(rate=1.5)
    with pytest.raises(DataError, match=r"mean_span=0.5 is too short"):
        NoisySpans(mean_span=0.5)
    with pytest.raises(DataError, match="row_length=2 is too short"):
        NoisySpans().target_length(2)
    with pytest.raises(
        DataError,
        match=r"has 400 sentinels, and span corruption of rows of 9000 needs 500; use --data.tokenizer.name sentence_piece",
    ):
        CorruptSpans(NoisySpans(), vocabulary(), 9_000)
    without = vocabulary()
    without.special = SPECIAL._replace(eos=None)
    with pytest.raises(DataError, match=r"no \[EOS\], which span corruption needs"):
        CorruptSpans(NoisySpans(), without, 64)
    assert len(pickle.dumps(CorruptSpans(NoisySpans(), vocabulary(), 64))) < 20_000
