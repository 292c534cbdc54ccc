"""Objectives: what a row hides, and what a model is asked about it.

An objective has two halves. On the host it says how documents become rows and how a row is corrupted (numpy, in data/). On
the device it turns a model and a batch into loss *terms*. A term is a sum and a count, never a mean: micro-batches, devices
and padding then add up exactly, and the training step divides once, by the count of the whole batch.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from data.batch import Batch
from data.masking import Masking, MaskRows
from data.modes import Mode
from data.passages import Passages
from data.segments import Packing
from data.sentence_pairs import SentencePairs
from data.tokenizers import Tokenizer
from kernels.cross_entropy import cross_entropy, is_highest
from model.config import TransformerConfig
from model.encoder import MaskedLanguageModel

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


class Objective(Protocol):
    """What the one training loop needs to know of an objective; `model` is what its `build` makes."""

    def packing(self) -> Packing: ...

    def corrupt(self, tokenizer: Tokenizer, mode: Mode = "train") -> MaskRows: ...

    def build(self, config: TransformerConfig, rngs: nnx.Rngs) -> nnx.Module: ...

    def measure(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Measured: ...

    modes: ClassVar[tuple[Mode, ...]]  # ways of corrupting held-out rows; the first is the headline's

    def scores(self, seen: dict[str, Means]) -> Means: ...

    def targets(self, batch: Batch) -> np.ndarray: ...

    def predictions(self, model: Any, batch: Batch, count: int) -> tuple[Array, Array]: ...


@dataclass(frozen=True)
class MaskedLM:
    """Masked-language modelling, and next-sentence prediction when `next_sentence` is set.

        loss = mean over masked places of -log p(token | row)  +  mean over pairs of -log p(is next | row)

    Only the masked places reach the output layer. Reference: Devlin et al., arXiv:1810.04805, section 3.1; the second term
    is dropped by Liu et al., arXiv:1907.11692.
    """

    masking: Masking = Masking()
    next_sentence: bool = True

    modes: ClassVar[tuple[Mode, ...]] = ("all_masked", "as_trained", "shuffled")

    def packing(self) -> Packing:
        """How documents fill rows: as pairs of sentences, or one after the other."""
        return SentencePairs() if self.next_sentence else Passages()

    def corrupt(self, tokenizer: Tokenizer, mode: Mode = "train") -> MaskRows:
        """The host half: a picklable function (row, rng) -> row with `masked_*` labels; modes as in data/masking.py."""
        return MaskRows(self.masking, tokenizer, mode=mode)

    def build(self, config: TransformerConfig, rngs: nnx.Rngs) -> MaskedLanguageModel:
        return MaskedLanguageModel(config, next_sentence=self.next_sentence, rngs=rngs)

    def measure(self, model: MaskedLanguageModel, batch: Batch, dropout_keys: Array | None) -> Measured:
        """Loss terms and metrics of one batch; `dropout_keys` uint32 [B], or None to switch dropout off."""
        hidden = model(
            batch.tokens, batch.positions, batch.segments, token_types=batch.token_types, dropout_keys=dropout_keys
        )
        terms, metrics = {}, {}
        logits = model.predict_tokens(gather(hidden, batch.labels["masked_places"]))
        terms["masked"], metrics["masked_accuracy"] = score(logits, batch.labels, "masked")
        if self.next_sentence:
            logits = model.predict_next_sentence(gather(hidden, batch.labels["next_sentence_places"]))
            terms["next_sentence"], metrics["next_sentence_accuracy"] = score(logits, batch.labels, "next_sentence")
        return Measured(terms, metrics)

    def scores(self, seen: dict[str, Means]) -> Means:
        """Flat scores from the means of each mode; a mode that was not run leaves its scores out.

        `valid_loss` hides every target: under 80/10/10 a tenth of them stay visible, and copying those alone looks like
        learning. `context_gain` is what the loss rises by when the visible tokens are shuffled: what order is worth.
        """
        scores = {"valid_loss": seen["all_masked"]["masked"], "masked_accuracy": seen["all_masked"]["masked_accuracy"]}
        if "as_trained" in seen:
            scores["valid_loss_80_10_10"] = seen["as_trained"]["masked"]
            if "next_sentence" in seen["as_trained"]:
                scores["next_sentence_loss"] = seen["as_trained"]["next_sentence"]
                scores["next_sentence_accuracy"] = seen["as_trained"]["next_sentence_accuracy"]
        if "shuffled" in seen:
            scores["valid_loss_shuffled"] = seen["shuffled"]["masked"]
            scores["context_gain"] = scores["valid_loss_shuffled"] - scores["valid_loss"]
        return scores

    def targets(self, batch: Batch) -> np.ndarray:
        """Ids of the tokens that a host batch asks for, [n]."""
        return batch.labels["masked_targets"][batch.labels["masked_weights"] > 0]

    def predictions(self, model: MaskedLanguageModel, batch: Batch, count: int) -> tuple[Array, Array]:
        """The likeliest tokens for each masked place: probabilities and ids, both [B, K, count]."""
        hidden = model(batch.tokens, batch.positions, batch.segments, token_types=batch.token_types)
        logits = model.predict_tokens(gather(hidden, batch.labels["masked_places"]))
        return jax.lax.top_k(jax.nn.softmax(logits, axis=-1), count)


def gather(hidden: Float[Array, "B T D"], places: Array) -> Float[Array, "B K D"]:
    """The vectors at `places` int32 [B, K]: `hidden[b, places[b, k]]`."""
    return jnp.take_along_axis(hidden, places[:, :, None], axis=1, mode="clip")


def score(logits: Float[Array, "B K C"], labels: dict[str, Array], name: str) -> tuple[Pair, Pair]:
    """(sum, count) of the negative log-likelihood in nats, and of correct guesses, over the weighted places of a term."""
    targets, weights = labels[f"{name}_targets"], labels[f"{name}_weights"]
    loss = cross_entropy(logits, targets)
    correct = is_highest(logits, targets).astype(jnp.float32)
    count = weights.sum()
    return ((loss * weights).sum(), count), ((correct * weights).sum(), count)
