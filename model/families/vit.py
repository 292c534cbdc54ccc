"""ViT: an encoder of image patches, pre-norm, with a class token (Dosovitskiy et al., arXiv:2010.11929, table 1)."""

import dataclasses
from collections.abc import Collection
from typing import Any

from model.attention import MultiHead
from model.config import TransformerConfig
from model.initializers import TruncatedNormal
from model.mlp import PlainMLP
from model.norms import LayerNorm
from model.patches import Patches
from model.positions import LearnedPositions
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
)
from model.vision import VisionTransformer

SIZES = {  # name: (layers, width, heads)
    "base": (12, 768, 12),
    "large": (24, 1_024, 16),
    "huge": (32, 1_280, 16),
}


def config(size: str, *, patches: Patches = Patches(), **overrides: Any) -> TransformerConfig:
    """The published shape called `size`; `patches` are 16 x 16 of 224 x 224 unless said otherwise.

    >>> config("base").positions.max_length
    197
    """
    if size not in SIZES:
        raise ValueError(f"ViT has no size {size!r}; use one of {', '.join(SIZES)}")
    layers, width, heads = SIZES[size]
    published = TransformerConfig(
        vocab_size=0,
        hidden_size=width,
        num_layers=layers,
        attention=MultiHead(heads, dropout_rate=0.0),
        mlp=PlainMLP(4 * width, activation="gelu"),
        positions=LearnedPositions(patches.count + 1),
        norm=LayerNorm(epsilon=1e-6),
        norm_placement="pre",
        norm_embeddings=False,
        patches=patches,
        dropout_rate=0.1,
        initializer=TruncatedNormal(0.02),
    )
    return dataclasses.replace(published, **overrides)


def read(fields: Fields, names: Collection[str]) -> Architecture:
    """The model that a published ViT's config.json and the names in its file describe."""
    fields.skip("encoder_stride")  # of masked image modelling
    fields.only(pooler_act="tanh")
    width = fields.take("hidden_size", 768)
    fields.only(pooler_output_size=width)
    patches = Patches(
        fields.take("image_size", 224, int), fields.take("patch_size", 16, int), fields.take("num_channels", 3)
    )
    biased = fields.take("qkv_bias", True)
    config = TransformerConfig(
        vocab_size=0,
        hidden_size=width,
        num_layers=fields.take("num_hidden_layers", 12),
        attention=MultiHead(
            fields.take("num_attention_heads", 12),
            bias=True if biased else ("out",),
            dropout_rate=fields.take("attention_probs_dropout_prob", 0.0),
        ),
        mlp=PlainMLP(
            fields.take("intermediate_size", 3_072), activation=fields.choose("hidden_act", "gelu", ACTIVATIONS)
        ),
        positions=LearnedPositions(patches.count + 1),
        norm=LayerNorm(epsilon=fields.take("layer_norm_eps", 1e-12)),
        norm_placement="pre",
        norm_embeddings=False,
        patches=patches,
        dropout_rate=fields.take("hidden_dropout_prob", 0.0),
        initializer=TruncatedNormal(fields.take("initializer_range", 0.02)),
    )
    # The number of classes is that of the labels, of which there are two where nothing is said.
    labels = fields.take("id2label", None, dict)
    classes = fields.take("num_labels", 2) if labels is None else len(labels)
    return Architecture(
        VisionTransformer,
        config,
        {"num_classes": classes if "classifier.weight" in names else 0, "pooler": "vit.pooler.dense.weight" in names},
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of config.json that say a model of this shape."""
    config, classes = architecture.config, architecture.options.get("num_classes", 0)
    name = "ViTForImageClassification" if classes else "ViTModel"
    mlp = need(config.mlp, PlainMLP, "mlp", "vit")
    patches = need(config.patches, Patches, "patches", "vit")
    said = {
        "model_type": "vit",
        "architectures": [class_name(architecture, "vit", {VisionTransformer: name})],
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.attention.num_heads,
        "intermediate_size": mlp.intermediate_size,
        "hidden_act": ACTIVATION_WORDS[mlp.activation],
        "hidden_dropout_prob": config.dropout_rate,
        "attention_probs_dropout_prob": config.attention.dropout_rate,
        "layer_norm_eps": config.norm.epsilon,
        "image_size": patches.image_size,
        "patch_size": patches.patch_size,
        "num_channels": patches.num_channels,
        "qkv_bias": config.attention.has_bias("query"),
    }
    if classes:
        labels = [f"LABEL_{number}" for number in range(classes)]
        said["id2label"] = {str(number): label for number, label in enumerate(labels)}
        said["label2id"] = {label: number for number, label in enumerate(labels)}
    return said


def complete(architecture: Architecture) -> Architecture:
    """With the pooler that the published class without a classifier always has."""
    if architecture.options.get("num_classes", 0):
        return architecture
    return dataclasses.replace(architecture, options=architecture.options | {"pooler": True})


def sizes(config: TransformerConfig) -> dict[str, int]:
    """The axes of the convolution over patches."""
    patches = need(config.patches, Patches, "patches", "vit")
    return {"C": patches.num_channels, "Y": patches.patch_size, "X": patches.patch_size}


LAYER = "vit.encoder.layer.{}."  # in files
MODULE = "vit.layers.{}."  # in memory

FAMILY = Family(
    model_type="vit",
    prefix="vit.",
    base="ViTModel",
    read=read,
    write=write,
    table=[
        *dense("embeddings.projection", "vit.embeddings.patch_embeddings.projection", "D C Y X -> (C Y X) D", "D -> D"),
        Row("embeddings.class_token.embedding", "vit.embeddings.cls_token", "1 1 D -> 1 D"),
        Row("embeddings.positions.embedding", "vit.embeddings.position_embeddings", "1 T D -> T D"),
        *norm("layers.attention_norm", LAYER + "layernorm_before"),
        *attention(
            "layers.attention",
            LAYER + "attention.",
            query="attention.query",
            key="attention.key",
            value="attention.value",
            out="output.dense",
        ),
        *norm("layers.mlp_norm", LAYER + "layernorm_after"),
        *dense("layers.mlp.up", LAYER + "intermediate.dense"),
        *dense("layers.mlp.down", LAYER + "output.dense", "D F -> F D", "D -> D"),
        *norm("final_norm", "vit.layernorm"),
        *dense("pooler", "vit.pooler.dense", "E D -> D E", "E -> E"),
        *dense("classifier", "classifier", "C D -> D C", "C -> C"),
    ],
    sites=[
        Site("embeddings.output", "vit.embeddings"),
        Site("layers.{}.attention_norm.output", MODULE + "layernorm_before"),
        Site("layers.{}.attention.mixed", MODULE + "attention.o_proj", of="input"),
        Site("layers.{}.attention.output", MODULE + "attention"),
        Site("layers.{}.mlp_norm.output", MODULE + "layernorm_after"),
        Site("layers.{}.mlp.inner", MODULE + "mlp.fc2", of="input"),
        Site("layers.{}.mlp.output", MODULE + "mlp"),
        Site("layers.{}.residual", MODULE.rstrip(".")),
        Site("final_norm.output", "vit.layernorm"),
        Site("pooler.output", "vit.pooler"),
        Site("classifier.output", "classifier"),
    ],
    complete=complete,
    sizes=sizes,
    buffers=["vit.embeddings.mask_token"],
)
