"""Rows for predicting the next token: every token is a target once, and what is asked for is what comes next."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.batch import Row, segment_spans
from data.documents import MemoryDocuments
from data.errors import DataError
from data.next_token import NextTokens, Prefixes
from data.packing import PackPlan
from data.passages import Continuations
from data.pipeline import BatchSource, TrainStream
from data.randomness import generator
from data.sentences import Encoded
from data.tokenizers import ByteBPE, Bytes, SentencePiece, SpecialIds, WordPiece, train_tokenizer

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4, bos=5, eos=6)
CHOICES = [WordPiece(400), SentencePiece(300), SentencePiece(300, kind="bpe"), ByteBPE(300), Bytes()]


def documents_of(*lengths: int, special=SPECIAL) -> MemoryDocuments:
    """Documents whose tokens are all different: token 10 + n is the n-th of all."""
    edges = np.cumsum([10, *lengths])
    encoded = [
        Encoded(np.arange(start, stop, dtype=np.int32), np.array([stop - start], np.int32))
        for start, stop in itertools.pairwise(edges)
    ]
    return MemoryDocuments(encoded, special)


def rows_of(plan: PackPlan, epoch: int = 0) -> list[Row]:
    return [row for window in range(plan.windows) for row in plan.fill(plan.window(epoch, window))]


def asked(rows: list[Row]) -> list[tuple[int, int]]:
    """(token, the one after it) wherever a target weighs."""
    return [
        (int(token), int(target))
        for row in rows
        for token, target, weight in zip(
            row.tokens, row.labels["next_targets"], row.labels["next_weights"], strict=True
        )
        if weight
    ]


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.integers(1, 70), min_size=2, max_size=20),
    st.integers(2, 40),
    st.integers(0, 3),
    st.sampled_from([None, "bos"]),
    st.sampled_from([None, "eos"]),
)
def test_every_token_but_the_first_is_a_target_once_an_epoch(lengths, row_length, epoch, opening, closing):
    documents = documents_of(*lengths)
    plan = PackPlan(documents, Continuations(opening, closing), row_length=row_length, window=6, seed=1)
    marked = [
        [SPECIAL.bos] * bool(opening) + documents.ids(number).tolist() + [SPECIAL.eos] * bool(closing)
        for number in range(len(lengths))
    ]
    expected = [pair for tokens in marked for pair in itertools.pairwise(tokens)]
    if not expected:
        with pytest.raises(DataError, match="do not give two tokens in a row"):
            plan.density()
        return
    rows = rows_of(plan, epoch)
    assert sorted(asked(rows)) == sorted(expected)
    for row in rows:
        targets, weights = row.labels["next_targets"], row.labels["next_weights"]
        assert (weights == (row.segments > 0)).all() and (targets[weights == 0] == SPECIAL.pad).all()
        for start, stop in segment_spans(row.segments):
            assert (targets[start : stop - 1] == row.tokens[start + 1 : stop]).all()
            assert row.positions[start:stop].tolist() == list(range(stop - start))


def test_one_long_text_without_marks_fills_every_row():
    """nanoGPT's shape: 64 tokens and 64 targets a row, and nothing else."""
    special = SpecialIds()
    plan = PackPlan(
        documents_of(64 * 50 + 1, special=special), Continuations(closing=None), row_length=64, window=9, seed=0
    )
    rows = rows_of(plan)
    assert len(rows) == 50 and plan.density() == 1.0
    for row in rows:
        assert row.labels["next_weights"].sum() == 64
        assert (row.labels["next_targets"] == row.tokens + 1).all()
        assert (row.tokens[0] - 10) % 64 == 0 and row.segments.max() == 1
    moved = [{int(row.tokens[0] - 10) % 64 for row in rows_of(plan, epoch)} for epoch in range(1, 9)]
    assert len({min(starts - {0}, default=0) for starts in moved}) > 4, "long texts are cut elsewhere in each epoch"


def test_cls_and_sep_stand_in_for_the_beginning_and_the_end():
    special = SpecialIds(pad=0, cls=2, sep=3)
    plan = PackPlan(documents_of(5, special=special), Continuations("bos"), row_length=8, window=2, seed=0)
    (row,) = rows_of(plan)
    assert row.tokens.tolist() == [2, 10, 11, 12, 13, 14, 0, 0]
    assert row.labels["next_targets"].tolist() == [10, 11, 12, 13, 14, 3, 0, 0]
    with pytest.raises(DataError, match=r"no \[EOS\], which marking where documents begin and end needs"):
        PackPlan(documents_of(5, special=SpecialIds()), Continuations(), row_length=8, window=2, seed=0)


@pytest.fixture(scope="module", params=CHOICES, ids=str)
def tokenizer(request, prepared):
    return train_tokenizer(request.param, prepared.valid_texts())


@pytest.fixture(scope="module")
def rows(tokenizer, prepared):
    encoded = [Encoded(ids, np.array([len(ids)])) for ids in tokenizer.encode_batch(prepared.valid_texts())]
    plan = PackPlan(MemoryDocuments(encoded, tokenizer.special), Continuations("bos"), row_length=48, window=40, seed=0)
    return rows_of(plan)


def corrupted(corrupt, rows, seed=0, epoch=0):
    return [corrupt(row, generator(seed, "corrupt", epoch, number)) for number, row in enumerate(rows)]


def test_training_asks_for_everything_and_changes_nothing(tokenizer, rows):
    for row, seen in zip(rows, corrupted(NextTokens(tokenizer), rows), strict=True):
        assert seen.tokens is row.tokens and seen.labels["next_weights"].sum() == (row.segments > 0).sum()


def test_only_the_first_half_is_shuffled_and_only_the_second_asked_for(tokenizer, rows):
    plain, shuffled = (corrupted(NextTokens(tokenizer, mode=mode), rows) for mode in ("second_half", "shuffled"))
    special = ~np.isin(np.arange(tokenizer.vocab_size), tokenizer.ordinary)
    changed = 0
    for row, one, other in zip(rows, plain, shuffled, strict=True):
        assert np.array_equal(one.labels["next_weights"], other.labels["next_weights"])
        assert np.array_equal(one.tokens, row.tokens)
        for start, stop in segment_spans(row.segments):
            half = start + (stop - start + 1) // 2
            assert one.labels["next_weights"][start:stop].tolist() == [0.0] * (half - start) + [1.0] * (stop - half)
            assert np.array_equal(other.tokens[half:stop], row.tokens[half:stop])
            assert sorted(other.tokens[start:half]) == sorted(row.tokens[start:half])
            kept = special[row.tokens[start:half]]
            assert np.array_equal(other.tokens[start:half][kept], row.tokens[start:half][kept])
        changed += (other.tokens != row.tokens).sum()
    assert changed > 0.3 * sum(len(row.tokens) for row in rows) / 2


def test_prefixes_have_every_length_and_only_what_follows_is_asked_for(tokenizer, rows):
    shares = []
    for epoch in range(20):
        for row, seen in zip(rows, corrupted(Prefixes(tokenizer), rows, epoch=epoch), strict=True):
            assert np.array_equal(seen.tokens, row.tokens) and not seen.prefix[row.segments == 0].any()
            for start, stop in segment_spans(row.segments):
                length = int(seen.prefix[start:stop].sum())
                assert 1 <= length <= stop - start and seen.prefix[start : start + length].all()
                # The last place of the prefix is asked for what follows; those before it would only look it up.
                weights = [0.0] * (length - 1) + [1.0] * (stop - start - length + 1)
                assert seen.labels["next_weights"][start:stop].tolist() == weights
                if stop - start == 48:
                    shares.append((length - 1) / 47)
    assert np.mean(shares) == pytest.approx(0.5, abs=4 * 0.29 / np.sqrt(len(shares)))
    assert min(shares) < 0.1 and max(shares) > 0.9


def test_shuffled_prefixes_hold_the_same_tokens(tokenizer, rows):
    plain, shuffled = (corrupted(Prefixes(tokenizer, mode=mode), rows) for mode in ("as_trained", "shuffled"))
    for one, other in zip(plain, shuffled, strict=True):
        assert np.array_equal(one.prefix, other.prefix)
        assert all(np.array_equal(one.labels[name], other.labels[name]) for name in one.labels)
        assert np.array_equal(one.tokens[~one.prefix], other.tokens[~one.prefix])
        assert sorted(one.tokens[one.prefix]) == sorted(other.tokens[one.prefix])
    assert any((one.tokens != other.tokens).any() for one, other in zip(plain, shuffled, strict=True))


def test_prefixes_repeat_for_seed_epoch_and_example_and_for_nothing_else(tokenizer, rows):
    drawn = {
        key: [seen.prefix.tobytes() for seen in corrupted(Prefixes(tokenizer), rows, *key)]
        for key in [(0, 0), (0, 1), (1, 0)]
    }
    assert drawn[0, 0] == [seen.prefix.tobytes() for seen in corrupted(Prefixes(tokenizer), rows, 0, 0)]
    assert len({tuple(prefixes) for prefixes in drawn.values()}) == 3


def test_only_the_answer_is_asked_for():
    tokenizer = train_tokenizer(Bytes(), [])
    texts = ["12+34=46", "7=7=9", "no answer", "="]
    encoded = [Encoded(ids, np.array([len(ids)])) for ids in tokenizer.encode_batch(texts)]
    plan = PackPlan(MemoryDocuments(encoded, tokenizer.special), Continuations(), row_length=40, window=9, seed=0)
    answers = []
    for row in corrupted(NextTokens(tokenizer, answer_after=tokenizer.pieces[5 + ord("=")]), rows_of(plan)):
        for start, stop in segment_spans(row.segments):
            weighs = row.labels["next_weights"][start:stop] > 0
            answers.append(tokenizer.decode(row.labels["next_targets"][start:stop][weighs]))
    assert sorted(answers) == sorted(["46[SEP]", "9[SEP]", "", "[SEP]"])
    with pytest.raises(DataError, match=r"the vocabulary has no token 'x y' to answer after; name one of its tokens"):
        NextTokens(tokenizer, answer_after="x y")
    with pytest.raises(ValueError, match="mode='all_masked' is not one of train, as_trained"):
        NextTokens(tokenizer, mode="all_masked")


def test_any_number_of_workers_gives_the_same_batches(prepared, toy):
    corrupt = Prefixes(prepared.tokenizer)
    source = BatchSource(prepared.train, toy, Continuations(), corrupt, seed=0)
    with TrainStream(prepared.train, toy, Continuations(), corrupt, seed=0, workers=1) as stream:
        for number in range(40):
            here, there = source[number][0], next(stream)
            for name in ("tokens", "positions", "segments", "prefix"):
                assert np.array_equal(getattr(here, name), getattr(there, name))
            assert np.array_equal(here.labels["next_weights"], there.labels["next_weights"])
