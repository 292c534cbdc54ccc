"""Pairs of sentences, [CLS] A [SEP] B [SEP] with token types 0 and 1, and a label for each: do they belong together?"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.batch import Row
from data.documents import Documents, Piece
from data.segments import Packer, Segment

SHORTEST_PAIR = 16  # tokens: no more than row_length / 16 pairs share a row, which fixes the size of their labels
SPECIALS = 3


@dataclass(frozen=True)
class SentencePairs:
    """Pairs for next-sentence prediction, as published for BERT (arXiv:1810.04805, section A.2).

    Sentences of a document are gathered until they fill a row (or, for `short_share` of them, a random shorter length)
    and divided at a random sentence into A and B. Half of the time the pair is made a negative, label 1:

        random     B is replaced by sentences of another document of the window; what it displaced begins the next pair
        swapped    A and B change places: sentence-order prediction, as published for ALBERT (arXiv:1909.11942, 3.1)

    Departures: several pairs share a row, each its own segment. A document whose last sentence is left alone ends
    there, where BERT makes a random pair of it: labels stay balanced, and A's length says nothing about them.
    """

    short_share: float = 0.1
    negatives: Literal["random", "swapped"] = "random"

    @property
    def term(self) -> str:
        """The name of the labels.

        >>> SentencePairs().term, SentencePairs(negatives="swapped").term
        ('next_sentence', 'sentence_order')
        """
        return "next_sentence" if self.negatives == "random" else "sentence_order"

    def pairs(self, row_length: int) -> int:
        """P, the most pairs that share a row: the static size of the labels.

        >>> SentencePairs().pairs(128)
        8
        """
        return max(1, row_length // SHORTEST_PAIR)

    def packer(self, documents: Documents, row_length: int) -> "SentencePairPacker":
        return SentencePairPacker(self, documents, row_length)


class SentencePairPacker(Packer):
    """Pairs of sentences in rows, with `NAME_places`, `NAME_targets` and `NAME_weights` [P] for each row."""

    def __init__(self, packing: SentencePairs, documents: Documents, row_length: int):
        super().__init__(documents, row_length)
        self.packing, self.most = packing, packing.pairs(row_length)
        self.cls, self.sep = documents.special.need("cls", "sep", purpose="packing pairs of sentences")
        self.need = "pairs of sentences" + (" from two documents or more" if packing.negatives == "random" else "")
        self.need_room(SPECIALS + 2, "the 3 special tokens of a pair and two sentences")

    def cut(self, documents: list[int], epoch: int, draw: random.Random) -> list[Segment]:
        ends = [self.documents.sentence_ends(document).tolist() for document in documents]
        return cut_pairs(documents, ends, self.row_length - SPECIALS, self.packing, draw)

    def room(self, segment: Segment) -> int:
        return sum(piece.stop - piece.start for piece in (segment.first, segment.second) if piece) + SPECIALS

    def write(self, row: list[Segment], texts: Iterator[np.ndarray]) -> Row:
        tokens, positions, segments = self.empty()
        token_types = np.zeros_like(tokens)
        most, term = self.most, self.packing.term
        places, targets, weights = np.zeros(most, np.int32), np.zeros(most, np.int32), np.zeros(most, np.float32)
        at = 0
        for number, segment in enumerate(row):
            begin, first, second = at, next(texts), next(texts)
            middle = begin + 2 + len(first)
            at = middle + len(second) + 1
            tokens[begin] = self.cls
            tokens[begin + 1 : middle - 1] = first
            tokens[middle - 1] = self.sep
            tokens[middle : at - 1] = second
            tokens[at - 1] = self.sep
            positions[begin:at] = self.counting[: at - begin]
            segments[begin:at] = number + 1
            token_types[middle:at] = 1
            places[number], targets[number], weights[number] = begin, segment.is_negative, 1.0
        labels = {f"{term}_places": places, f"{term}_targets": targets, f"{term}_weights": weights}
        return Row(tokens, positions, segments, token_types, labels)


def cut_pairs(
    documents: list[int], ends: list[list[int]], room: int, packing: SentencePairs, draw: random.Random
) -> list[Segment]:
    """Cut documents into pairs of sentences; `ends[i]` are where the sentences of documents[i] end."""
    segments: list[Segment] = []
    others = [i for i, document in enumerate(ends) if document]
    swapped = packing.negatives == "swapped"
    if not swapped and len({documents[i] for i in others}) < 2:
        return segments  # nowhere to take a random B from
    for document, stops in zip(documents, ends, strict=True):
        starts = [0, *stops[:-1]]
        at, count = 0, len(stops)
        while count - at >= 2:
            target = room if draw.random() >= packing.short_share else 2 + int(draw.random() * (room - 1))
            end = at + 2
            while end < count and stops[end - 1] - starts[at] < target:
                end += 1
            if count - end == 1:  # rather take the last sentence in than leave it alone
                end = count
            divide = at + 1 + int(draw.random() * (end - at - 1))
            first = Piece(document, starts[at], stops[divide - 1])
            is_negative = draw.random() < 0.5
            if is_negative and not swapped:
                second = _from_elsewhere(documents, ends, others, document, target - (first.stop - first.start), draw)
                segments.append(Segment(*_truncate(first, second, room, draw), is_negative=True))
                at = divide
            else:
                second = Piece(document, starts[divide], stops[end - 1])
                first, second = _truncate(first, second, room, draw)
                segments.append(Segment(second, first, is_negative=True) if is_negative else Segment(first, second))
                at = end
    return segments


def _from_elsewhere(
    documents: list[int], ends: list[list[int]], others: list[int], document: int, target: int, draw: random.Random
) -> Piece:
    """Sentences of another document, from a random one on, until there are `target` tokens or it ends."""
    other = others[int(draw.random() * len(others))]
    while documents[other] == document:
        other = others[int(draw.random() * len(others))]
    stops = ends[other]
    begin = int(draw.random() * len(stops))
    start, end = stops[begin - 1] if begin else 0, begin + 1
    while end < len(stops) and stops[end - 1] - start < target:
        end += 1
    return Piece(documents[other], start, stops[end - 1])


def _truncate(first: Piece, second: Piece, room: int, draw: random.Random) -> tuple[Piece, Piece]:
    """Drop tokens of the longer one, from its front or its back at random each, until both fit."""
    lengths = [first.stop - first.start, second.stop - second.start]
    excess = sum(lengths) - room
    if excess <= 0:
        return first, second
    longer = min(excess, abs(lengths[0] - lengths[1]))
    cut = [(excess - longer) // 2] * 2
    cut[0 if lengths[0] > lengths[1] else 1] += longer + (excess - longer) % 2
    kept = []
    for piece, drop in zip((first, second), cut, strict=True):
        front = sum(draw.random() < 0.5 for _ in range(drop))
        kept.append(Piece(piece.document, piece.start + front, piece.stop - (drop - front)))
    return kept[0], kept[1]
