"""Masked-language modelling, alone or with a question about pairs of sentences."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from data.batch import Batch
from data.documents import Documents
from data.masking import Masking, MaskRows
from data.modes import Mode
from data.passages import Passages
from data.sentence_pairs import SentencePairs
from data.tokenizers import Tokenizer
from model.config import TransformerConfig
from model.encoder import MaskedLanguageModel
from train.objectives.interface import HeldOut, Means, Measured, Sample
from train.objectives.scoring import check_options, gather, plain_loss, score, score_tokens, unigram_entropy


@dataclass(frozen=True)
class MaskedLM:
    """Masked-language modelling, with next-sentence or sentence-order prediction where rows hold pairs.

        loss = mean over masked places of -log p(token | row)  +  mean over pairs of -log p(label | row)

    Only the masked places reach the output layer. Reference: Devlin et al., arXiv:1810.04805, section 3.1; the second term
    is dropped by Liu et al., arXiv:1907.11692, and asks for the order of two sentences in Lan et al., arXiv:1909.11942.
    """

    masking: Masking = Masking()
    """What is hidden, and behind what."""
    next_sentence: bool = True
    """Whether rows hold pairs of sentences, and the model is asked if the second follows the first."""
    sentence_order: bool = False
    """Whether rows hold pairs of sentences that follow each other, and the model is asked which comes first."""
    z_loss: float = 0.0
    """Weight of the squared log of the softmax's normaliser (arXiv:2204.02311: 1e-4)."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over the vocabulary (arXiv:1512.00567); `valid_loss` is the plain loss."""

    modes: ClassVar[tuple[Mode, ...]] = ("all_masked", "as_trained", "shuffled")
    headline: ClassVar[tuple[str, ...]] = ("unigram_entropy", "context_gain")

    def __post_init__(self):
        check_options(self.z_loss, self.label_smoothing)
        if self.next_sentence and self.sentence_order:
            raise ValueError("a pair has one label; use next_sentence=False with sentence_order=True")

    @property
    def pairs(self) -> SentencePairs | None:
        """The pairs of sentences in a row, if it holds any; their `term` names labels, loss and accuracy."""
        if not (self.next_sentence or self.sentence_order):
            return None
        return SentencePairs(negatives="swapped" if self.sentence_order else "random")

    def packing(self) -> SentencePairs | Passages:
        """How documents fill rows: as pairs of sentences, or one after the other."""
        return self.pairs or Passages()

    def corrupt(self, tokenizer: Tokenizer, row_length: int, mode: Mode = "train") -> MaskRows:
        """The host half: a picklable function (row, rng) -> row with `masked_*` labels; modes as in data/modes.py."""
        return MaskRows(self.masking, tokenizer, mode=mode)

    def longest(self, row_length: int) -> int:
        return row_length

    def build(self, config: TransformerConfig, rngs: nnx.Rngs) -> MaskedLanguageModel:
        return MaskedLanguageModel(config, next_sentence=self.pairs is not None, rngs=rngs)

    def hidden(self, model: MaskedLanguageModel, batch: Batch, dropout_keys: Array | None) -> Float[Array, "B T D"]:
        return model(
            batch.tokens, batch.positions, batch.segments, token_types=batch.token_types, dropout_keys=dropout_keys
        )

    def measure(self, model: MaskedLanguageModel, batch: Batch, dropout_keys: Array | None) -> Measured:
        """Loss terms and metrics of one batch; `dropout_keys` uint32 [B], or None to switch dropout off."""
        hidden = self.hidden(model, batch, dropout_keys)
        terms, metrics = score_tokens(
            model,
            gather(hidden, batch.labels["masked_places"]),
            batch.labels,
            "masked",
            accuracy="masked_accuracy",
            z_loss=self.z_loss,
            label_smoothing=self.label_smoothing,
        )
        if self.pairs is not None:
            term = self.pairs.term
            logits = model.predict_next_sentence(gather(hidden, batch.labels[f"{term}_places"]))
            terms[term], metrics[f"{term}_accuracy"] = score(logits, batch.labels, term)
        return Measured(terms, metrics)

    def scores(self, seen: dict[str, Means], held_out: HeldOut | None = None) -> Means:
        """Flat scores from the means of each mode; a mode that was not run leaves its scores out.

        `valid_loss` hides every target: under 80/10/10 a tenth of them stay visible, and copying those alone looks like
        learning. `context_gain` is what the loss rises by when the visible tokens are shuffled: what order is worth.
        `unigram_entropy` is that of the held-out tokens themselves: the loss of the best guess that ignores the row.
        """
        loss = plain_loss(seen["all_masked"], "masked")
        scores = {"valid_loss": loss, "masked_accuracy": seen["all_masked"]["masked_accuracy"]}
        if "as_trained" in seen:
            scores["valid_loss_80_10_10"] = plain_loss(seen["as_trained"], "masked")
            for name in ("next_sentence", "sentence_order"):
                if name in seen["as_trained"]:
                    scores[f"{name}_loss"] = seen["as_trained"][name]
                    scores[f"{name}_accuracy"] = seen["as_trained"][f"{name}_accuracy"]
        if "shuffled" in seen:
            scores["valid_loss_shuffled"] = plain_loss(seen["shuffled"], "masked")
            scores["context_gain"] = scores["valid_loss_shuffled"] - scores["valid_loss"]
        if held_out is not None:
            scores["nats_per_byte"] = loss * float(held_out.token_counts.sum()) / held_out.bytes
            scores["unigram_entropy"] = unigram_entropy(held_out.token_counts)
        return scores

    def floors(self, train: Documents, held_out: Documents, vocab_size: int) -> Means:
        return {}

    def targets(self, batch: Batch) -> np.ndarray:
        return batch.labels["masked_targets"][batch.labels["masked_weights"] > 0]

    def sample(self, batch: Batch, row: int, most: int) -> Sample:
        slots = np.flatnonzero(batch.labels["masked_weights"][row])[:most]
        places, targets = batch.labels["masked_places"][row, slots], batch.labels["masked_targets"][row, slots]
        return Sample(batch.tokens[row][batch.segments[row] > 0], places, places, targets)
