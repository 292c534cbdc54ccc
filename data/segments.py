"""Segments of a row, and what a packing is: how documents are cut into segments, and how segments become rows.

A packing is a small choice (`data.passages`, `data.sentence_pairs`, `data.text_pairs`, `data.spans`). Bound to documents
and to the length of a row it is a `Packer`, which `data.packing.PackPlan` asks for segments, for the room that each
takes, and for the rows that they fill.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from data.batch import Row
from data.documents import Documents, Piece
from data.errors import DataError
from data.tokenizers import SpecialIds

Role: TypeAlias = Literal["cls", "sep", "bos", "eos"]


class Segment(NamedTuple):
    """What stands in one segment of a row: a piece, or a pair of them."""

    first: Piece
    second: Piece | None = None
    is_negative: bool = (
        False  # a pair that is not what it seems: the second is from elsewhere, or came before the first
    )
    opens: bool = True  # it begins with the mark that opens a document
    closes: bool = True  # it ends with the mark that closes one


class Packing(Protocol):
    """A choice of how documents fill rows."""

    def packer(self, documents: Documents, row_length: int) -> "Packer": ...


class Packer(ABC):
    """A packing bound to documents and to the length T of a row.

    Attributes:
        most: segments that may share a row.
        need: what the documents have to give, for the error when they give nothing.
    """

    need = "a single token"

    def __init__(self, documents: Documents, row_length: int):
        self.documents, self.row_length = documents, row_length
        self.pad = documents.special.pad or 0
        self.most = row_length
        self.counting = np.arange(row_length, dtype=np.int32)

    @abstractmethod
    def cut(self, documents: list[int], epoch: int, draw: random.Random) -> list[Segment]:
        """The segments of a window of documents; from lengths and sentence ends alone."""

    @abstractmethod
    def room(self, segment: Segment) -> int:
        """Places of a row that are set aside for a segment; those of a row add up to T at most."""

    @abstractmethod
    def write(self, row: list[Segment], texts: Iterator[np.ndarray]) -> Row:
        """One row; `texts` gives the ids of each piece in order."""

    def used(self, segment: Segment) -> int:
        """Places of a row that a segment fills."""
        return self.room(segment)

    def fill(self, rows: Sequence[list[Segment]]) -> list[Row]:
        """Rows of tokens from planned rows; all documents are read together."""
        pieces = [piece for row in rows for segment in row for piece in (segment.first, segment.second) if piece]
        texts = iter(self.documents.read(pieces))
        return [self.write(row, texts) for row in rows]

    def lengths(self, documents: list[int]) -> list[int]:
        """Tokens of each of these documents."""
        return self.documents.lengths(np.array(documents, np.int64)).tolist()

    def empty(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, positions and segments of a row that holds nothing yet."""
        tokens = np.full(self.row_length, self.pad, np.int32)
        return tokens, np.zeros(self.row_length, np.int32), np.zeros(self.row_length, np.int32)

    def need_room(self, least: int, why: str) -> None:
        """DataError unless a row has at least so many places."""
        if self.row_length < least:
            raise DataError(f"row_length={self.row_length} is too short for {why}; use {least} or more")


def runs(length: int, room: int, first: int) -> list[tuple[int, int]]:
    """Cut range(length) into runs: one of `first`, then runs of `room`, the last one shorter.

    >>> runs(10, 4, 4), runs(10, 4, 3), runs(2, 4, 4)
    ([(0, 4), (4, 8), (8, 10)], [(0, 3), (3, 7), (7, 10)], [(0, 2)])
    """
    starts = [0, *range(first, length, room)] if length else []
    return list(zip(starts, [*starts[1:], length], strict=True)) if starts else []


def first_run(length: int, room: int, epoch: int, draw: random.Random) -> int:
    """How long the first run of a document is: after epoch 0 random where it has several, so that its cuts move."""
    return 1 + int(draw.random() * room) if epoch and length > room else room


def first_of(special: SpecialIds, *roles: str, purpose: str) -> int:
    """The id of the first of these roles that a vocabulary has a token for; DataError if it has none of them."""
    for role in roles:
        if (found := getattr(special, role)) is not None:
            return found
    return special.need(roles[0], purpose=purpose)[0]  # an error that says what is missing


def mark(special: SpecialIds, role: Role, purpose: str) -> int:
    """The id of a mark; where a vocabulary has no beginning or end of text, [CLS] and [SEP] stand in for them.

    So do Rothe et al., arXiv:1907.12461, who generate with BERT's vocabulary.
    """
    stand_ins = {"bos": ("cls",), "eos": ("sep",)}
    return first_of(special, role, *stand_ins.get(role, ()), purpose=purpose)
