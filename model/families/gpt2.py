"""GPT-2: decoders with learned positions, pre-norm, tanh GELU, tied output (Radford et al. 2019).

The sizes are table 2 of the paper, named as published; "tiny" is not theirs but Turc et al.'s for BERT (arXiv:1908.08962).
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from model.attention import MultiHead
from model.config import TransformerConfig
from model.decoder import LanguageModel
from model.initializers import Normal
from model.mlp import PlainMLP
from model.norms import LayerNorm
from model.output import Output
from model.positions import LearnedPositions
from model.published import (
    ACTIVATION_WORDS,
    ACTIVATIONS,
    Architecture,
    Family,
    Fields,
    Row,
    Site,
    class_name,
    dense,
    need,
    norm,
    table,
)

SIZES = {  # name: (layers, width, heads)
    "tiny": (2, 128, 2),
    "small": (12, 768, 12),
    "medium": (24, 1_024, 16),
    "large": (36, 1_280, 20),
    "xl": (48, 1_600, 25),
}


def config(size: str, *, vocab_size: int = 50_257, max_length: int = 1_024, **overrides: Any) -> TransformerConfig:
    """The published shape called `size`; `overrides` are any other fields of TransformerConfig.

    >>> config("small").num_layers
    12
    """
    if size not in SIZES:
        raise ValueError(f"GPT-2 has no size {size!r}; use one of {', '.join(SIZES)}")
    layers, width, heads = SIZES[size]
    published = TransformerConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_layers=layers,
        attention=MultiHead(num_heads=heads, dropout_rate=0.1),
        mlp=PlainMLP(4 * width, activation="gelu_tanh"),
        positions=LearnedPositions(max_length),
        norm=LayerNorm(epsilon=1e-5),
        norm_placement="pre",
        norm_embeddings=False,
        dropout_rate=0.1,
        initializer=Normal(0.02, scale_output=True),
    )
    return dataclasses.replace(published, **overrides)


def read(fields: Fields, names: Collection[str]) -> Architecture:
    """The model that a published GPT-2's config.json describes."""
    fields.only(scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False)
    fields.skip("n_ctx", "reorder_and_upcast_attn", "summary_activation", "summary_first_dropout")
    fields.skip("summary_proj_to_labels", "summary_type", "summary_use_proj")
    width = fields.take("n_embd", 768)
    config = TransformerConfig(
        vocab_size=fields.take("vocab_size", 50_257),
        hidden_size=width,
        num_layers=fields.take("n_layer", 12),
        attention=MultiHead(fields.take("n_head", 12), dropout_rate=fields.take("attn_pdrop", 0.1)),
        mlp=PlainMLP(
            fields.take("n_inner", 4 * width), activation=fields.choose("activation_function", "gelu_new", ACTIVATIONS)
        ),
        positions=LearnedPositions(fields.take("n_positions", 1_024)),
        norm=LayerNorm(epsilon=fields.take("layer_norm_epsilon", 1e-5)),
        norm_placement="pre",
        norm_embeddings=False,
        dropout_rate=fields.take("resid_pdrop", 0.1),
        initializer=Normal(fields.take("initializer_range", 0.02), scale_output=True),
        output=Output(tied=fields.take("tie_word_embeddings", True)),
    )
    fields.skip("embd_pdrop")
    return Architecture(LanguageModel, config)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of config.json that say a model of this shape."""
    config = architecture.config
    mlp = need(config.mlp, PlainMLP, "mlp", "gpt2")
    return {
        "model_type": "gpt2",
        "architectures": [class_name(architecture, "gpt2", {LanguageModel: "GPT2LMHeadModel"})],
        "vocab_size": config.vocab_size,
        "n_embd": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": config.attention.num_heads,
        "n_inner": mlp.intermediate_size,
        "n_positions": need(config.positions, LearnedPositions, "positions", "gpt2").max_length,
        "activation_function": ACTIVATION_WORDS[mlp.activation],
        "attn_pdrop": config.attention.dropout_rate,
        "embd_pdrop": config.dropout_rate,
        "resid_pdrop": config.dropout_rate,
        "layer_norm_epsilon": config.norm.epsilon,
        "tie_word_embeddings": config.output.tied,
    }


def complete(architecture: Architecture) -> Architecture:
    """With the biases that the published class always has (nanoGPT's smallest models have none)."""
    config = architecture.config
    mlp, layer_norm = need(config.mlp, PlainMLP, "mlp", "gpt2"), need(config.norm, LayerNorm, "norm", "gpt2")
    biased = {
        "attention": dataclasses.replace(config.attention, bias=True),
        "mlp": dataclasses.replace(mlp, bias=True),
        "norm": dataclasses.replace(layer_norm, bias=True),
    }
    return dataclasses.replace(architecture, config=dataclasses.replace(config, **biased))


def fused(ours: str, theirs: str) -> list[Row]:
    """Rows of queries, keys and values that lie side by side in one tensor, stored (in, out)."""
    return [
        row
        for part, name in enumerate(("query", "key", "value"))
        for row in (
            Row(f"{ours}.{name}.kernel", f"{theirs}.weight", "D (P N H) -> D N H", part),
            Row(f"{ours}.{name}.bias", f"{theirs}.bias", "(P N H) -> N H", part),
        )
    ]


FAMILY = Family(
    model_type="gpt2",
    prefix="transformer.",
    read=read,
    write=write,
    table=[
        *table("embeddings.tokens", "transformer.wte"),
        *table("embeddings.positions", "transformer.wpe"),
        *norm("layers.attention_norm", "transformer.h.{}.ln_1"),
        *fused("layers.attention", "transformer.h.{}.attn.c_attn"),
        *dense("layers.attention.out", "transformer.h.{}.attn.c_proj", "(N H) D -> N H D", "D -> D"),
        *norm("layers.mlp_norm", "transformer.h.{}.ln_2"),
        *dense("layers.mlp.up", "transformer.h.{}.mlp.c_fc", "D F -> D F"),
        *dense("layers.mlp.down", "transformer.h.{}.mlp.c_proj", "F D -> F D", "D -> D"),
        *norm("final_norm", "transformer.ln_f"),
        *table("token_head.table", "lm_head"),
    ],
    sites=[
        Site("embeddings.output", "transformer.drop"),
        Site("layers.{}.attention_norm.output", "transformer.h.{}.ln_1"),
        Site("layers.{}.attention.mixed", "transformer.h.{}.attn.c_proj", of="input"),
        Site("layers.{}.attention.output", "transformer.h.{}.attn"),
        Site("layers.{}.mlp_norm.output", "transformer.h.{}.ln_2"),
        Site("layers.{}.mlp.inner", "transformer.h.{}.mlp.act"),
        Site("layers.{}.mlp.output", "transformer.h.{}.mlp"),
        Site("layers.{}.residual", "transformer.h.{}"),
        Site("final_norm.output", "transformer.ln_f"),
        Site("token_head.output", "lm_head"),
    ],
    complete=complete,
    sizes=lambda config: {"P": 3},
    copies={"lm_head.weight": "transformer.wte.weight"},
    buffers=["transformer.h.*.attn.bias", "transformer.h.*.attn.masked_bias"],
)
