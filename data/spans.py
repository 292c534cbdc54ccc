"""Span corruption: random spans of a text are replaced by sentinels, and the target spells them out.

    text      Thank you for inviting me to your party last week .
    source    Thank you <X> me to your party <Y> week . </s>
    target    <X> for inviting <Y> last </s>

Reference: Raffel et al., arXiv:1910.10683, section 3.1.4, and the authors' `random_spans_noise_mask`. A passage of n
tokens has round(rate n) noise tokens in round(noise / mean_span) spans, so the lengths of both sides follow from n:
rows are planned by them, and arrays have static sizes that can never overflow.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data.batch import Row, segment_spans
from data.documents import Documents, Piece
from data.errors import DataError
from data.modes import Mode, check_mode, shuffle
from data.segments import Packer, Segment, first_of, first_run, mark, runs
from data.sides import Side, from_sides
from data.tokenizers.interface import SpecialIds, Tokenizer

PURPOSE = "span corruption"


class Noise(NamedTuple):
    """What becomes of a passage: how many of its tokens are noise, and in how many spans."""

    length: int
    tokens: int
    spans: int

    @property
    def source(self) -> int:
        """Tokens of the source: what is left, a sentinel for each span, and the mark of the end."""
        return self.length - self.tokens + self.spans + 1

    @property
    def target(self) -> int:
        """Tokens of the target: the noise, a sentinel before each span, and the mark of the end."""
        return self.tokens + self.spans + 1


@dataclass(frozen=True)
class NoisySpans:
    """How much of a text is noise, and the mean length of its spans; also how such passages fill rows."""

    rate: float = 0.15
    mean_span: float = 3.0

    def __post_init__(self):
        if not 0.0 < self.rate < 1.0:
            raise DataError(f"rate={self.rate} is out of range; use a share between 0 and 1, such as 0.15")
        if not 1.0 <= self.mean_span < math.inf:
            raise DataError(f"mean_span={self.mean_span} is too short; use 1 or more, such as 3.0")

    def noise(self, length: int) -> Noise:
        """The noise of a passage of `length` tokens, 2 or more; at least one token is noise and one is not.

        >>> NoisySpans().noise(568)
        Noise(length=568, tokens=85, spans=28)
        """
        tokens = min(max(round(length * self.rate), 1), length - 1)
        return Noise(length, tokens, min(max(round(tokens / self.mean_span), 1), length - tokens))

    def longest(self, row_length: int) -> Noise:
        """The longest passage whose source fits into a row: as published, 568 tokens for 512, with a target of 114.

        >>> longest = NoisySpans().longest(512)
        >>> longest.length, longest.source, longest.target
        (568, 512, 114)
        """
        if row_length < 3:
            raise DataError(f"row_length={row_length} is too short for a token, a sentinel and an end; use 3 or more")
        length = 2
        while self.noise(length + 1).source <= row_length:
            length += 1
        return self.noise(length)

    def target_length(self, row_length: int) -> int:
        """T, places of the target side of a row: the most that the passages of a row need."""
        return self.longest(row_length).target

    def packer(self, documents: Documents, row_length: int) -> "NoisyPassagePacker":
        return NoisyPassagePacker(self, documents, row_length)


class NoisyPassagePacker(Packer):
    """Passages that fit into a row once they are corrupted. Rows are as long as their passages, until `CorruptSpans`.

    A passage takes the larger of its shares of the source side S and of the target side T,

        room = max(source, ceil(target S / T)),

    so that rooms that add up to S at most overflow neither side. A single token is no passage: nothing would be left of it.
    """

    need = "two tokens in a row"

    def __init__(self, packing: NoisySpans, documents: Documents, row_length: int):
        super().__init__(documents, row_length)
        self.packing = packing
        self.longest, self.targets = packing.longest(row_length).length, packing.target_length(row_length)

    def cut(self, documents: list[int], epoch: int, draw: random.Random) -> list[Segment]:
        return [
            Segment(Piece(document, start, stop))
            for document, length in zip(documents, self.lengths(documents), strict=True)
            for start, stop in runs(length, self.longest, first_run(length, self.longest, epoch, draw))
            if stop - start >= 2
        ]

    def room(self, segment: Segment) -> int:
        noise = self.packing.noise(segment.first.stop - segment.first.start)
        return max(noise.source, -(-noise.target * self.row_length // self.targets))

    def used(self, segment: Segment) -> int:
        return self.packing.noise(segment.first.stop - segment.first.start).source

    def write(self, row: list[Segment], texts: Iterator[np.ndarray]) -> Row:
        pieces = [next(texts) for _ in row]
        lengths = [len(piece) for piece in pieces]
        tokens = np.concatenate([np.zeros(0, np.int32), *pieces])
        positions = np.concatenate([np.zeros(0, np.int32), *(np.arange(length, dtype=np.int32) for length in lengths)])
        segments = np.repeat(np.arange(1, len(row) + 1, dtype=np.int32), lengths)
        return Row(tokens, positions, segments, None, {})


class CorruptSpans:
    """Parts a row of passages into source and target: `CorruptSpans(noise, tokenizer, row_length)(row, rng)`.

    The decoder reads the target behind `start_of_spans`; where a vocabulary has no end of text, [SEP] ends both sides. In
    mode `shuffled` the ordinary tokens that each source has left change places.
    """

    modes = ("train", "as_trained", "shuffled")

    def __init__(self, noise: NoisySpans, tokenizer: Tokenizer, row_length: int, mode: Mode = "train"):
        check_mode(mode, self.modes)
        self.noise, self.mode, self.row_length = noise, mode, row_length
        self.target_length = noise.target_length(row_length)
        special = tokenizer.special
        self.end, self.start, self.pad = mark(special, "eos", PURPOSE), start_of_spans(special), special.pad or 0
        self.sentinels = np.array(special.sentinels, np.int32)
        most = noise.longest(row_length).spans
        if len(self.sentinels) < most:
            raise DataError(
                f"the tokenizer has {len(self.sentinels)} sentinels, and span corruption of rows of {row_length} needs "
                f"{most}; use --data.tokenizer.name sentence_piece --data.tokenizer.sentinels {max(most, 100)}, a "
                "larger --objective.mean_span, or shorter rows"
            )
        self.ordinary = np.isin(np.arange(tokenizer.vocab_size), tokenizer.ordinary)  # [V]

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """Source int32[S]; the decoder's input and its targets int32[T], with weights float32[T]."""
        source, target = Side(self.row_length, self.pad), Side(self.target_length, self.pad)
        for start, stop in segment_spans(row.segments):
            left, hidden = self._part(row.tokens[start:stop], rng)
            source.append(left)
            target.append(hidden)
        return from_sides(source, target, start=self.start, labels=row.labels)

    def _part(self, text: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Source and target of one passage, both ended."""
        noise = self.noise.noise(len(text))
        kept = random_partition(noise.length - noise.tokens, noise.spans, rng)
        lost = random_partition(noise.tokens, noise.spans, rng)
        # Runs in turn, a kept one first: kept, lost, kept, lost, ...
        edges = np.cumsum(np.stack([kept, lost], axis=1).ravel())[:-1]
        parts = np.split(text, edges)
        sentinels = [self.sentinels[number : number + 1] for number in range(noise.spans)]
        end = np.array([self.end], np.int32)
        left = np.concatenate([*(part for pair in zip(parts[0::2], sentinels, strict=True) for part in pair), end])
        hidden = np.concatenate([*(part for pair in zip(sentinels, parts[1::2], strict=True) for part in pair), end])
        if self.mode == "shuffled":
            shuffle(left, np.flatnonzero(self.ordinary[left]), rng)
        return left, hidden


def start_of_spans(special: SpecialIds) -> int:
    """What a decoder reads before the first token of a target: the padding token, as published, else a mark.

    >>> start_of_spans(SpecialIds(pad=0, eos=1)), start_of_spans(SpecialIds(bos=9, eos=9))
    (0, 9)
    """
    return first_of(special, "pad", "bos", "eos", "sep", purpose=PURPOSE)


def random_partition(count: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Lengths int64[parts], each at least 1, that add up to `count`; every such partition is as likely as the others.

    >>> random_partition(7, 3, np.random.default_rng(0)).sum()
    np.int64(7)
    """
    cuts = np.sort(rng.permutation(count - 1)[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [count]]).astype(np.int64))
