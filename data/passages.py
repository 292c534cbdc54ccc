"""Documents one by one, each its own segment, long ones cut: as they stand, or as inputs with the token after each.

Layout of a segment:

    Passages        [CLS] text [SEP]        any opening and closing token, or none
    Continuations   tokens  a b c d         of the text a b c d e: its next passage, if it is longer, begins with e
                    targets b c d e
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.batch import Row
from data.documents import Documents, Piece
from data.ngrams import NGramScores, all_ids, discounted_ngrams
from data.segments import Packer, Role, Segment, first_run, mark, runs

MARKING = "marking where documents begin and end"


@dataclass(frozen=True)
class Passages:
    """Documents one by one, each its own segment; one that is longer than a row is cut into passages as long as a row."""

    opening: Role | None = "cls"
    closing: Role | None = "sep"

    def packer(self, documents: Documents, row_length: int) -> "PassagePacker":
        return PassagePacker(self, documents, row_length)


class PassagePacker(Packer):
    """Passages in rows."""

    def __init__(self, packing: Passages, documents: Documents, row_length: int):
        super().__init__(documents, row_length)
        roles = [role for role in (packing.opening, packing.closing) if role]
        special = documents.special
        special.need(*roles, purpose="packing documents")
        self.opening = getattr(special, packing.opening) if packing.opening else None
        self.closing = getattr(special, packing.closing) if packing.closing else None
        self.specials = len(roles)
        self.need_room(self.specials + 1, f"the {self.specials} special tokens of a passage and text")

    def cut(self, documents: list[int], epoch: int, draw: random.Random) -> list[Segment]:
        room = self.row_length - self.specials
        return [
            Segment(Piece(document, start, stop))
            for document, length in zip(documents, self.lengths(documents), strict=True)
            for start, stop in runs(length, room, room)
        ]

    def room(self, segment: Segment) -> int:
        return segment.first.stop - segment.first.start + self.specials

    def write(self, row: list[Segment], texts: Iterator[np.ndarray]) -> Row:
        tokens, positions, segments = self.empty()
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
            positions[begin:at] = self.counting[: at - begin]
            segments[begin:at] = number
        return Row(tokens, positions, segments, None, {})


@dataclass(frozen=True)
class Continuations:
    """Documents for models that predict the next token: each token of a document but its first is a target once an epoch.

    A row holds `tokens`, and `next_targets` with what comes after each. A document that is longer than a row goes on in
    another passage, which begins with the last target of the one before. Where a long document is cut moves from epoch to
    epoch (epoch 0, and so a held-out row, begins at its first token); nanoGPT's rows are these for one long text without
    marks. `bos` and `eos` are [CLS] and [SEP] where the vocabulary has no others.
    """

    opening: Role | None = None
    closing: Role | None = "eos"

    def packer(self, documents: Documents, row_length: int) -> "ContinuationPacker":
        return ContinuationPacker(self, documents, row_length)

    def floor(self, train: Documents, held_out: Documents, vocab_size: int) -> NGramScores:
        """What counts of the training documents score on the targets of held-out ones: orders 1 to 3, nats a token."""
        opening, closing = (
            mark(train.special, role, MARKING) if role else None for role in (self.opening, self.closing)
        )
        texts = all_ids(train), all_ids(held_out)
        return discounted_ngrams(*texts, vocab_size=vocab_size, opening=opening, closing=closing, first=False)


class ContinuationPacker(Packer):
    """Continuations in rows."""

    need = "two tokens in a row"

    def __init__(self, packing: Continuations, documents: Documents, row_length: int):
        super().__init__(documents, row_length)
        special = documents.special
        opening = [mark(special, packing.opening, MARKING)] if packing.opening else []
        closing = [mark(special, packing.closing, MARKING)] if packing.closing else []
        self.opening, self.closing = np.array(opening, np.int32), np.array(closing, np.int32)

    def cut(self, documents: list[int], epoch: int, draw: random.Random) -> list[Segment]:
        before, after = len(self.opening), len(self.closing)
        segments = []
        for document, length in zip(documents, self.lengths(documents), strict=True):
            if not length:
                continue
            targets = before + length + after - 1  # of the marked document, all but its first token
            for start, stop in runs(targets, self.row_length, first_run(targets, self.row_length, epoch, draw)):
                # Tokens start ... stop of the marked document: inputs without the last of them, targets without the first.
                piece = Piece(document, max(0, start - before), min(length, stop + 1 - before))
                segments.append(Segment(piece, opens=before > start, closes=stop + 1 > before + length))
        return segments

    def room(self, segment: Segment) -> int:
        return segment.first.stop - segment.first.start + segment.opens + segment.closes - 1

    def write(self, row: list[Segment], texts: Iterator[np.ndarray]) -> Row:
        tokens, positions, segments = self.empty()
        targets, weights = np.full_like(tokens, self.pad), np.zeros(self.row_length, np.float32)
        at = 0
        for number, segment in enumerate(row, start=1):
            marked = np.concatenate([self.opening[: segment.opens], next(texts), self.closing[: segment.closes]])
            end = at + len(marked) - 1
            tokens[at:end], targets[at:end], weights[at:end] = marked[:-1], marked[1:], 1.0
            positions[at:end] = self.counting[: end - at]
            segments[at:end] = number
            at = end
        return Row(tokens, positions, segments, None, {"next_targets": targets, "next_weights": weights})
