"""Plans: every token has its place, rows keep within bounds, pairs are what their labels say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import MemoryDocuments, Part
from data.errors import DataError
from data.packing import START, Anchor, DocumentOrder, PackPlan, pack
from data.passages import Passages
from data.sentence_pairs import SentencePairs
from data.sentences import Encoded
from data.tokenizers import SpecialIds

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)


def documents_of(*sentence_lengths: list[int]) -> MemoryDocuments:
    """Documents whose tokens are all different: token 10 + n is the n-th of all."""
    encoded, at = [], 10
    for lengths in sentence_lengths:
        ends = np.cumsum(lengths).astype(np.int32)
        encoded.append(Encoded(np.arange(at, at + ends[-1], dtype=np.int32), ends))
        at += int(ends[-1])
    return MemoryDocuments(encoded, SPECIAL)


shapes = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12), min_size=2, max_size=25)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 30), max_size=80), st.integers(1, 6))
def test_pack_places_each_length_once_and_never_overfills(lengths, most):
    bins = pack(lengths, room=30, most=most)
    assert sorted(item for members in bins for item in members) == list(range(len(lengths)))
    assert all(sum(lengths[item] for item in members) <= 30 and len(members) <= most for members in bins)
    if most == 6 and lengths:
        assert len(bins) <= max(2 * sum(lengths) / 30 + 1, len(lengths) / 6 + 1)


def filled(plan: PackPlan, epoch: int = 0):
    return [row for window in range(plan.windows) for row in plan.fill(plan.window(epoch, window))]


@settings(deadline=None, max_examples=60)
@given(shapes, st.integers(8, 40), st.integers(0, 5))
def test_passages_hold_every_token_once_an_epoch(shape, row_length, epoch):
    documents = documents_of(*shape)
    plan = PackPlan(documents, Passages(), row_length=row_length, window=6, seed=1)
    rows = filled(plan, epoch)
    tokens = np.concatenate([row.tokens for row in rows])
    assert sorted(tokens[tokens >= 10].tolist()) == list(range(10, 10 + documents.tokens))
    for row in rows:
        check_layout(row)
        for segment in range(1, row.segments.max() + 1):
            inside = row.tokens[row.segments == segment]
            assert inside[0] == SPECIAL.cls
            assert inside[-1] == SPECIAL.sep
            assert (np.diff(inside[1:-1]) == 1).all()  # one run of one document


def check_layout(row):
    """Segments are numbered in order, positions restart in each, and padding is nothing but padding."""
    used = row.segments > 0
    length = used.sum()
    assert used[:length].all()
    assert (np.diff(row.segments[:length]) >= 0).all()
    assert (np.diff(row.segments[:length]) <= 1).all()
    assert row.segments[0] == 1
    for segment in range(1, row.segments.max() + 1):
        positions = row.positions[row.segments == segment]
        assert positions.tolist() == list(range(len(positions)))
    assert not row.positions[length:].any()
    assert (row.tokens[length:] == SPECIAL.pad).all()


@settings(deadline=None, max_examples=60)
@given(shapes, st.integers(16, 64), st.integers(0, 10**6))
def test_pairs_are_what_their_labels_say(shape, row_length, seed):
    documents = documents_of(*shape)
    bounds = np.cumsum([0, *(sum(lengths) for lengths in shape)]) + 10
    plan = PackPlan(documents, SentencePairs(), row_length=row_length, window=6, seed=seed)
    for row in filled(plan):
        check_layout(row)
        weights = row.labels["next_sentence_weights"]
        places = row.labels["next_sentence_places"][weights > 0]
        targets = row.labels["next_sentence_targets"][weights > 0]
        assert len(places) == row.segments.max() <= len(weights) == max(1, row_length // 16)
        assert (row.tokens[places] == SPECIAL.cls).all()
        for segment, target in enumerate(targets.tolist(), start=1):
            inside, types = row.tokens[row.segments == segment], row.token_types[row.segments == segment]
            first, second = inside[types == 0], inside[types == 1]
            assert first[0] == SPECIAL.cls
            assert first[-1] == second[-1] == SPECIAL.sep
            first, second = first[1:-1], second[:-1]
            assert len(first) > 0
            assert len(second) > 0
            assert (np.diff(first) == 1).all()
            assert (np.diff(second) == 1).all()
            homes = [np.searchsorted(bounds, part[[0, -1]], side="right") for part in (first, second)]
            assert homes[0][0] == homes[0][1]
            assert homes[1][0] == homes[1][1]
            if target:
                assert homes[0][0] != homes[1][0]
            else:
                assert homes[0][0] == homes[1][0]
                assert first[-1] < second[0]


@settings(deadline=None, max_examples=40)
@given(shapes, st.integers(16, 64), st.integers(0, 10**6))
def test_swapped_pairs_are_two_pieces_of_one_document_in_the_order_that_their_labels_say(shape, row_length, seed):
    """Sentence order, arXiv:1909.11942, section 3.1: positives and negatives hold the same two pieces, only turned round."""
    documents = documents_of(*shape)
    plan = PackPlan(documents, SentencePairs(negatives="swapped"), row_length=row_length, window=6, seed=seed)
    for row in filled(plan):
        check_layout(row)
        assert not any(name.startswith("next_sentence") for name in row.labels)
        targets = row.labels["sentence_order_targets"][row.labels["sentence_order_weights"] > 0]
        for segment, target in enumerate(targets.tolist(), start=1):
            inside, types = row.tokens[row.segments == segment], row.token_types[row.segments == segment]
            parts = [inside[types == 0][1:-1], inside[types == 1][:-1]]
            first, second = reversed(parts) if target else parts
            assert len(first) > 0 and len(second) > 0
            assert (np.diff(first) == 1).all() and (np.diff(second) == 1).all()
            assert first[-1] < second[0]


def test_half_of_the_pairs_are_swapped(python_docs):
    plan = PackPlan(python_docs.train, SentencePairs(negatives="swapped"), row_length=128, window=4_096, seed=0)
    swapped = np.array([segment.is_negative for epoch in range(2) for row in plan.window(epoch, 0) for segment in row])
    assert swapped.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(swapped)))


def test_half_of_the_pairs_are_random_and_length_does_not_tell(python_docs):
    plan = PackPlan(python_docs.train, SentencePairs(), row_length=128, window=4_096, seed=0)
    segments = [segment for epoch in range(3) for row in plan.window(epoch, 0) for segment in row]
    is_negative = np.array([segment.is_negative for segment in segments])
    assert is_negative.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(segments)))
    first = np.array([segment.first.stop - segment.first.start for segment in segments])
    assert abs(np.corrcoef(first, is_negative)[0, 1]) < 0.1
    assert plan.density() > 0.95
    read = sum(s.first.stop - s.first.start + s.second.stop - s.second.start for s in segments)
    assert read > 0.9 * 3 * python_docs.train.tokens


def test_sentences_of_a_pair_are_whole_unless_they_had_to_be_cut():
    documents = documents_of(*[[5, 6, 7, 4, 5, 6]] * 20)
    plan = PackPlan(documents, SentencePairs(short_share=0.0), row_length=64, window=40, seed=0)
    starts = {0, 5, 11, 18, 22, 27, 33}
    for row in plan.window(0, 0):
        for segment in row:
            for piece in (segment.first, segment.second):
                assert {piece.start, piece.stop} <= starts


def test_a_plan_does_not_depend_on_what_was_asked_before(prepared, toy):
    def plan():
        return PackPlan(prepared.train, SentencePairs(), row_length=64, window=toy.window, seed=5)

    one, two = plan(), plan()
    order = [(0, 0), (0, 1), (0, 2), (1, 0), (3, 1)]
    forwards = {place: one.window(*place) for place in order}
    assert {place: two.window(*place) for place in reversed(order)} == forwards
    assert forwards[0, 0] != forwards[1, 0]
    other = PackPlan(prepared.train, SentencePairs(), row_length=64, window=toy.window, seed=6)
    assert other.window(0, 0) != forwards[0, 0]


def test_seeking_from_an_anchor_is_seeking_from_the_start(prepared, toy):
    plan = PackPlan(prepared.train, Passages(), row_length=64, window=toy.window, seed=0)
    counts = [len(plan.window(0, number)) for number in range(plan.windows)]
    epoch = sum(counts)
    assert plan.windows == 3
    assert plan.seek(0) == START
    assert plan.seek(counts[0]) == Anchor(counts[0], 0, 1, counts[0])
    assert plan.seek(epoch + 1) == Anchor(epoch, 1, 0, 0)
    for row in (0, counts[0] - 1, counts[0], epoch - 1, epoch, 2 * epoch + 3):
        for hint in (0, counts[0], epoch + counts[0]):
            assert plan.seek(row, plan.seek(hint)) == plan.seek(row)


def test_every_epoch_holds_each_document_once(prepared):
    order = DocumentOrder(prepared.train, seed=0)
    count = len(prepared.train)
    epochs = [order.documents(epoch, 0, count) for epoch in range(3)]
    assert all(sorted(epoch.tolist()) == list(range(count)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    pieces = [order.documents(1, start, min(start + 37, count)) for start in range(0, count, 37)]
    assert np.array_equal(np.concatenate(pieces), epochs[1])


def test_a_mixture_shares_tokens_by_weight_and_wastes_none():
    documents = documents_of(*[[20]] * 300, *[[5, 5]] * 100)
    documents.parts = (Part(300, 6_000, 0.25), Part(100, 1_000, 0.75))
    order = DocumentOrder(documents, seed=0)
    drawn = np.concatenate([order.documents(epoch, 0, order.length) for epoch in range(4)])
    lengths = documents.lengths(drawn)
    assert lengths.sum() == pytest.approx(4 * 7_000, rel=0.01)
    assert lengths[drawn >= 300].sum() / lengths.sum() == pytest.approx(0.75, abs=0.01)
    # Neither source repeats a document before it has used all of them.
    for part in (drawn[drawn < 300], drawn[drawn >= 300] - 300):
        times = np.bincount(part)
        assert times.max() - times.min() <= 1
    # Nor are they laid one after the other: the mixture holds in every window.
    windows = [order.documents(0, start, start + 100) for start in range(0, 500, 100)]
    assert all(0.7 < (window >= 300).mean() < 0.95 for window in windows)


def test_too_little_text_is_told():
    one = documents_of([4, 4, 4])
    with pytest.raises(DataError, match="too small: its 1 documents do not give pairs of sentences from two documents"):
        PackPlan(one, SentencePairs(), row_length=32, window=4, seed=0).seek(0)
    with pytest.raises(DataError, match=r"the tokenizer has no \[SEP\], which packing documents needs"):
        one.special = SpecialIds(pad=0, cls=1)
        PackPlan(one, Passages(), row_length=32, window=4, seed=0)
    with pytest.raises(
        DataError, match="row_length=4 is too short for the 3 special tokens of a pair and two sentences"
    ):
        PackPlan(documents_of([4]), SentencePairs(), row_length=4, window=4, seed=0)
    with pytest.raises(
        DataError, match="row_length=2 is too short for the 2 special tokens of a passage and text; use 3"
    ):
        PackPlan(documents_of([4]), Passages(), row_length=2, window=4, seed=0)


@settings(deadline=None, max_examples=20)
@given(shapes)
def test_passages_without_marks_are_nothing_but_text(shape):
    documents = documents_of(*shape)
    plan = PackPlan(documents, Passages(opening=None, closing=None), row_length=16, window=30, seed=0)
    tokens = np.concatenate([row.tokens for row in filled(plan)])
    assert sorted(tokens[tokens > 0].tolist()) == list(range(10, 10 + documents.tokens))
