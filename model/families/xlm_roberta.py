"""XLM-R: RoBERTa over 250,002 pieces of a hundred languages (Conneau et al., arXiv:1911.02116, table 5)."""

from typing import Any

from model.config import TransformerConfig
from model.families import roberta


def config(size: str, *, vocab_size: int = 250_002, max_length: int = 512, **overrides: Any) -> TransformerConfig:
    """The published shape called `size`: base or large.

    >>> config("large").num_layers
    24
    """
    return roberta.config(size, vocab_size=vocab_size, max_length=max_length, **overrides)


FAMILY = roberta.family("xlm-roberta", "XLMRobertaForMaskedLM", "XLMRobertaModel")
