"""Predicting the next token: of a whole text, or of what follows a prefix."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from data.batch import Batch, segment_spans
from data.documents import Documents
from data.modes import Mode
from data.next_token import NextTokens, Prefixes
from data.passages import Continuations
from data.segments import Role
from data.tokenizers import Tokenizer
from model.config import TransformerConfig
from model.decoder import LanguageModel
from train.objectives.interface import HeldOut, Means, Measured, Sample
from train.objectives.scoring import check_options, next_token_scores, plain_loss, score_tokens, spread

MOST_COUNTED = 4_000_000  # tokens: counting more takes longer than a user should wait without having asked


class PredictsNext:
    """What the objectives with the one term `next` have in common: of every place, which token comes next."""

    z_loss: float
    label_smoothing: float

    modes: ClassVar[tuple[Mode, ...]] = ("as_trained", "shuffled")
    headline: ClassVar[tuple[str, ...]] = ("perplexity", "accuracy", "unigram_entropy", "context_gain")

    def __post_init__(self):
        check_options(self.z_loss, self.label_smoothing)

    def longest(self, row_length: int) -> int:
        return row_length

    def hidden(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Float[Array, "B T D"]:
        raise NotImplementedError

    def measure(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Measured:
        hidden = self.hidden(model, batch, dropout_keys)
        return score_tokens(
            model, hidden, batch.labels, "next", z_loss=self.z_loss, label_smoothing=self.label_smoothing
        )

    def scores(self, seen: dict[str, Means], held_out: HeldOut | None = None) -> Means:
        """Flat scores; `context_gain` is what the loss rises by when the tokens of the context are shuffled."""
        scores = next_token_scores(seen["as_trained"], held_out)
        if "next" in seen.get("shuffled", {}):
            scores["valid_loss_shuffled"] = plain_loss(seen["shuffled"], "next")
            scores["context_gain"] = scores["valid_loss_shuffled"] - scores["valid_loss"]
        return scores

    def floors(self, train: Documents, held_out: Documents, vocab_size: int) -> Means:
        return {}

    def targets(self, batch: Batch) -> np.ndarray:
        return batch.labels["next_targets"][batch.labels["next_weights"] > 0]

    def sample(self, batch: Batch, row: int, most: int) -> Sample:
        """A row with the last target of each segment behind it, and some of its next tokens asked for."""
        tokens, targets = batch.tokens[row], batch.labels["next_targets"][row]
        shown, shown_at = [], np.zeros(len(tokens), np.int64)
        for number, (start, stop) in enumerate(segment_spans(batch.segments[row]), start=1):
            shown += [*tokens[start:stop], targets[stop - 1]]
            shown_at[start:stop] = np.arange(start, stop) + number  # each segment before it, and itself, is one longer
        places = spread(np.flatnonzero(batch.labels["next_weights"][row]), most)
        return Sample(np.array(shown), shown_at[places], places, targets[places])


@dataclass(frozen=True)
class NextToken(PredictsNext):
    """Language modelling: each token of a text is predicted from those before it (Radford et al. 2018).

    loss = mean over tokens of -log p(token | tokens before it)
    """

    opening: Role | None = None
    """Token before each document; "bos" is [CLS] where the vocabulary has no beginning of text."""
    closing: Role | None = "eos"
    """Token after each document; "eos" is [SEP] where the vocabulary has no end of text. None for one unbroken text."""
    answer_after: str | None = None
    """A token by its name: only what follows its last occurrence in a segment is asked for. None: everything is."""
    z_loss: float = 0.0
    """Weight of the squared log of the softmax's normaliser (arXiv:2204.02311: 1e-4)."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over the vocabulary (arXiv:1512.00567); `valid_loss` is the plain loss."""

    modes: ClassVar[tuple[Mode, ...]] = ("as_trained", "second_half", "shuffled")
    headline: ClassVar[tuple[str, ...]] = ("perplexity", "bits_per_byte", "trigram_loss", "context_gain")

    def packing(self) -> Continuations:
        return Continuations(self.opening, self.closing)

    def corrupt(self, tokenizer: Tokenizer, row_length: int, mode: Mode = "train") -> NextTokens:
        return NextTokens(tokenizer, self.answer_after, mode)

    def build(self, config: TransformerConfig, rngs: nnx.Rngs) -> LanguageModel:
        return LanguageModel(config, rngs=rngs)

    def hidden(self, model: LanguageModel, batch: Batch, dropout_keys: Array | None) -> Float[Array, "B T D"]:
        return model(batch.tokens, batch.positions, batch.segments, dropout_keys=dropout_keys)

    def floors(self, train: Documents, held_out: Documents, vocab_size: int) -> Means:
        """Losses of counts of single tokens, pairs and triples (data/ngrams.py); none of a text too large to count."""
        if self.answer_after is not None or train.tokens > MOST_COUNTED:
            return {}
        names = ("unigram_loss", "bigram_loss", "trigram_loss")
        return dict(zip(names, self.packing().floor(train, held_out, vocab_size).nats, strict=True))

    def scores(self, seen: dict[str, Means], held_out: HeldOut | None = None) -> Means:
        """Flat scores. Losses per byte are given where every token is asked for: marks cost bits but are no bytes, and a
        document's first token costs none if nothing opens it.

        `context_gain` is what the loss in the second half of each segment rises by when the tokens of the first half are
        shuffled: what the order of a distant context is worth. (Shuffling all of it would also move the token before the
        target, and the target itself into view.)
        """
        scores = next_token_scores(seen["as_trained"], held_out)
        if held_out is not None and self.answer_after is None:
            nats = scores["valid_loss"] * float(held_out.target_counts.sum())
            scores["nats_per_byte"] = nats / held_out.bytes
            scores["bits_per_byte"] = scores["nats_per_byte"] / math.log(2)
        if "next" in seen.get("second_half", {}) and "next" in seen.get("shuffled", {}):
            scores["second_half_loss"] = plain_loss(seen["second_half"], "next")
            scores["second_half_loss_shuffled"] = plain_loss(seen["shuffled"], "next")
            scores["context_gain"] = scores["second_half_loss_shuffled"] - scores["second_half_loss"]
        return scores


@dataclass(frozen=True)
class PrefixLM(PredictsNext):
    """Language modelling behind a prefix, of a random length in each segment, whose tokens see each other both ways.

        loss = mean over the tokens after the prefix of -log p(token | prefix, tokens before it)

    Reference: Raffel et al., arXiv:1910.10683, section 3.2.1 (there in an encoder-decoder too; here in one stack).
    """

    opening: Role | None = None
    """Token before each document; "bos" is [CLS] where the vocabulary has no beginning of text."""
    closing: Role | None = "eos"
    """Token after each document; "eos" is [SEP] where the vocabulary has no end of text. None for one unbroken text."""
    z_loss: float = 0.0
    """Weight of the squared log of the softmax's normaliser (arXiv:2204.02311: 1e-4)."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over the vocabulary (arXiv:1512.00567); `valid_loss` is the plain loss."""

    def packing(self) -> Continuations:
        return Continuations(self.opening, self.closing)

    def corrupt(self, tokenizer: Tokenizer, row_length: int, mode: Mode = "train") -> Prefixes:
        return Prefixes(tokenizer, mode)

    def build(self, config: TransformerConfig, rngs: nnx.Rngs) -> LanguageModel:
        return LanguageModel(config, rngs=rngs)

    def hidden(self, model: LanguageModel, batch: Batch, dropout_keys: Array | None) -> Float[Array, "B T D"]:
        return model(batch.tokens, batch.positions, batch.segments, prefix=batch.prefix, dropout_keys=dropout_keys)
