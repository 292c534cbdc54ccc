"""Masking: it hides the stated share, keeps the rest, and repeats for (seed, epoch, example)."""

import dataclasses
import pickle

import numpy as np
import pytest

from data.batch import Row
from data.errors import DataError
from data.masking import Masking, MaskRows, Spans, Tokens, Words
from data.packing import PackPlan
from data.passages import Passages
from data.prepared import open_prepared
from data.randomness import generator
from data.sentence_pairs import SentencePairs
from data.tokenizers import ByteBPE, Bytes, SentencePiece, WordPiece, train_tokenizer
from data.tokenizers.wordpiece import wordpiece_from_vocabulary

UNITS = [Tokens(), Words(), Spans()]


@pytest.fixture(scope="module", params=[WordPiece(400), SentencePiece(300), ByteBPE(400, specials="roberta")], ids=str)
def prepared(request, toy):
    """The toy source under each kind of vocabulary: the laws hold for all of them alike."""
    return open_prepared(dataclasses.replace(toy, tokenizer=request.param))


@pytest.fixture(scope="module")
def rows(prepared):
    plan = PackPlan(prepared.train, SentencePairs(), row_length=64, window=40, seed=0)
    return [row for window in range(plan.windows) for row in plan.fill(plan.window(0, window))]


def hidden(row: Row) -> tuple[np.ndarray, np.ndarray]:
    used = row.labels["masked_weights"] > 0
    return row.labels["masked_places"][used], row.labels["masked_targets"][used]


@pytest.mark.parametrize("unit", UNITS, ids=str)
@pytest.mark.parametrize("mode", ["train", "as_trained", "all_masked", "shuffled"])
def test_targets_are_the_tokens_that_were_there_and_the_rest_stays(rows, prepared, unit, mode):
    corrupt = MaskRows(Masking(unit=unit), prepared.tokenizer, mode)
    special = sorted(prepared.tokenizer.special.ids)
    for number, row in enumerate(rows[:200]):
        before = row.tokens.copy()
        masked = corrupt(row, generator(0, "corrupt", 0, number))
        places, targets = hidden(masked)
        assert np.array_equal(row.tokens, before)  # the row itself is left alone
        assert np.array_equal(targets, before[places])
        assert (np.diff(places) > 0).all()
        assert len(places) <= len(masked.labels["masked_places"]) == round(0.15 * 64)
        assert not np.isin(targets, special).any()
        assert (row.segments[places] > 0).all()
        rest = np.ones(64, bool)
        rest[places] = False
        if mode == "shuffled":
            assert np.array_equal(np.sort(masked.tokens[rest]), np.sort(before[rest]))
            fixed = rest & np.isin(before, special)
            assert np.array_equal(masked.tokens[fixed], before[fixed])
        else:
            assert np.array_equal(masked.tokens[rest], before[rest])
        for name in ("positions", "segments", "token_types"):
            assert getattr(masked, name) is getattr(row, name)
        assert masked.labels["next_sentence_places"] is row.labels["next_sentence_places"]
        assert not masked.labels["masked_places"][len(places) :].any()


@pytest.mark.parametrize("unit", UNITS, ids=str)
@pytest.mark.parametrize("rate", [0.05, 0.15, 0.4])
def test_the_stated_share_is_hidden(rows, prepared, unit, rate):
    corrupt = MaskRows(Masking(rate=rate, unit=unit), prepared.tokenizer)
    ordinary = np.isin(np.arange(prepared.tokenizer.vocab_size), prepared.tokenizer.ordinary)
    could = sum(int((ordinary[row.tokens] & (row.segments > 0)).sum()) for row in rows)
    were = sum(len(hidden(corrupt(row, generator(0, "corrupt", 0, n)))[0]) for n, row in enumerate(rows))
    assert were / could == pytest.approx(rate, rel=0.06)


@pytest.mark.parametrize("mode", ["train", "as_trained", "all_masked", "shuffled"])
def test_scores_hide_what_they_are_to_hide_whatever_training_hides(rows, prepared, mode):
    mixed, plain = (
        MaskRows(masking, prepared.tokenizer, mode)
        for masking in (Masking(rate=0.4, scored_rate=0.15), Masking(rate=0.4 if mode == "train" else 0.15))
    )
    for number, row in enumerate(rows[:20]):
        one, other = (corrupt(row, generator(0, "corrupt", 0, number)) for corrupt in (mixed, plain))
        assert np.array_equal(one.tokens, other.tokens)
        assert all(np.array_equal(one.labels[name], other.labels[name]) for name in other.labels)


@pytest.mark.parametrize(("mask_share", "random_share"), [(0.8, 0.1), (0.5, 0.5), (1.0, 0.0), (0.0, 0.0)])
def test_the_three_fates_have_their_shares(rows, prepared, mask_share, random_share):
    corrupt = MaskRows(Masking(mask_share=mask_share, random_share=random_share), prepared.tokenizer)
    became, were = [], []
    for number, row in enumerate(rows):
        masked = corrupt(row, generator(0, "corrupt", 0, number))
        places, targets = hidden(masked)
        became.append(masked.tokens[places])
        were.append(targets)
    became, were = np.concatenate(became), np.concatenate(were)
    mask = became == prepared.tokenizer.special.mask
    tolerance = 4 * 0.5 / np.sqrt(len(were))
    assert mask.mean() == pytest.approx(mask_share, abs=tolerance)
    changed = ~mask & (became != were)
    assert changed.mean() == pytest.approx(random_share, abs=tolerance)
    assert np.isin(became[changed], prepared.tokenizer.ordinary).all()


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_the_same_key_hides_the_same_in_every_mode(rows, prepared, unit):
    corrupts = {mode: MaskRows(Masking(unit=unit), prepared.tokenizer, mode) for mode in
                ("train", "as_trained", "all_masked", "shuffled")}  # fmt: skip
    for number, row in enumerate(rows[:50]):
        seen = {mode: corrupt(row, generator(3, "corrupt", 1, number)) for mode, corrupt in corrupts.items()}
        for masked in seen.values():
            assert np.array_equal(masked.labels["masked_places"], seen["train"].labels["masked_places"])
            assert np.array_equal(masked.labels["masked_targets"], seen["train"].labels["masked_targets"])
        assert np.array_equal(seen["train"].tokens, seen["as_trained"].tokens)
        places, _ = hidden(seen["all_masked"])
        assert (seen["all_masked"].tokens[places] == prepared.tokenizer.special.mask).all()
        assert (seen["shuffled"].tokens[places] == prepared.tokenizer.special.mask).all()
    others = [hidden(corrupts["train"](rows[0], generator(3, "corrupt", epoch, 0)))[0].tolist() for epoch in range(9)]
    assert len({tuple(places) for places in others}) > 5


@pytest.mark.parametrize(
    "choice",
    [WordPiece(400), SentencePiece(300), SentencePiece(300, kind="bpe"), ByteBPE(400, specials="roberta"), Bytes()],
    ids=str,
)
@pytest.mark.parametrize("unit", [Words(), Spans()], ids=str)
def test_words_are_hidden_whole_or_not_at_all(prepared, choice, unit):
    tokenizer = train_tokenizer(choice, prepared.valid_texts())
    corrupt = MaskRows(Masking(rate=0.2, unit=unit), tokenizer, "all_masked")
    for number, text in enumerate(prepared.valid_texts()):
        ids = tokenizer.encode(text)[:120]
        tokens = np.concatenate([[tokenizer.special.cls], ids, [tokenizer.special.sep]]).astype(np.int32)
        row = Row(tokens, np.arange(len(tokens)), np.ones(len(tokens), int), None, {})
        places, _ = hidden(corrupt(row, generator(0, "corrupt", 0, number)))
        words = np.cumsum(tokenizer.word_starts(ids))
        chosen = np.isin(np.arange(len(ids)), places - 1)
        for word in np.unique(words[chosen]):
            assert chosen[words == word].all()


def test_golden_masks_of_whole_words():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##believ", "##able", "news", "!", "it", "is"]
    tokenizer = wordpiece_from_vocabulary(pieces, lowercase=True)
    ids = [2, *tokenizer.encode("it is unbelievable news!").tolist(), 3, 0, 0]
    assert ids == [2, 10, 11, 5, 6, 7, 8, 9, 3, 0, 0]
    row = Row(np.array(ids, np.int32), np.zeros(11, np.int32), np.array([1] * 9 + [0] * 2, np.int32), None, {})
    corrupt = MaskRows(Masking(rate=0.4, unit=Words()), tokenizer, "all_masked")
    seen = set()
    for number in range(200):
        masked = corrupt(row, generator(0, "corrupt", 0, number))
        seen.add(" ".join(tokenizer.token(i) for i in masked.tokens))
    # Three of seven: the long word alone, or any three of the four short ones.
    assert seen == {
        "[CLS] it is [MASK] [MASK] [MASK] news ! [SEP] [PAD] [PAD]",
        "[CLS] [MASK] [MASK] un ##believ ##able [MASK] ! [SEP] [PAD] [PAD]",
        "[CLS] [MASK] [MASK] un ##believ ##able news [MASK] [SEP] [PAD] [PAD]",
        "[CLS] [MASK] is un ##believ ##able [MASK] [MASK] [SEP] [PAD] [PAD]",
        "[CLS] it [MASK] un ##believ ##able [MASK] [MASK] [SEP] [PAD] [PAD]",
    }


def test_spans_have_the_published_lengths_and_share_their_fate():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(50))]
    tokenizer = wordpiece_from_vocabulary(pieces, lowercase=True)
    length = 20_000
    rng = np.random.default_rng(0)
    row = Row(rng.integers(5, 55, length).astype(np.int32), np.arange(length), np.ones(length, np.int32), None, {})
    masked = MaskRows(Masking(rate=0.02, unit=Spans()), tokenizer)(row, generator(0, "corrupt", 0, 0))
    places, targets = hidden(masked)
    runs = np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) > 1) + 1)
    lengths = np.array([len(run) for run in runs])
    # At this low rate few runs touch: the mean of Geo(0.2) cut off at 10 is 3.8 (SpanBERT, section 3.1).
    assert lengths.mean() == pytest.approx(3.8, abs=0.8)
    for run in runs:
        if len(run) <= 10:
            mask = masked.tokens[places[run]] == tokenizer.special.mask
            kept = masked.tokens[places[run]] == targets[run]
            assert mask.all() or not mask.any() or len(run) > 1
            assert mask.mean() in (0.0, 1.0) or kept.mean() < 1.0


def test_rows_with_little_to_hide(prepared):
    tokenizer = prepared.tokenizer
    corrupt = MaskRows(Masking(unit=Words()), tokenizer)
    empty = Row(*np.zeros((3, 64), np.int32), None, {})
    assert corrupt(empty, generator(0, "corrupt", 0, 0)).labels["masked_weights"].sum() == 0
    one = empty._replace(tokens=empty.tokens.copy(), segments=empty.segments.copy())
    one.tokens[:3] = [tokenizer.special.cls, tokenizer.ordinary[0], tokenizer.special.sep]
    one.segments[:3] = 1
    assert hidden(corrupt(one, generator(0, "corrupt", 0, 0)))[0].tolist() == [1]


def test_it_travels_to_workers_without_the_tokenizer(prepared, rows):
    corrupt = MaskRows(Masking(unit=Words()), prepared.tokenizer)
    packed = pickle.dumps(corrupt)
    assert len(packed) < 20_000
    one, two = (c(rows[0], generator(0, "corrupt", 0, 0)) for c in (corrupt, pickle.loads(packed)))
    assert np.array_equal(one.tokens, two.tokens)


def test_wrong_choices_are_told(prepared):
    with pytest.raises(DataError, match=r"masking rate=1.5"):
        Masking(rate=1.5)
    with pytest.raises(DataError, match=r"masking scored_rate=0"):
        Masking(scored_rate=0.0)
    with pytest.raises(DataError, match=r"mask_share=0.8 and random_share=0.3"):
        Masking(random_share=0.3)
    with pytest.raises(DataError, match="spans need"):
        Spans(probability=0.0)
    nameless = train_tokenizer(Bytes(), [])
    nameless.special = nameless.special._replace(mask=None)
    with pytest.raises(DataError, match=r"the tokenizer has no \[MASK\], which masked-language modelling needs"):
        MaskRows(Masking(), nameless)
    assert Masking().places(3) == 1
    assert Passages() == Passages("cls", "sep")
