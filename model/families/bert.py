"""BERT: bidirectional encoders, post-norm, exact GELU, learned positions, two token types.

The sizes tiny to medium are Turc et al., arXiv:1908.08962, table 1; base and large are Devlin et al., arXiv:1810.04805,
section 3. All have heads of 64 and a feed-forward of four times the width.
"""

import dataclasses
from typing import Any

from model.attention import MultiHead
from model.config import TransformerConfig
from model.initializers import TruncatedNormal
from model.mlp import PlainMLP
from model.norms import LayerNorm
from model.output import Output
from model.positions import LearnedPositions

SIZES = {  # name: (layers, width, heads)
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}


def config(size: str, *, vocab_size: int = 30_522, max_length: int = 512, **overrides: Any) -> TransformerConfig:
    """The published shape called `size`; `overrides` are any other fields of TransformerConfig.

    >>> config("small", vocab_size=8_192, norm_placement="pre").hidden_size
    512
    """
    if size not in SIZES:
        raise ValueError(f"BERT has no size {size!r}; use one of {', '.join(SIZES)}")
    layers, width, heads = SIZES[size]
    published = TransformerConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_layers=layers,
        attention=MultiHead(num_heads=heads, dropout_rate=0.1),
        mlp=PlainMLP(intermediate_size=4 * width, activation="gelu"),
        positions=LearnedPositions(max_length=max_length),
        norm=LayerNorm(epsilon=1e-12),
        norm_placement="post",
        num_token_types=2,
        norm_embeddings=True,
        dropout_rate=0.1,
        initializer=TruncatedNormal(0.02),
        output=Output(transform=True, bias=True),
    )
    return dataclasses.replace(published, **overrides)
