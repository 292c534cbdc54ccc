"""T5: encoder-decoders with relative buckets, RMS norm before, no biases, scores that are not scaled.

Raffel et al., arXiv:1910.10683: sizes in section 3.7 and the published configurations. "v1.1" (Shazeer, arXiv:2002.05202;
Flan-T5, arXiv:2210.11416, has the same shapes) gates the feed-forward by tanh GELU and unties the output; version 1.0 has
ReLU and ties it, with hidden states scaled by D^-1/2 before.
"""

from collections.abc import Collection
from typing import Any

from model.attention import MultiHead
from model.config import TransformerConfig
from model.encoder_decoder import EncoderDecoder
from model.initializers import Scaled
from model.mlp import GatedMLP, PlainMLP
from model.norms import RMSNorm
from model.output import Output
from model.positions import RelativeBuckets
from model.published import (
    ACTIVATION_WORDS,
    ACTIVATIONS,
    Architecture,
    CannotExpress,
    Family,
    Fields,
    Row,
    Site,
    attention,
    class_name,
    need,
    norm,
    table,
)

SIZES = {  # name: (layers of each side, width, heads, head size, feed-forward, gated)
    "tiny": (2, 128, 2, 64, 512, False),  # not published: for experiments on a laptop
    "small": (6, 512, 8, 64, 2_048, False),
    "base": (12, 768, 12, 64, 3_072, False),
    "large": (24, 1_024, 16, 64, 4_096, False),
    "3b": (24, 1_024, 32, 128, 16_384, False),
    "11b": (24, 1_024, 128, 128, 65_536, False),
    "v1.1-small": (8, 512, 6, 64, 1_024, True),
    "v1.1-base": (12, 768, 12, 64, 2_048, True),
    "v1.1-large": (24, 1_024, 16, 64, 2_816, True),
    "v1.1-xl": (24, 2_048, 32, 64, 5_120, True),
    "v1.1-xxl": (24, 4_096, 64, 64, 10_240, True),
}


def config(size: str, *, vocab_size: int = 32_128, **overrides: Any) -> TransformerConfig:
    """The published shape called `size`; `overrides` are any other fields of TransformerConfig.

    What follows from a width or a size of heads follows the one that is given.

    >>> config("small").output.scale == 512**-0.5, config("v1.1-small").output.tied
    (True, False)
    """
    if size not in SIZES:
        raise ValueError(f"T5 has no size {size!r}; use one of {', '.join(SIZES)}")
    layers, width, heads, head_size, inner, gated = SIZES[size]
    width = overrides.get("hidden_size", width)
    if gated:
        mlp, output = GatedMLP(inner, activation="gelu_tanh", dropout_rate=0.1), Output(tied=False)
    else:
        mlp, output = PlainMLP(inner, activation="relu", bias=False, dropout_rate=0.1), Output(scale=width**-0.5)
    attention = overrides.get(
        "attention", MultiHead(heads, head_size=head_size, bias=False, dropout_rate=0.1, scale=1.0)
    )
    published: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "num_layers": layers,
        "attention": attention,
        "mlp": mlp,
        "positions": RelativeBuckets(),
        "norm": RMSNorm(1e-6),
        "norm_placement": "pre",
        "norm_embeddings": False,
        "dropout_rate": 0.1,
        "initializer": Scaled(attention.head_size_in(width)),
        "output": output,
    }
    return TransformerConfig(**published | overrides)


def read(fields: Fields, names: Collection[str]) -> Architecture:
    """The model that a published T5's config.json and the names in its file describe.

    Whether hidden states are scaled before the output: `tie_word_embeddings` said so, until transformers 5, which writes it as
    true for every T5 and has `scale_decoder_outputs` for it; whether the output is tied, only the file itself tells then.
    """
    fields.only(is_encoder_decoder=True)
    fields.skip("dense_act_fn", "is_gated_act", "n_positions", "initializer_factor", "decoder_start_token_id")
    fields.skip("output_past", "tokenizer_class", "classifier_dropout")
    tied = fields.take("tie_word_embeddings", True)
    scaled = fields.take("scale_decoder_outputs", tied)
    own_output = "lm_head.weight" in names and not (tied and scaled)
    width, head_size = fields.take("d_model", 512), fields.take("d_kv", 64)
    heads, layers = fields.take("num_heads", 8), fields.take("num_layers", 6)
    dropout = fields.take("dropout_rate", 0.1)
    word = fields.take("feed_forward_proj", "relu")
    gated, kind = word.startswith("gated-"), word.removeprefix("gated-")
    kind = "gelu_new" if word == "gated-gelu" else kind  # as the published class has it
    if kind not in ACTIVATIONS:
        fields.refuse("feed_forward_proj", f"use relu, gated-gelu or another of {', '.join(ACTIVATIONS)}")
        kind = "relu"
    inner, activation = fields.take("d_ff", 2_048), ACTIVATIONS[kind]
    decoder_layers = fields.take("num_decoder_layers", layers)
    config = TransformerConfig(
        vocab_size=fields.take("vocab_size", 32_128),
        hidden_size=width,
        num_layers=layers,
        num_decoder_layers=None if decoder_layers == layers else decoder_layers,
        attention=MultiHead(
            heads,
            head_size=None if head_size * heads == width else head_size,
            bias=False,
            dropout_rate=dropout,
            scale=1.0,
        ),
        mlp=GatedMLP(inner, activation, dropout_rate=dropout)
        if gated
        else PlainMLP(inner, activation, bias=False, dropout_rate=dropout),
        positions=RelativeBuckets(
            fields.take("relative_attention_num_buckets", 32), fields.take("relative_attention_max_distance", 128)
        ),
        norm=RMSNorm(fields.take("layer_norm_epsilon", 1e-6)),
        norm_placement="pre",
        norm_embeddings=False,
        dropout_rate=dropout,
        initializer=Scaled(head_size),
        output=Output(tied=not own_output, scale=width**-0.5 if scaled else 1.0),
    )
    return Architecture(EncoderDecoder, config)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of config.json that say a model of this shape."""
    config = architecture.config
    mlp = need(config.mlp, PlainMLP | GatedMLP, "mlp", "t5")
    positions = need(config.positions, RelativeBuckets, "positions", "t5")
    word = ACTIVATION_WORDS[mlp.activation]
    if isinstance(mlp, GatedMLP):
        word = "gated-gelu" if word == "gelu_new" else f"gated-{word}"
    elif word == "gelu_new":
        raise CannotExpress("t5", "mlp.activation='gelu_tanh' without a gate", field="mlp")
    scaled = config.output.scale != 1.0
    return {
        "model_type": "t5",
        "architectures": [class_name(architecture, "t5", {EncoderDecoder: "T5ForConditionalGeneration"})],
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        "d_kv": config.attention.head_size_in(config.hidden_size),
        "d_ff": mlp.intermediate_size,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.num_decoder_layers or config.num_layers,
        "num_heads": config.attention.num_heads,
        "relative_attention_num_buckets": positions.num_buckets,
        "relative_attention_max_distance": positions.max_distance,
        "dropout_rate": config.dropout_rate,
        "layer_norm_epsilon": config.norm.epsilon,
        "feed_forward_proj": word,
        "is_encoder_decoder": True,
        "scale_decoder_outputs": scaled,
        "tie_word_embeddings": config.output.tied,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


def stack_rows(ours: str, mlp: int) -> list[Row]:
    """Rows of the encoder or of the decoder, whose feed-forward is the part of that number in a block."""
    block, up = ours + ".block.{}.layer.", f"{ours}.layers.mlp.up.kernel"
    inner = f"{block}{mlp}.DenseReluDense."
    gate = f"{ours}.layers.mlp.gate.kernel"
    buckets = f"{ours}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return [
        *norm(f"{ours}.layers.attention_norm", block + "0.layer_norm"),
        *attention(f"{ours}.layers.attention", block + "0.SelfAttention.", "q", "k", "v", "o"),
        Row(f"{ours}.position_bias.embedding", buckets, "R N -> R N"),  # one table for all layers, kept in the first
        *norm(f"{ours}.layers.mlp_norm", f"{block}{mlp}.layer_norm"),
        Row(up, inner + "wi.weight", "F D -> D F"),
        Row(up, inner + "wi_1.weight", "F D -> D F", beside=gate),
        Row(gate, inner + "wi_0.weight", "F D -> D F"),
        Row(f"{ours}.layers.mlp.down.kernel", inner + "wo.weight", "D F -> F D"),
        *norm(f"{ours}.final_norm", f"{ours}.final_layer_norm"),
    ]


def stack_sites(ours: str, mlp: int) -> list[Site]:
    """Sites of the encoder or of the decoder."""
    block = ours + ".block.{}.layer."
    return [
        Site(f"{ours}.embeddings.output", ours + ".block.0", of="input"),
        Site(f"{ours}.layers.{{}}.attention_norm.output", block + "0.layer_norm"),
        Site(f"{ours}.layers.{{}}.attention.mixed", block + "0.SelfAttention.o", of="input"),
        Site(f"{ours}.layers.{{}}.attention.output", block + "0.SelfAttention"),
        Site(f"{ours}.layers.{{}}.cross_attention_norm.output", block + "1.layer_norm"),
        Site(f"{ours}.layers.{{}}.cross_attention.mixed", block + "1.EncDecAttention.o", of="input"),
        Site(f"{ours}.layers.{{}}.cross_attention.output", block + "1.EncDecAttention"),
        Site(f"{ours}.layers.{{}}.mlp_norm.output", f"{block}{mlp}.layer_norm"),
        Site(f"{ours}.layers.{{}}.mlp.inner", f"{block}{mlp}.DenseReluDense.wo", of="input"),
        Site(f"{ours}.layers.{{}}.mlp.output", f"{block}{mlp}.DenseReluDense"),
        Site(f"{ours}.layers.{{}}.residual", ours + ".block.{}"),
        Site(f"{ours}.final_norm.output", f"{ours}.final_layer_norm"),
    ]


CROSS = "decoder.layers.cross_attention"

FAMILY = Family(
    model_type="t5",
    prefix="",
    read=read,
    write=write,
    table=[
        *table("embeddings.tokens", "shared"),
        *stack_rows("encoder", 1),
        *stack_rows("decoder", 2),
        *norm(f"{CROSS}_norm", "decoder.block.{}.layer.1.layer_norm"),
        *attention(CROSS, "decoder.block.{}.layer.1.EncDecAttention.", "q", "k", "v", "o"),
        *table("token_head.table", "lm_head"),
    ],
    sites=[*stack_sites("encoder", 1), *stack_sites("decoder", 2), Site("token_head.output", "lm_head")],
    copies=dict.fromkeys(
        ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), "shared.weight"
    ),
    kept=["n_positions"],
    # Stored in the oldest files of version 1.0, and used nowhere.
    buffers=["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"],
)
