"""Mistral: Llama's decoder with a sliding window (Jiang et al., arXiv:2310.06825).

The size is that of the paper's table 1, with the base and window of the published v0.1.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from model.attention import MultiHead, Window
from model.config import TransformerConfig
from model.families.rotary_decoders import BUFFERS, COPIES, KEPT, SITES, TABLE, decoder, read_decoder, write_decoder
from model.published import Architecture, Family, Fields
from model.rotary import Rotary

DEFAULTS = {  # of the published class
    "vocab_size": 32_000,
    "hidden_size": 4_096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
}


def config(size: str, *, vocab_size: int = 32_000, **overrides: Any) -> TransformerConfig:
    """The published shape called `size`; `overrides` are any other fields of TransformerConfig.

    >>> config("7b").attention.window
    Window(size=4096, pattern=('local',))
    """
    if size != "7b":
        raise ValueError(f"Mistral has no size {size!r}; use 7b")
    published = decoder(
        vocab_size=vocab_size,
        hidden_size=4_096,
        num_layers=32,
        attention=MultiHead(32, num_kv_heads=8, bias=False, dropout_rate=0.0, window=Window(4_096)),
        intermediate_size=14_336,
        positions=Rotary(1e4),
        epsilon=1e-5,
        tied=False,
    )
    return dataclasses.replace(published, **overrides)


def read(fields: Fields, names: Collection[str]) -> Architecture:
    """The model that a published Mistral's config.json describes."""
    # Null means that all is seen; only where the field is absent does the class's own default hold.
    size = fields.take("sliding_window", None if "sliding_window" in fields.values else 4_096, int)
    return read_decoder(fields, defaults=DEFAULTS, window=None if size is None else Window(size))


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of config.json that say a model of this shape."""
    window = architecture.config.attention.window
    said = write_decoder(architecture, "mistral", "MistralForCausalLM")
    return said | {"sliding_window": None if window is None else window.size}


FAMILY = Family(
    model_type="mistral",
    prefix="model.",
    read=read,
    write=write,
    table=TABLE,
    sites=SITES,
    copies=COPIES,
    buffers=BUFFERS,
    kept=KEPT,
)
