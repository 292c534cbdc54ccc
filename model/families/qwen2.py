"""Qwen 2 and 2.5: Llama's decoder with biases of queries, keys and values (arXiv:2407.10671, table 1; arXiv:2412.15115).

Epsilon, base and the sizes of the feed-forward are those of the published configurations.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from model.attention import MultiHead, Projection
from model.config import TransformerConfig
from model.families.rotary_decoders import (
    BUFFERS,
    COPIES,
    KEPT,
    SITES,
    TABLE,
    decoder,
    read_decoder,
    read_window,
    write_decoder,
    write_window,
)
from model.published import Architecture, Family, Fields
from model.rotary import Rotary

SIZES = {  # name: (layers, width, heads, key heads, feed-forward, vocabulary, tied)
    "0.5b": (24, 896, 14, 2, 4_864, 151_936, True),
    "1.5b": (28, 1_536, 12, 2, 8_960, 151_936, True),
    "7b": (28, 3_584, 28, 4, 18_944, 152_064, False),
    "72b": (80, 8_192, 64, 8, 29_568, 152_064, False),
}
BIASES: tuple[Projection, ...] = ("query", "key", "value")
DEFAULTS = {  # of the published class
    "vocab_size": 151_936,
    "hidden_size": 4_096,
    "intermediate_size": 22_016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32_768,
}


def config(size: str, *, vocab_size: int | None = None, **overrides: Any) -> TransformerConfig:
    """The published shape called `size`; `overrides` are any other fields of TransformerConfig.

    >>> config("0.5b").attention.bias
    ('query', 'key', 'value')
    """
    if size not in SIZES:
        raise ValueError(f"Qwen2 has no size {size!r}; use one of {', '.join(SIZES)}")
    layers, width, heads, kv_heads, inner, vocabulary, tied = SIZES[size]
    published = decoder(
        vocab_size=vocabulary if vocab_size is None else vocab_size,
        hidden_size=width,
        num_layers=layers,
        attention=MultiHead(heads, num_kv_heads=kv_heads, bias=BIASES, dropout_rate=0.0),
        intermediate_size=inner,
        positions=Rotary(1e6),
        epsilon=1e-6,
        tied=tied,
    )
    return dataclasses.replace(published, **overrides)


def read(fields: Fields, names: Collection[str]) -> Architecture:
    """The model that a published Qwen2's config.json describes."""
    fields.only(use_mrope=False)
    window = read_window(fields, fields.take("num_hidden_layers", 32))
    return read_decoder(fields, defaults=DEFAULTS, bias=BIASES, window=window)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of config.json that say a model of this shape."""
    config = architecture.config
    said = write_decoder(architecture, "qwen2", "Qwen2ForCausalLM")
    return said | write_window(config.attention.window, config.num_layers)


FAMILY = Family(
    model_type="qwen2",
    prefix="model.",
    read=read,
    write=write,
    table=TABLE,
    sites=SITES,
    copies=COPIES,
    buffers=BUFFERS,
    kept=KEPT,
)
