"""Pairs of texts, source and target, in rows: what sequence-to-sequence models are trained on.

A document is such a pair where its text has `data.sentences.PAIR` in it: its ids are those of the source and then those
of the target, and its two ends say where each of them stops.

    source side    s1 s2 s3 </s>                             S places, for the encoder
    target side    <start> t1 t2   with targets t1 t2 </s>   T places, for the decoder
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.batch import Row, segment_spans
from data.documents import Documents, Piece
from data.errors import DataError
from data.modes import Mode, check_mode, shuffle
from data.segments import Packer, Segment, first_of
from data.sides import Side, from_sides
from data.tokenizers.interface import SpecialIds, Tokenizer


@dataclass(frozen=True)
class TextPairs:
    """Pairs of texts, several in a row, segments numbered alike on both sides.

    A side that is longer than its places is cut there and keeps its end mark.
    Both sides end with `eos`, or [SEP] where the vocabulary has no end of text, or nothing where it has neither. A decoder
    reads a target behind `start_of_target`.
    """

    target_length: int | None = None
    """T, places of the target side; None: as many as the source side has."""

    def __post_init__(self):
        if self.target_length is not None and self.target_length < 2:
            raise DataError(f"target_length={self.target_length} is too small; use 2 or more")

    def packer(self, documents: Documents, row_length: int) -> "TextPairPacker":
        return TextPairPacker(self, documents, row_length)


class TextPairPacker(Packer):
    """Pairs of texts in rows. A pair takes the larger of its shares of the two sides, so neither can overflow."""

    need = "pairs of texts"

    def __init__(self, packing: TextPairs, documents: Documents, row_length: int):
        super().__init__(documents, row_length)
        self.target_length = packing.target_length or row_length
        special = documents.special
        end = special.sep if special.eos is None else special.eos
        self.end = np.array([] if end is None else [end], np.int32)
        self.start = start_of_target(special)
        self.need_room(1 + len(self.end), "a token and its end mark")

    def cut(self, documents: list[int], epoch: int, draw: random.Random) -> list[Segment]:
        segments = []
        for document in documents:
            ends = self.documents.sentence_ends(document).tolist()
            if len(ends) != 2:
                raise DataError(f"document {document} is no pair of texts, which this objective needs; name a --data.source "
                                "of pairs, or another --objective.name")  # fmt: skip
            middle, end = ends
            source = Piece(document, 0, min(middle, self.row_length - len(self.end)))
            target = Piece(document, middle, min(end, middle + self.target_length - len(self.end)))
            segments.append(Segment(source, target))
        return segments

    def room(self, segment: Segment) -> int:
        assert segment.second is not None  # cut makes pairs
        target = segment.second.stop - segment.second.start + len(self.end)
        return max(self.used(segment), -(-target * self.row_length // self.target_length))

    def used(self, segment: Segment) -> int:
        return segment.first.stop - segment.first.start + len(self.end)

    def write(self, row: list[Segment], texts: Iterator[np.ndarray]) -> Row:
        source, target = Side(self.row_length, self.pad), Side(self.target_length, self.pad)
        for _ in row:
            source.append(np.concatenate([next(texts), self.end]))
            target.append(np.concatenate([next(texts), self.end]))
        return from_sides(source, target, start=self.start, labels={})


def start_of_target(special: SpecialIds) -> int:
    """What a decoder reads before the first token of a target: the beginning of text, else the padding token or an end.

    >>> start_of_target(SpecialIds(pad=0, bos=2)), start_of_target(SpecialIds(pad=0, sep=3))
    (2, 0)
    """
    return first_of(special, "bos", "pad", "eos", "sep", purpose="starting a target")


class ShowPairs:
    """The host half for pairs of texts: nothing is hidden. In mode `shuffled` the words of each source change places."""

    modes = ("train", "as_trained", "shuffled")

    def __init__(self, tokenizer: Tokenizer, mode: Mode = "train"):
        check_mode(mode, self.modes)
        self.mode = mode
        self.ordinary = np.isin(np.arange(tokenizer.vocab_size), tokenizer.ordinary)  # [V]

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """The row as it is, or with its sources shuffled."""
        if self.mode != "shuffled" or row.source_tokens is None or row.source_segments is None:
            return row
        tokens = row.source_tokens.copy()
        for start, stop in segment_spans(row.source_segments):
            shuffle(tokens, start + np.flatnonzero(self.ordinary[tokens[start:stop]]), rng)
        return row._replace(source_tokens=tokens)
