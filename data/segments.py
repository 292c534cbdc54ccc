"""What one segment of a row holds: a pair of sentences or a passage of a document, cut from lengths alone.

Layout of a segment:

    SentencePairs   [CLS] A [SEP] B [SEP]   token types 0 and 1; label 0: B follows A, 1: B is from elsewhere
    Passages        [CLS] text [SEP]        any opening and closing token, or none
"""

import random
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from data.documents import Piece

Role: TypeAlias = Literal["cls", "sep", "bos", "eos"]

SHORTEST_PAIR = 16  # tokens: no more than row_length / 16 pairs share a row, which fixes the size of their labels


@dataclass(frozen=True)
class SentencePairs:
    """Pairs for next-sentence prediction, as published for BERT (arXiv:1810.04805, section A.2).

    Sentences of a document are gathered until they fill a row (or, for `short_share` of them, a random shorter length)
    and divided at a random sentence into A and B. Half of the time B is replaced by sentences of another document of
    the window, and those that it displaced begin the next pair.

    Departures: several pairs share a row, each its own segment. A document whose last sentence is left alone ends
    there, where BERT makes a random pair of it: labels stay balanced, and A's length says nothing about them.
    """

    short_share: float = 0.1

    def pairs(self, row_length: int) -> int:
        """P, the most pairs that share a row: the static size of the labels.

        >>> SentencePairs().pairs(128)
        8
        """
        return max(1, row_length // SHORTEST_PAIR)


@dataclass(frozen=True)
class Passages:
    """Documents one by one, each its own segment; one that is longer than a row is cut into passages as long as a row."""

    opening: Role | None = "cls"
    closing: Role | None = "sep"


Packing: TypeAlias = SentencePairs | Passages


class Segment(NamedTuple):
    """What stands in one segment of a row: a piece, or a pair of them."""

    first: Piece
    second: Piece | None = None
    is_random: bool = False  # the second comes from elsewhere


def cut_passages(documents: list[int], lengths: list[int], room: int) -> list[Segment]:
    """Cut documents into passages of `room` tokens, the last of each shorter."""
    return [
        Segment(Piece(document, start, min(start + room, length)))
        for document, length in zip(documents, lengths, strict=True)
        for start in range(0, length, room)
    ]


def cut_pairs(
    documents: list[int], ends: list[list[int]], room: int, short_share: float, draw: random.Random
) -> list[Segment]:
    """Cut documents into pairs of sentences; `ends[i]` are where the sentences of documents[i] end."""
    segments: list[Segment] = []
    others = [i for i, document in enumerate(ends) if document]
    if len({documents[i] for i in others}) < 2:
        return segments  # nowhere to take a random B from
    for document, stops in zip(documents, ends, strict=True):
        starts = [0, *stops[:-1]]
        at, count = 0, len(stops)
        while count - at >= 2:
            target = room if draw.random() >= short_share else 2 + int(draw.random() * (room - 1))
            end = at + 2
            while end < count and stops[end - 1] - starts[at] < target:
                end += 1
            if count - end == 1:  # rather take the last sentence in than leave it alone
                end = count
            divide = at + 1 + int(draw.random() * (end - at - 1))
            first = Piece(document, starts[at], stops[divide - 1])
            if draw.random() < 0.5:
                second = _from_elsewhere(documents, ends, others, document, target - (first.stop - first.start), draw)
                segments.append(Segment(*_truncate(first, second, room, draw), is_random=True))
                at = divide
            else:
                second = Piece(document, starts[divide], stops[end - 1])
                segments.append(Segment(*_truncate(first, second, room, draw)))
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


def segment_tokens(segment: Segment) -> int:
    """Tokens of text in a segment."""
    second = segment.second
    return segment.first.stop - segment.first.start + (second.stop - second.start if second else 0)
