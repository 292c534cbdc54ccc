"""What the training loop, the evaluator and the report need to know of an objective."""

from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from data.batch import Batch
from data.documents import Documents
from data.modes import Mode
from data.pipeline import Corrupt
from data.segments import Packing
from data.tokenizers import Tokenizer
from model.config import TransformerConfig

Means = dict[str, float]
Pair = tuple[Float[Array, ""], Float[Array, ""]]


class Measured(NamedTuple):
    """What an objective saw in a batch: each entry is (sum, count), both float32 scalars.

    Attributes:
        terms: what is minimised. Term `name` is weighted by `batch.labels[name + "_weights"]`, and its count is their sum.
        metrics: what is only looked at, by the name under which it is printed.
    """

    terms: dict[str, Pair]
    metrics: dict[str, Pair]


class HeldOut(NamedTuple):
    """The text of an evaluation, which its losses are read against.

    Attributes:
        bytes: of the text, UTF-8.
        token_counts: how often each token occurs in it, int64[V].
        target_counts: how often each was asked for, int64[V].
    """

    bytes: int
    token_counts: np.ndarray
    target_counts: np.ndarray


class Sample(NamedTuple):
    """A held-out row for a reader, and what the model is asked in it; all arrays are of ids or of places.

    Attributes:
        tokens: what is shown.
        shown_at: where among them the asked tokens stand, [n].
        places: the places of the row from whose hidden states they are predicted, [n].
        targets: the tokens themselves, [n].
        source: what an encoder reads, if there is one.
    """

    tokens: np.ndarray
    shown_at: np.ndarray
    places: np.ndarray
    targets: np.ndarray
    source: np.ndarray | None = None


class Trainable(Protocol):
    """What a training step needs to know of an objective, of text or of a task."""

    headline: ClassVar[tuple[str, ...]]
    """Scores that are named beside `valid_loss` when a run ends, those that it has."""

    def longest(self, row_length: int) -> int:
        """Positions that the model needs for rows of this length, the longer of its sides."""
        ...

    def build(self, config: TransformerConfig, rngs: nnx.Rngs) -> nnx.Module:
        """A model that can be asked."""
        ...

    def measure(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Measured:
        """Loss terms and metrics of one batch."""
        ...


class Objective(Trainable, Protocol):
    """What the one training loop needs to know of an objective of text; `model` is what its `build` makes."""

    modes: ClassVar[tuple[Mode, ...]]
    """Ways of showing held-out rows; the first is the headline's."""

    def packing(self) -> Packing:
        """How documents fill rows."""
        ...

    def corrupt(self, tokenizer: Tokenizer, row_length: int, mode: Mode = "train") -> Corrupt:
        """The host half: a picklable function (row, rng) -> row that adds labels of a fixed shape."""
        ...

    def hidden(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Float[Array, "B T D"]:
        """The states from which `model.predict_tokens` scores tokens; `dropout_keys` uint32 [B], or None for no dropout."""
        ...

    def scores(self, seen: dict[str, Means], held_out: HeldOut | None = None) -> Means:
        """Flat scores, `valid_loss` among them, from the means of each mode; a mode that was not run leaves its own out."""
        ...

    def floors(self, train: Documents, held_out: Documents, vocab_size: int) -> Means:
        """What counting alone scores, by name, where there is something to count; taken once, when a run begins."""
        ...

    def targets(self, batch: Batch) -> np.ndarray:
        """Ids of the tokens that a host batch asks for, [n]."""
        ...

    def sample(self, batch: Batch, row: int, most: int) -> Sample:
        """A row of a host batch for a reader, with at most so many of its questions."""
        ...
