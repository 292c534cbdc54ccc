"""Masked-language-model corruption on the host: which places are predicted, and what the model sees there.

It works on packed rows, one at a time, with a generator keyed by (seed, epoch, example id): what is hidden does not
depend on batch, worker, host or mesh. Only K = round(rate T) places of a row can be targets, so that the model
computes its output layer there and nowhere else.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from data.batch import Row
from data.errors import DataError
from data.modes import Mode, check_mode, shuffle
from data.tokenizers.interface import Tokenizer
from data.tokenizers.words import WordTable


@dataclass(frozen=True)
class Tokens:
    """Each sub-word is chosen by itself (arXiv:1810.04805)."""


@dataclass(frozen=True)
class Words:
    """All sub-words of a word, or none: whole-word masking, as BERT's authors released it in May 2019."""


@dataclass(frozen=True)
class Spans:
    """Runs of whole words, their length drawn from a geometric law cut off at `longest` (SpanBERT, arXiv:1907.10529).

    p(n) proportional to probability * (1 - probability)^(n - 1),  n = 1 ... longest      (mean 3.8 by default)
    """

    probability: float = 0.2
    longest: int = 10

    def __post_init__(self):
        if not 0.0 < self.probability <= 1.0 or self.longest < 1:
            raise DataError(f"spans need 0 < probability <= 1 and longest >= 1, not {self.probability}, {self.longest}")


Unit: TypeAlias = Tokens | Words | Spans


@dataclass(frozen=True)
class Masking:
    """How a masked language model hides its targets.

    `rate` of the ordinary tokens of a row become targets. Of those `mask_share` are replaced by [MASK],
    `random_share` by a random token, and the rest stay visible. `dynamic` draws anew in every epoch
    (arXiv:1907.11692); `static` plans and masks the rows once and repeats them, as data masked beforehand does. Where a run is
    to be compared with others that hide less or more, held-out text is scored with `scored_rate` of its tokens hidden.
    """

    rate: float = 0.15
    kind: Literal["dynamic", "static"] = "dynamic"
    unit: Unit = Tokens()
    mask_share: float = 0.8
    random_share: float = 0.1
    scored_rate: float | None = None
    """Share that is hidden where held-out text is scored; None: `rate`."""

    def __post_init__(self):
        for name, rate in (("rate", self.rate), ("scored_rate", self.scored_rate)):
            if rate is not None and not 0.0 < rate < 1.0:
                raise DataError(f"masking {name}={rate} is out of range; use a share between 0 and 1, such as 0.15")
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1 + 1e-9:
            raise DataError(f"mask_share={self.mask_share} and random_share={self.random_share} must be shares "
                            "whose sum is at most 1, such as 0.8 and 0.1")  # fmt: skip

    def rate_in(self, mode: Mode) -> float:
        """Which share of a row is hidden in training, or where held-out text is scored."""
        return self.rate if mode == "train" or self.scored_rate is None else self.scored_rate

    def places(self, row_length: int, mode: Mode = "train") -> int:
        """K, the places of a row that can be predicted: the static size of the labels.

        >>> Masking(rate=0.3, scored_rate=0.15).places(128), Masking(rate=0.3, scored_rate=0.15).places(128, "all_masked")
        (38, 19)
        """
        return max(1, round(self.rate_in(mode) * row_length))


class MaskRows:
    """Corrupts rows for a masked language model: `MaskRows(masking, tokenizer)(row, rng)`.

    In mode `all_masked` every target becomes [MASK]; in mode `shuffled` that too, and the visible ordinary tokens of the
    row change places: no context but the words themselves.

    It keeps small tables of the tokenizer, not the tokenizer, so that loader workers get it cheaply.
    """

    modes = ("train", "as_trained", "all_masked", "shuffled")

    def __init__(self, masking: Masking, tokenizer: Tokenizer, mode: Mode = "train"):
        check_mode(mode, self.modes)
        self.masking = masking
        self.mode: Mode = mode
        (self.mask,) = tokenizer.special.need("mask", purpose="masked-language modelling")
        self.ordinary: np.ndarray = tokenizer.ordinary  # int32[m], ids that stand for text
        self.maskable = np.zeros(tokenizer.vocab_size, bool)  # [V]; special, unknown and unused ids are never hidden
        self.maskable[self.ordinary] = True
        self.words: WordTable = tokenizer.words

    @property
    def static(self) -> bool:
        """Whether every epoch repeats the rows and the masks of the first."""
        return self.masking.kind == "static"

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """The row with its targets hidden and its labels added.

        Adds masked_places int32[K], in rising order, masked_targets int32[K] and masked_weights float32[K]: 1 for a
        target, 0 for a slot that is not used.
        """
        most = self.masking.places(len(row.tokens), self.mode)
        candidates = np.flatnonzero(self.maskable[row.tokens] & (row.segments > 0))
        budget = min(most, max(1, round(self.masking.rate_in(self.mode) * len(candidates)))) if len(candidates) else 0
        places, units = self._choose(row.tokens, candidates, budget, rng)
        count = len(places)
        masked_places, masked_targets = np.zeros(most, np.int32), np.zeros(most, np.int32)
        masked_weights = np.zeros(most, np.float32)
        masked_places[:count], masked_targets[:count], masked_weights[:count] = places, row.tokens[places], 1.0
        labels = {
            "masked_places": masked_places,
            "masked_targets": masked_targets,
            "masked_weights": masked_weights,
        }
        tokens = row.tokens.copy()
        if self.mode in ("train", "as_trained"):
            tokens[places] = self._replacements(tokens[places], units, rng)
        else:
            tokens[places] = self.mask
        if self.mode == "shuffled":
            visible = np.setdiff1d(candidates, places, assume_unique=True)
            shuffle(tokens, visible, rng)
        return row._replace(tokens=tokens, labels=row.labels | labels)

    def _choose(self, tokens: np.ndarray, candidates: np.ndarray, budget: int, rng) -> tuple[np.ndarray, np.ndarray]:
        """Target places in rising order, and the unit that each belongs to: tokens of a span share their fate."""
        unit = self.masking.unit
        if isinstance(unit, Tokens):
            places = np.sort(rng.permutation(candidates)[:budget])
            return places, np.arange(len(places))
        # Words as runs of candidates: one begins where the tokenizer says so, and after anything that is no candidate.
        begins = self.words.starts(tokens)[candidates]
        gap = np.diff(candidates, prepend=-2) > 1
        firsts = np.flatnonzero(begins | gap)
        lengths = np.diff(firsts, append=len(candidates)).tolist()
        order = rng.permutation(len(firsts)).tolist()
        if isinstance(unit, Words):
            chosen = _choose_words(order, lengths, budget)
        else:
            law = unit.probability * (1 - unit.probability) ** np.arange(unit.longest)
            sizes = 1 + np.searchsorted(np.cumsum(law / law.sum()), rng.random(len(firsts)))
            chosen = _choose_spans(
                order, np.minimum(sizes, unit.longest).tolist(), lengths, gap[firsts].tolist(), budget
            )
        starts = firsts.tolist()
        pairs = sorted(
            (int(place), group)
            for word, group in chosen
            for place in candidates[starts[word] : starts[word] + lengths[word]]
        )
        return np.array([place for place, _ in pairs], np.int64), np.array([group for _, group in pairs], np.int64)

    def _replacements(self, targets: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """80% [MASK], 10% a random token, 10% the token itself: the default shares."""
        fate = rng.random(int(units.max(initial=-1)) + 1)[units]
        random_tokens = self.ordinary[rng.integers(len(self.ordinary), size=len(targets))]
        kept = np.where(fate < self.masking.mask_share + self.masking.random_share, random_tokens, targets)
        return np.where(fate < self.masking.mask_share, self.mask, kept)


def _choose_words(order: list[int], lengths: list[int], budget: int) -> list[tuple[int, int]]:
    """Words in random order, each if it still fits; (word, unit), one unit a token's own word."""
    chosen, left = [], budget
    for word in order:
        if lengths[word] <= left:
            chosen.append((word, len(chosen)))
            left -= lengths[word]
            if not left:
                break
    return chosen


def _choose_spans(order: list[int], sizes: list[int], lengths: list[int], gap: list[bool], budget: int):
    """Spans of words from random first words on, up to the next gap or hidden word, while they fit; (word, span)."""
    chosen, left, taken = [], budget, set()
    for span, (first, size) in enumerate(zip(order, sizes, strict=True)):
        for word in range(first, min(first + size, len(lengths))):
            if word in taken or lengths[word] > left or (word > first and gap[word]):
                break
            taken.add(word)
            chosen.append((word, span))
            left -= lengths[word]
        if not left:
            break
    return chosen
