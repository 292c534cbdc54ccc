"""The first transformer: encoder and decoder, post-norm, sinusoids, ReLU (Vaswani et al., arXiv:1706.03762).

Sizes base and big as in the paper's table 3. Published weights of this architecture are those of Marian (Junczys-Dowmunt et al.
2018, the OPUS-MT models), whose choices are taken where the paper is silent: biases in all projections, epsilon 1e-5.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np

from model.attention import MultiHead
from model.config import TransformerConfig
from model.encoder_decoder import EncoderDecoder
from model.initializers import Xavier
from model.mlp import PlainMLP
from model.norms import LayerNorm
from model.output import Output
from model.positions import SinusoidalPositions
from model.published import (
    ACTIVATION_WORDS,
    ACTIVATIONS,
    Architecture,
    Family,
    Fields,
    Row,
    Site,
    attention,
    class_name,
    dense,
    need,
    norm,
    table,
)

SIZES = {  # name: (layers of each side, width, heads, feed-forward, dropout)
    "tiny": (2, 128, 2, 512, 0.1),  # not published: for experiments on a laptop
    "base": (6, 512, 8, 2_048, 0.1),
    "big": (6, 1_024, 16, 4_096, 0.3),
}
MAX_LENGTH = 512  # positions that are written where nobody says how many; sinusoids have no end


def config(size: str, *, vocab_size: int = 37_000, **overrides: Any) -> TransformerConfig:
    """The published shape called `size`, with the paper's shared vocabulary of English and German.

    >>> config("big").mlp.intermediate_size
    4096
    """
    if size not in SIZES:
        raise ValueError(f"the first transformer has no size {size!r}; use one of {', '.join(SIZES)}")
    layers, width, heads, inner, dropout = SIZES[size]
    published = TransformerConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_layers=layers,
        attention=MultiHead(heads, dropout_rate=0.0),
        mlp=PlainMLP(inner, activation="relu"),
        positions=SinusoidalPositions(),
        norm=LayerNorm(epsilon=1e-5),
        norm_placement="post",
        norm_embeddings=False,
        scale_embeddings=True,
        dropout_rate=dropout,
        initializer=Xavier(),
    )
    return dataclasses.replace(published, **overrides)


def read(fields: Fields, names: Collection[str]) -> Architecture:
    """The model that a published Marian's config.json and the names in its file describe."""
    fields.only(
        is_encoder_decoder=True,
        normalize_before=False,
        normalize_embedding=False,
        add_final_layer_norm=False,
        static_position_embeddings=True,
        add_bias_logits=False,
        extra_pos_embeddings=0,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
        layernorm_embedding=False,
    )
    fields.skip("num_hidden_layers", "init_std", "encoder_layerdrop", "decoder_layerdrop", "max_position_embeddings")
    layers, heads = fields.take("encoder_layers", 12), fields.take("encoder_attention_heads", 16)
    inner, vocabulary = fields.take("encoder_ffn_dim", 4_096), fields.take("vocab_size", 58_101)
    decoder_layers = fields.take("decoder_layers", 12)
    fields.only(decoder_vocab_size=vocabulary)
    if fields.take("decoder_attention_heads", 16) != heads:
        fields.refuse("decoder_attention_heads", f"it must be encoder_attention_heads={heads}")
    if fields.take("decoder_ffn_dim", 4_096) != inner:
        fields.refuse("decoder_ffn_dim", f"it must be encoder_ffn_dim={inner}")
    config = TransformerConfig(
        vocab_size=vocabulary,
        hidden_size=fields.take("d_model", 1_024),
        num_layers=layers,
        num_decoder_layers=None if decoder_layers == layers else decoder_layers,
        attention=MultiHead(heads, dropout_rate=fields.take("attention_dropout", 0.0)),
        mlp=PlainMLP(
            inner,
            activation=fields.choose("activation_function", "gelu", ACTIVATIONS),
            dropout_rate=fields.take("activation_dropout", 0.0),
        ),
        positions=SinusoidalPositions(),
        norm=LayerNorm(epsilon=1e-5),
        norm_placement="post",
        norm_embeddings=False,
        scale_embeddings=fields.take("scale_embedding", False),
        dropout_rate=fields.take("dropout", 0.1),
        initializer=Xavier(),
        output=Output(bias="final_logits_bias" in names),
    )
    return Architecture(EncoderDecoder, config)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of config.json that say a model of this shape."""
    config = architecture.config
    mlp = need(config.mlp, PlainMLP, "mlp", "marian")
    both = {
        "layers": config.num_layers,
        "attention_heads": config.attention.num_heads,
        "ffn_dim": mlp.intermediate_size,
    }
    return {
        "model_type": "marian",
        "architectures": [class_name(architecture, "marian", {EncoderDecoder: "MarianMTModel"})],
        "vocab_size": config.vocab_size,
        "decoder_vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in both.items()},
        "decoder_layers": config.num_decoder_layers or config.num_layers,
        "activation_function": ACTIVATION_WORDS[mlp.activation],
        "dropout": config.dropout_rate,
        "attention_dropout": config.attention.dropout_rate,
        "activation_dropout": mlp.dropout_rate,
        "scale_embedding": config.scale_embeddings,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
        "max_position_embeddings": MAX_LENGTH,
        "pad_token_id": config.vocab_size - 1,
        "decoder_start_token_id": config.vocab_size - 1,
        "eos_token_id": 0,
        "forced_eos_token_id": 0,
    }


def complete(architecture: Architecture) -> Architecture:
    """With the bias of each token's score, which the published class always stores."""
    config = architecture.config
    return dataclasses.replace(
        architecture, config=dataclasses.replace(config, output=dataclasses.replace(config.output, bias=True))
    )


def sinusoid_table(shape: tuple[int, ...]) -> np.ndarray:
    """The table that some files store: sines, then cosines, of each position.

    >>> sinusoid_table((2, 2)).round(3)
    array([[0.   , 1.   ],
           [0.841, 0.54 ]])
    """
    rows, width = shape
    angles = np.arange(rows)[:, None] * 10_000.0 ** (-np.arange(width // 2)[None] * 2 / width)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def stack_rows(ours: str) -> list[Row]:
    """Rows of the encoder or of the decoder."""
    layer = f"model.{ours}.layers.{{}}."
    projections = ("q_proj", "k_proj", "v_proj", "out_proj")
    return [
        *attention(f"{ours}.layers.attention", layer + "self_attn.", *projections),
        *norm(f"{ours}.layers.attention_norm", layer + "self_attn_layer_norm"),
        *attention(f"{ours}.layers.cross_attention", layer + "encoder_attn.", *projections),
        *norm(f"{ours}.layers.cross_attention_norm", layer + "encoder_attn_layer_norm"),
        *dense(f"{ours}.layers.mlp.up", layer + "fc1"),
        *dense(f"{ours}.layers.mlp.down", layer + "fc2", "D F -> F D", "D -> D"),
        *norm(f"{ours}.layers.mlp_norm", layer + "final_layer_norm"),
    ]


def stack_sites(ours: str) -> list[Site]:
    """Sites of the encoder or of the decoder."""
    layer = f"model.{ours}.layers.{{}}."
    return [
        Site(f"{ours}.embeddings.output", layer.format(0).rstrip("."), of="input"),
        Site(f"{ours}.layers.{{}}.attention.mixed", layer + "self_attn.out_proj", of="input"),
        Site(f"{ours}.layers.{{}}.attention.output", layer + "self_attn"),
        Site(f"{ours}.layers.{{}}.attention_norm.output", layer + "self_attn_layer_norm"),
        Site(f"{ours}.layers.{{}}.cross_attention.mixed", layer + "encoder_attn.out_proj", of="input"),
        Site(f"{ours}.layers.{{}}.cross_attention.output", layer + "encoder_attn"),
        Site(f"{ours}.layers.{{}}.cross_attention_norm.output", layer + "encoder_attn_layer_norm"),
        Site(f"{ours}.layers.{{}}.mlp.inner", layer + "fc2", of="input"),
        Site(f"{ours}.layers.{{}}.mlp.output", layer + "fc2"),
        Site(f"{ours}.layers.{{}}.mlp_norm.output", layer + "final_layer_norm"),
        Site(f"{ours}.layers.{{}}.residual", layer.rstrip(".")),
    ]


FAMILY = Family(
    model_type="marian",
    prefix="model.",
    read=read,
    write=write,
    table=[
        *table("embeddings.tokens", "model.shared"),
        *stack_rows("encoder"),
        *stack_rows("decoder"),
        Row("token_head.bias", "final_logits_bias", "1 V -> V"),
    ],
    sites=[*stack_sites("encoder"), *stack_sites("decoder"), Site("token_head.output", "", of="logits")],
    copies=dict.fromkeys(
        ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"),
        "model.shared.weight",
    ),
    computed=dict.fromkeys(
        ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"), sinusoid_table
    ),
    complete=complete,
    kept=["max_position_embeddings"],
)
