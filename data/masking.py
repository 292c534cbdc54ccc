"""Masked-language-model corruption on the host: which places are predicted, and what the model sees there."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from data.errors import DataError


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
Mode: TypeAlias = Literal["train", "as_trained", "all_masked", "shuffled"]


@dataclass(frozen=True)
class Masking:
    """How a masked language model hides its targets.

    `rate` of the ordinary tokens of a row become targets. Of those `mask_share` are replaced by [MASK],
    `random_share` by a random token, and the rest stay visible. `dynamic` draws anew in every epoch
    (arXiv:1907.11692); `static` plans and masks the rows once and repeats them, as data masked beforehand does.
    """

    rate: float = 0.15
    kind: Literal["dynamic", "static"] = "dynamic"
    unit: Unit = Tokens()
    mask_share: float = 0.8
    random_share: float = 0.1

    def __post_init__(self):
        if not 0.0 < self.rate < 1.0:
            raise DataError(f"masking rate={self.rate} is out of range; use a share between 0 and 1, such as 0.15")
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1 + 1e-9:
            raise DataError(f"mask_share={self.mask_share} and random_share={self.random_share} must be shares "
                            "whose sum is at most 1, such as 0.8 and 0.1")  # fmt: skip

    def places(self, row_length: int) -> int:
        """K, the places of a row that can be predicted: the static size of the labels.

        >>> Masking().places(128)
        19
        """
        return max(1, round(self.rate * row_length))
