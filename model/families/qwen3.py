"""Qwen 3: Llama's decoder with norms of queries and keys (Yang et al., arXiv:2505.09388, table 1).

Epsilon, base and the sizes of the feed-forward are those of the published configurations.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from model.attention import MultiHead
from model.config import TransformerConfig
from model.families import qwen2
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
    "0.6b": (28, 1_024, 16, 8, 3_072, 151_936, True),
    "1.7b": (28, 2_048, 16, 8, 6_144, 151_936, True),
    "4b": (36, 2_560, 32, 8, 9_728, 151_936, True),
    "8b": (36, 4_096, 32, 8, 12_288, 151_936, False),
    "14b": (40, 5_120, 40, 8, 17_408, 151_936, False),
    "32b": (64, 5_120, 64, 8, 25_600, 151_936, False),
}
HEAD_SIZE = 128  # whatever the width
DEFAULTS = qwen2.DEFAULTS | {"head_dim": HEAD_SIZE}  # of the published class


def config(size: str, *, vocab_size: int | None = None, **overrides: Any) -> TransformerConfig:
    """The published shape called `size`; `overrides` are any other fields of TransformerConfig.

    >>> config("0.6b").attention.norm_query_key
    True
    """
    if size not in SIZES:
        raise ValueError(f"Qwen3 has no size {size!r}; use one of {', '.join(SIZES)}")
    layers, width, heads, kv_heads, inner, vocabulary, tied = SIZES[size]
    published = decoder(
        vocab_size=vocabulary if vocab_size is None else vocab_size,
        hidden_size=width,
        num_layers=layers,
        attention=MultiHead(
            heads, num_kv_heads=kv_heads, head_size=HEAD_SIZE, bias=False, dropout_rate=0.0, norm_query_key=True
        ),
        intermediate_size=inner,
        positions=Rotary(1e6),
        epsilon=1e-6,
        tied=tied,
    )
    return dataclasses.replace(published, **overrides)


def read(fields: Fields, names: Collection[str]) -> Architecture:
    """The model that a published Qwen3's config.json describes."""
    window = read_window(fields, fields.take("num_hidden_layers", 32))
    bias = fields.take("attention_bias", False)
    return read_decoder(fields, defaults=DEFAULTS, bias=bias, norm_query_key=True, window=window)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of config.json that say a model of this shape."""
    config = architecture.config
    said = write_decoder(architecture, "qwen3", "Qwen3ForCausalLM") | {"attention_bias": config.attention.bias is True}
    return said | write_window(config.attention.window, config.num_layers)


FAMILY = Family(
    model_type="qwen3",
    prefix="model.",
    read=read,
    write=write,
    table=TABLE,
    sites=SITES,
    copies=COPIES,
    buffers=BUFFERS,
    kept=KEPT,
)
