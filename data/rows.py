"""Rows of tokens from planned segments."""

from collections.abc import Iterator, Sequence

import numpy as np

from data.batch import Row
from data.documents import Documents
from data.segments import Packing, Segment, SentencePairs


class RowFiller:
    """Writes planned rows into arrays; `specials` is the number of special tokens that each segment carries."""

    def __init__(self, documents: Documents, packing: Packing, row_length: int):
        self.documents, self.packing, self.row_length = documents, packing, row_length
        special = documents.special
        self.pad = special.pad or 0
        self._counting = np.arange(row_length, dtype=np.int32)
        if isinstance(packing, SentencePairs):
            self.cls, self.sep = special.need("cls", "sep", purpose="packing pairs of sentences")
            self.specials, self.most = 3, packing.pairs(row_length)
        else:
            roles = [role for role in (packing.opening, packing.closing) if role]
            special.need(*roles, purpose="packing documents")
            self.opening = getattr(special, packing.opening) if packing.opening else None
            self.closing = getattr(special, packing.closing) if packing.closing else None
            self.specials = len(roles)

    def __call__(self, rows: Sequence[list[Segment]]) -> list[Row]:
        pieces = [piece for row in rows for segment in row for piece in (segment.first, segment.second) if piece]
        texts = iter(self.documents.read(pieces))
        write = self._pairs if isinstance(self.packing, SentencePairs) else self._passages
        return [write(row, texts) for row in rows]

    def _passages(self, row: list[Segment], texts: Iterator[np.ndarray]) -> Row:
        tokens, positions, segments = self._empty()
        at = 0
        for number in range(1, len(row) + 1):
            begin, text = at, next(texts)
            if self.opening is not None:
                tokens[at] = self.opening
                at += 1
            tokens[at : at + len(text)] = text
            at += len(text)
            if self.closing is not None:
                tokens[at] = self.closing
                at += 1
            positions[begin:at] = self._counting[: at - begin]
            segments[begin:at] = number
        return Row(tokens, positions, segments, None, {})

    def _pairs(self, row: list[Segment], texts: Iterator[np.ndarray]) -> Row:
        tokens, positions, segments = self._empty()
        token_types = np.zeros_like(tokens)
        most = self.most
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
            positions[begin:at] = self._counting[: at - begin]
            segments[begin:at] = number + 1
            token_types[middle:at] = 1
            places[number], targets[number], weights[number] = begin, segment.is_random, 1.0
        labels = {
            "next_sentence_places": places,
            "next_sentence_targets": targets,
            "next_sentence_weights": weights,
        }
        return Row(tokens, positions, segments, token_types, labels)

    def _empty(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tokens = np.full(self.row_length, self.pad, np.int32)
        return tokens, np.zeros(self.row_length, np.int32), np.zeros(self.row_length, np.int32)
