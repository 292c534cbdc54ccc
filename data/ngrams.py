"""What counting alone reaches: n-gram models of the training tokens, scored on held-out tokens in nats a token.

A trained model that does not beat them has learnt less than a table of counts. Documents stand apart: the first tokens
of a document are predicted from what there is of it, by the highest order that fits.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from data.documents import Documents, Piece
from data.errors import DataError

READ_TOGETHER = 4_096  # documents


class NGramScores(NamedTuple):
    """Nats a token of the orders 1, 2, ..., and the number of held-out tokens that they are the mean over."""

    nats: tuple[float, ...]
    tokens: int


def discounted_ngrams(
    train: Iterable[np.ndarray],
    held_out: Iterable[np.ndarray],
    *,
    vocab_size: int,
    order: int = 3,
    opening: int | None = None,
    closing: int | None = None,
    first: bool = True,
) -> NGramScores:
    """Interpolated absolute discounting (Ney, Essen and Kneser 1994), orders 1 to `order`.

        p_n(w | h) = max(c(h w) - d_n, 0) / c(h) + d_n N(h) / c(h) p_{n-1}(w | h')        p_0(w) = 1 / V
        d_n = n_1 / (n_1 + 2 n_2)

    h are the n - 1 tokens before w and h' all but the first of them; c counts in the training documents, N(h) is the
    number of different tokens that follow h there, n_1 and n_2 the number of n-grams seen once and twice. A history that
    was never seen leaves p_{n-1}. Where a corpus is too small or too plain to tell d_n, it is 1/2.

    Documents are arrays of ids below `vocab_size` (V). A row that packs a document as [CLS] text [SEP] predicts [SEP]
    too and shows [CLS]: such tokens are `closing`, predicted after each document, and `opening`, which is seen before it
    and not predicted. With `first` False a document without an opening mark has its first token not predicted either.

    >>> text = [np.array([0, 1, 0, 1, 0, 1, 0, 2])]
    >>> [round(nats, 3) for nats in discounted_ngrams(text, text, vocab_size=3, order=2).nats]
    [0.974, 0.475]
    """
    seen, unseen = _stream(train, opening, closing, vocab_size), _stream(held_out, opening, closing, vocab_size)
    if not first:
        unseen = unseen._replace(predicted=unseen.before > 0)
    probability = np.full(len(unseen.tokens), 1.0 / vocab_size)
    nats = []
    for table, found in _orders(seen, unseen, vocab_size, order):
        ones, twos = int((table.counts == 1).sum()), int((table.counts == 2).sum())
        discount = ones / (ones + 2 * twos) if ones and twos else 0.5
        total = table.totals[found.history]
        kept = np.maximum(np.where(found.gram >= 0, table.counts[found.gram], 0) - discount, 0.0)
        backed_off = discount * table.followers[found.history] * probability[found.places]
        probability[found.places] = np.where(
            found.known, (kept + backed_off) / np.maximum(total, 1), probability[found.places]
        )
        nats.append(-float(np.log(probability[unseen.predicted]).mean()))
    return NGramScores(tuple(nats), int(unseen.predicted.sum()))


def additive_ngrams(
    train: Iterable[np.ndarray],
    held_out: Iterable[np.ndarray],
    *,
    vocab_size: int,
    order: int = 3,
    add: float = 0.1,
    opening: int | None = None,
    closing: int | None = None,
) -> NGramScores:
    """Counts with a little added, orders 1 to `order`, each by itself (Lidstone 1920).

        p_n(w | h) = (c(h w) + add) / (c(h) + add V)

    Simple and, for small vocabularies, close to the best; of large ones it wastes most of the probability.
    """
    seen, unseen = _stream(train, opening, closing, vocab_size), _stream(held_out, opening, closing, vocab_size)
    probability = np.full(len(unseen.tokens), 1.0 / vocab_size)
    nats = []
    for table, found in _orders(seen, unseen, vocab_size, order):
        count = np.where(found.gram >= 0, table.counts[found.gram], 0)
        total = np.where(found.known, table.totals[found.history], 0)
        probability[found.places] = (count + add) / (total + add * vocab_size)
        nats.append(-float(np.log(probability[unseen.predicted]).mean()))
    return NGramScores(tuple(nats), int(unseen.predicted.sum()))


def all_ids(documents: Documents) -> Iterator[np.ndarray]:
    """The ids of every document in order, int32[n] each, read many at a time; empty documents are left out."""
    for start in range(0, len(documents), READ_TOGETHER):
        numbers = np.arange(start, min(start + READ_TOGETHER, len(documents)))
        lengths = documents.lengths(numbers)
        yield from documents.read(
            [Piece(int(n), 0, int(size)) for n, size in zip(numbers, lengths, strict=True) if size]
        )


class _Stream(NamedTuple):
    """Documents end to end."""

    tokens: np.ndarray  # int64[n]
    before: np.ndarray  # int64[n], how many tokens of its document stand before each
    predicted: np.ndarray  # bool[n], all but the opening ones


class _Table(NamedTuple):
    """Counts of the n-grams of one order; the last entry of each array is for what was never seen."""

    counts: np.ndarray  # int64[grams + 1]
    totals: np.ndarray  # int64[histories + 1], how often anything follows a history
    followers: np.ndarray  # int64[histories + 1], how many different tokens do


class _Found(NamedTuple):
    """Held-out tokens with enough before them for one order. -1 where training never saw it."""

    places: np.ndarray  # int64[m]
    history: np.ndarray  # int64[m]
    gram: np.ndarray  # int64[m]
    known: np.ndarray  # bool[m], whether anything followed that history in training


def _stream(documents: Iterable[np.ndarray], opening: int | None, closing: int | None, vocab_size: int) -> _Stream:
    front = [] if opening is None else [np.array([opening])]
    back = [] if closing is None else [np.array([closing])]
    parts = [np.concatenate([*front, ids, *back]) for ids in documents]
    if not sum(map(len, parts)):
        raise DataError("there are no tokens to count; name a source that holds some")
    lengths = np.array([len(part) for part in parts])
    tokens = np.concatenate(parts).astype(np.int64)
    if tokens.min() < 0 or tokens.max() >= vocab_size:
        raise DataError(f"ids from {tokens.min()} to {tokens.max()} do not fit vocab_size={vocab_size}")
    before = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return _Stream(tokens, before, before > 0 if front else np.ones(len(tokens), bool))


def _orders(seen: _Stream, unseen: _Stream, vocab_size: int, order: int) -> Iterator[tuple[_Table, _Found]]:
    """The tables of orders 1 to `order`, and where the held-out tokens stand in them.

    An n-gram is numbered among those of its order by sorting (number of its first n - 1 tokens, last token): numbers
    stay small, whatever the order.
    """
    history, asked = np.zeros(len(seen.tokens), np.int64), np.zeros(len(unseen.tokens), np.int64)  # one empty history
    histories = 1
    for length in range(1, order + 1):
        here = np.flatnonzero((seen.before >= length - 1) & seen.predicted)
        keys = history[here] * vocab_size + seen.tokens[here]
        grams, number, counts = np.unique(keys, return_inverse=True, return_counts=True)
        totals = np.bincount(grams // vocab_size, weights=counts, minlength=histories + 1).astype(np.int64)
        followers = np.bincount(grams // vocab_size, minlength=histories + 1)
        places = np.flatnonzero((unseen.before >= length - 1) & unseen.predicted)
        wanted = np.where(asked[places] >= 0, asked[places] * vocab_size + unseen.tokens[places], -1)
        gram = _find(grams, wanted)
        known = (asked[places] >= 0) & (totals[asked[places]] > 0)
        yield _Table(np.append(counts, 0), totals, followers), _Found(places, asked[places], gram, known)
        if length == 1:  # histories of one token include the opening one, which is no event itself
            ends, ends_asked, histories = seen.tokens, unseen.tokens, vocab_size
        else:
            ends, ends_asked = np.full(len(history), -1), np.full(len(asked), -1)
            ends[here], ends_asked[places], histories = number, gram, len(grams)
        history, asked = np.roll(ends, 1), np.roll(ends_asked, 1)


def _find(grams: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each of `wanted` stands among the sorted `grams`; -1 where it does not."""
    if not len(grams):
        return np.full(len(wanted), -1)
    place = np.minimum(np.searchsorted(grams, wanted), len(grams) - 1)
    return np.where(grams[place] == wanted, place, -1)
