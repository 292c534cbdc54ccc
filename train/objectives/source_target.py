"""Objectives of models with an encoder and a decoder: span corruption, and one text given another."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from data.batch import Batch
from data.modes import Mode
from data.spans import CorruptSpans, NoisySpans
from data.text_pairs import ShowPairs, TextPairs
from data.tokenizers import Tokenizer
from model.config import TransformerConfig
from model.encoder_decoder import EncoderDecoder
from train.objectives.interface import Sample
from train.objectives.next_token import PredictsNext
from train.objectives.scoring import spread


class EncodesAndDecodes(PredictsNext):
    """What the objectives of models with an encoder and a decoder have in common."""

    def build(self, config: TransformerConfig, rngs: nnx.Rngs) -> EncoderDecoder:
        return EncoderDecoder(config, rngs=rngs)

    def hidden(self, model: EncoderDecoder, batch: Batch, dropout_keys: Array | None) -> Float[Array, "B T D"]:
        """The decoder's hidden states."""
        return model(
            batch.tokens,
            batch.positions,
            batch.segments,
            source_tokens=batch.source_tokens,
            source_positions=batch.source_positions,
            source_segments=batch.source_segments,
            dropout_keys=dropout_keys,
        )

    def sample(self, batch: Batch, row: int, most: int) -> Sample:
        """The target side of a row, some of its tokens asked for, and the source that they are read from."""
        used = np.flatnonzero(batch.segments[row])
        places = spread(np.flatnonzero(batch.labels["next_weights"][row]), most)
        targets = batch.labels["next_targets"][row]
        source = batch.source_tokens[row][batch.source_segments[row] > 0]
        return Sample(targets[used], places, places, targets[places], source)


@dataclass(frozen=True)
class SpanCorruption(EncodesAndDecodes):
    """Spans of a text are hidden behind sentinels, and the decoder writes them: T5's pre-training.

        loss = mean over the target's tokens of -log p(token | source, target's tokens before it)

    Reference: Raffel et al., arXiv:1910.10683, section 3.1.4; data/spans.py. The vocabulary must have sentinels.
    """

    rate: float = 0.15
    """Share of the tokens that are hidden."""
    mean_span: float = 3.0
    """Mean length of a hidden span, in tokens."""
    z_loss: float = 0.0
    """Weight of the squared log of the softmax's normaliser (the authors' code: 1e-4)."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over the vocabulary (arXiv:1512.00567); `valid_loss` is the plain loss."""

    headline: ClassVar[tuple[str, ...]] = ("accuracy", "unigram_entropy", "context_gain")

    def __post_init__(self):
        super().__post_init__()
        self.packing()  # which checks its shares

    def packing(self) -> NoisySpans:
        return NoisySpans(self.rate, self.mean_span)

    def corrupt(self, tokenizer: Tokenizer, row_length: int, mode: Mode = "train") -> CorruptSpans:
        return CorruptSpans(self.packing(), tokenizer, row_length, mode)

    def longest(self, row_length: int) -> int:
        return max(row_length, self.packing().target_length(row_length))


@dataclass(frozen=True)
class SequenceToSequence(EncodesAndDecodes):
    """One text given another: translation, summaries, copying. The source's documents must be pairs (data/text_pairs.py).

        loss = mean over the target's tokens of -log p(token | source, target's tokens before it)

    Reference: Sutskever et al., arXiv:1409.3215; Vaswani et al., arXiv:1706.03762, with label_smoothing=0.1.
    """

    target_length: int | None = None
    """Places of the target side of a row; None: as many as the source side, `data.row_length`. What is longer is cut."""
    z_loss: float = 0.0
    """Weight of the squared log of the softmax's normaliser (arXiv:2204.02311: 1e-4)."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over the vocabulary (arXiv:1512.00567); `valid_loss` is the plain loss."""

    def __post_init__(self):
        super().__post_init__()
        self.packing()  # which checks its length

    def packing(self) -> TextPairs:
        return TextPairs(self.target_length)

    def corrupt(self, tokenizer: Tokenizer, row_length: int, mode: Mode = "train") -> ShowPairs:
        return ShowPairs(tokenizer, mode)

    def longest(self, row_length: int) -> int:
        return max(row_length, self.target_length or row_length)
