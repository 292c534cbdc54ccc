"""Pairs of texts: both sides are there, whole or cut where they must be, and share their segment's number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import MemoryDocuments
from data.errors import DataError
from data.packing import PackPlan
from data.randomness import generator
from data.sentences import PAIR, Encoded, encode_documents
from data.text_pairs import ShowPairs, TextPairs
from data.tokenizers import ByteBPE, Bytes, SentencePiece, SpecialIds, WordPiece, train_tokenizer


def pairs_of(*lengths: tuple[int, int], special=SpecialIds(pad=0, eos=1)) -> MemoryDocuments:
    """Pairs whose tokens are all different, the target's right behind the source's."""
    encoded, at = [], 10
    for source, target in lengths:
        ids = np.arange(at, at + source + target, dtype=np.int32)
        encoded.append(Encoded(ids, np.array([source, source + target], np.int32)))
        at += source + target
    return MemoryDocuments(encoded, special)


def rows_of(documents, packing, row_length):
    plan = PackPlan(documents, packing, row_length=row_length, window=9, seed=0)
    return [row for window in range(plan.windows) for row in plan.fill(plan.window(0, window))]


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=25),
    st.integers(2, 40),
    st.one_of(st.none(), st.integers(2, 50)),
    st.sampled_from(
        [SpecialIds(pad=0, eos=1), SpecialIds(pad=0, cls=2, sep=3), SpecialIds(pad=0), SpecialIds(0, bos=7)]
    ),
)
def test_every_pair_is_there_once_and_neither_side_overflows(lengths, row_length, target_length, special):
    documents, found = pairs_of(*lengths, special=special), {}
    end = [] if special.eos is None and special.sep is None else [special.sep if special.eos is None else special.eos]
    start = special.pad if special.bos is None else special.bos
    for row in rows_of(documents, TextPairs(target_length), row_length):
        assert len(row.source_tokens) == row_length and len(row.tokens) == (target_length or row_length)
        assert set(row.segments) - {0} == set(row.source_segments) - {0}
        assert (row.labels["next_weights"] == (row.segments > 0)).all()
        for segment in range(1, row.segments.max() + 1):
            source = row.source_tokens[row.source_segments == segment].tolist()
            target = row.labels["next_targets"][row.segments == segment].tolist()
            assert row.tokens[row.segments == segment].tolist() == [start, *target[:-1]]
            assert row.source_positions[row.source_segments == segment].tolist() == list(range(len(source)))
            assert source[len(source) - len(end) :] == target[len(target) - len(end) :] == end
            found[source[0]] = (source[: len(source) - len(end)], target[: len(target) - len(end)])
    rooms = row_length - len(end), (target_length or row_length) - len(end)
    for number, (source, _) in enumerate(lengths):
        ids = documents.ids(number).tolist()
        assert found[ids[0]] == (ids[:source][: rooms[0]], ids[source:][: rooms[1]]), "cut at the end, if at all"
    assert len(found) == len(lengths)


def test_what_is_no_pair_is_told_with_the_remedy():
    documents = MemoryDocuments([Encoded(np.arange(5), np.array([2, 3, 5]))], SpecialIds(pad=0, eos=1))
    with pytest.raises(
        DataError, match=r"document 0 is no pair of texts, which this objective needs; name a --data.source"
    ):
        rows_of(documents, TextPairs(), 16)
    with pytest.raises(DataError, match=r"the tokenizer has no \[BOS\], which starting a target needs; choose"):
        rows_of(pairs_of((3, 2), special=SpecialIds()), TextPairs(), 16)
    with pytest.raises(DataError, match="target_length=1 is too small"):
        TextPairs(target_length=1)


CHOICES = [WordPiece(400), SentencePiece(300), SentencePiece(300, kind="bpe"), ByteBPE(300), Bytes()]


@pytest.fixture(scope="module", params=CHOICES, ids=str)
def tokenizer(request, prepared):
    return train_tokenizer(request.param, prepared.valid_texts())


@pytest.fixture(scope="module")
def rows(tokenizer, prepared):
    """The beginnings of texts, each with its beginning turned round, as pairs."""
    words = [text.split()[:6] for text in prepared.valid_texts()]
    pairs = [" ".join(some) + PAIR + " ".join(reversed(some)) for some in words]
    documents = MemoryDocuments(encode_documents(pairs, tokenizer), tokenizer.special)
    rows = rows_of(documents, TextPairs(), 64)
    assert sum(row.segments.max() for row in rows) == len(words)
    for row in rows:
        for segment in range(1, row.segments.max() + 1):
            sides = [
                row.source_tokens[row.source_segments == segment],
                row.labels["next_targets"][row.segments == segment],
            ]
            ends = {tokenizer.special.eos, tokenizer.special.sep}
            first, second = (tokenizer.decode(side[:-1]).split() for side in sides if side[-1] in ends)
            assert first == second[::-1]
    return rows


def test_shuffled_sources_keep_everything_else(tokenizer, rows):
    plain, shuffled = (ShowPairs(tokenizer, mode) for mode in ("as_trained", "shuffled"))
    for number, row in enumerate(rows):
        one, two = (show(row, generator(0, "corrupt", 0, number)) for show in (plain, shuffled))
        assert one is row and not np.array_equal(one.source_tokens, two.source_tokens)
        for segment in range(1, row.segments.max() + 1):
            here = row.source_segments == segment
            assert np.array_equal(np.sort(one.source_tokens[here]), np.sort(two.source_tokens[here]))
            assert one.source_tokens[here][-1] == two.source_tokens[here][-1]  # the end
        assert two.tokens is row.tokens and two.labels is row.labels
