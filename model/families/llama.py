"""Llama: decoders with RMS norm, rotary positions, gated SiLU and no biases.

Sizes: Llama 2 from arXiv:2307.09288 and its published configurations; Llama 3 and 3.1 from arXiv:2407.21783, table 3; Llama
3.2 from its published configurations. From 3.1 on positions are extended by llama3 scaling.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from model.attention import MultiHead
from model.config import TransformerConfig
from model.families.rotary_decoders import BUFFERS, COPIES, KEPT, SITES, TABLE, decoder, read_decoder, write_decoder
from model.mlp import GatedMLP
from model.published import Architecture, Family, Fields, need
from model.rotary import Llama3Scaling, Rotary

SECOND, THIRD = Rotary(1e4), Rotary(5e5)
EIGHTFOLD, THIRTYTWOFOLD = Rotary(5e5, scaling=Llama3Scaling(8.0)), Rotary(5e5, scaling=Llama3Scaling(32.0))
SIZES = {  # name: (layers, width, heads, key heads, feed-forward, vocabulary, positions, tied)
    "tiny": (2, 128, 4, 2, 352, 32_000, SECOND, True),  # not published: for experiments on a laptop
    "2-7b": (32, 4_096, 32, 32, 11_008, 32_000, SECOND, False),
    "2-13b": (40, 5_120, 40, 40, 13_824, 32_000, SECOND, False),
    "2-70b": (80, 8_192, 64, 8, 28_672, 32_000, SECOND, False),
    "3-8b": (32, 4_096, 32, 8, 14_336, 128_256, THIRD, False),
    "3-70b": (80, 8_192, 64, 8, 28_672, 128_256, THIRD, False),
    "3.1-8b": (32, 4_096, 32, 8, 14_336, 128_256, EIGHTFOLD, False),
    "3.1-70b": (80, 8_192, 64, 8, 28_672, 128_256, EIGHTFOLD, False),
    "3.2-1b": (16, 2_048, 32, 8, 8_192, 128_256, THIRTYTWOFOLD, True),
    "3.2-3b": (28, 3_072, 24, 8, 8_192, 128_256, THIRTYTWOFOLD, True),
}
DEFAULTS = {  # of the published class
    "vocab_size": 32_000,
    "hidden_size": 4_096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2_048,
}


def config(size: str, *, vocab_size: int | None = None, **overrides: Any) -> TransformerConfig:
    """The published shape called `size`; `overrides` are any other fields of TransformerConfig.

    >>> config("3-8b").attention.num_kv_heads
    8
    """
    if size not in SIZES:
        raise ValueError(f"Llama has no size {size!r}; use one of {', '.join(SIZES)}")
    layers, width, heads, kv_heads, inner, vocabulary, positions, tied = SIZES[size]
    published = decoder(
        vocab_size=vocabulary if vocab_size is None else vocab_size,
        hidden_size=width,
        num_layers=layers,
        attention=MultiHead(heads, num_kv_heads=kv_heads, bias=False, dropout_rate=0.0),
        intermediate_size=inner,
        positions=positions,
        epsilon=1e-5,
        tied=tied,
    )
    return dataclasses.replace(published, **overrides)


def read(fields: Fields, names: Collection[str]) -> Architecture:
    """The model that a published Llama's config.json describes."""
    fields.skip("pretraining_tp")  # how products are split; not what they are
    return read_decoder(
        fields,
        defaults=DEFAULTS,
        bias=fields.take("attention_bias", False),
        mlp_bias=fields.take("mlp_bias", False),
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of config.json that say a model of this shape."""
    mlp = need(architecture.config.mlp, GatedMLP, "mlp", "llama")
    said = write_decoder(architecture, "llama", "LlamaForCausalLM")
    return said | {"attention_bias": architecture.config.attention.bias is True, "mlp_bias": mlp.bias}


FAMILY = Family(
    model_type="llama",
    prefix="model.",
    read=read,
    write=write,
    table=TABLE,
    sites=SITES,
    copies=COPIES,
    buffers=BUFFERS,
    kept=KEPT,
)
