"""DistilBERT: BERT-base with half the layers, no token types, a pooler in classifiers only (Sanh et al., arXiv:1910.01108)."""

import dataclasses
from collections.abc import Collection
from typing import Any

from model.attention import MultiHead
from model.config import TransformerConfig
from model.encoder import Encoder, MaskedLanguageModel
from model.families import bert
from model.initializers import TruncatedNormal
from model.mlp import PlainMLP
from model.norms import LayerNorm
from model.output import Output
from model.positions import LearnedPositions
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
    dense,
    need,
    norm,
    table,
)
from model.task_models import EncoderForTask

SIZES = {"base": 6}  # name: layers; the rest is BERT's


def config(size: str, *, vocab_size: int = 30_522, max_length: int = 512, **overrides: Any) -> TransformerConfig:
    """The published shape called `size`; `overrides` are any other fields of TransformerConfig.

    >>> config("base").num_layers
    6
    """
    if size not in SIZES:
        raise ValueError(f"DistilBERT has no size {size!r}; use one of {', '.join(SIZES)}")
    own = {"num_layers": SIZES[size], "num_token_types": 0}
    return bert.config(size, vocab_size=vocab_size, max_length=max_length, **(own | overrides))


def read(fields: Fields, names: Collection[str]) -> Architecture:
    """The model that a published DistilBERT's config.json and the names in its file describe."""
    fields.skip("sinusoidal_pos_embds")  # how the stored table began
    fields.skip("qa_dropout", "seq_classif_dropout", "tie_weights_")
    has_head = any(name.startswith("vocab_transform.") for name in names)
    config = TransformerConfig(
        vocab_size=fields.take("vocab_size", 30_522),
        hidden_size=fields.take("dim", 768),
        num_layers=fields.take("n_layers", 6),
        attention=MultiHead(fields.take("n_heads", 12), dropout_rate=fields.take("attention_dropout", 0.1)),
        mlp=PlainMLP(fields.take("hidden_dim", 3_072), activation=fields.choose("activation", "gelu", ACTIVATIONS)),
        positions=LearnedPositions(fields.take("max_position_embeddings", 512)),
        norm=LayerNorm(epsilon=1e-12),
        norm_placement="post",
        norm_embeddings=True,
        dropout_rate=fields.take("dropout", 0.1),
        initializer=TruncatedNormal(fields.take("initializer_range", 0.02)),
        output=Output(transform=True, bias=True, tied=fields.take("tie_word_embeddings", True)),
    )
    if "classifier.weight" in names or "qa_outputs.weight" in names:
        found = bert.with_head(fields, config, names, sums_up="pre_classifier.weight" in names)
        summed = {"pooler_activation": "relu"} if found.options["pooler"] else {}
        return dataclasses.replace(found, options=found.options | summed)
    if has_head:
        return Architecture(MaskedLanguageModel, config, {"next_sentence": False})
    return Architecture(Encoder, dataclasses.replace(config, output=Output()))


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of config.json that say a model of this shape."""
    config, options = architecture.config, architecture.options
    names = {
        MaskedLanguageModel: "DistilBertForMaskedLM",
        Encoder: "DistilBertModel",
        EncoderForTask: bert.classifier_name(architecture, "DistilBert"),
    }
    name = class_name(architecture, "distilbert", names)
    own_pooler = options.get("pooler_activation", "tanh") == "relu"
    if options.get("pooler") and not own_pooler:
        raise CannotExpress("distilbert", "a pooler with tanh", strange=True)
    if architecture.make is MaskedLanguageModel and options.get("next_sentence", True):
        raise CannotExpress("distilbert", "a next-sentence head", strange=True)
    mlp = need(config.mlp, PlainMLP, "mlp", "distilbert")
    return {
        "model_type": "distilbert",
        "architectures": [name],
        "vocab_size": config.vocab_size,
        "dim": config.hidden_size,
        "n_layers": config.num_layers,
        "n_heads": config.attention.num_heads,
        "hidden_dim": mlp.intermediate_size,
        "activation": ACTIVATION_WORDS[mlp.activation],
        "max_position_embeddings": need(config.positions, LearnedPositions, "positions", "distilbert").max_length,
        "dropout": config.dropout_rate,
        "attention_dropout": config.attention.dropout_rate,
        "tie_word_embeddings": config.output.tied,
        "pad_token_id": 0,
    } | bert.write_labels(architecture)


LAYER = "distilbert.transformer.layer.{}."

FAMILY = Family(
    model_type="distilbert",
    prefix="distilbert.",
    base="DistilBertModel",
    read=read,
    write=write,
    table=[
        *table("embeddings.tokens", "distilbert.embeddings.word_embeddings"),
        *table("embeddings.positions", "distilbert.embeddings.position_embeddings"),
        *norm("embeddings.norm", "distilbert.embeddings.LayerNorm"),
        *attention("layers.attention", LAYER + "attention.", "q_lin", "k_lin", "v_lin", "out_lin"),
        *norm("layers.attention_norm", LAYER + "sa_layer_norm"),
        *dense("layers.mlp.up", LAYER + "ffn.lin1"),
        *dense("layers.mlp.down", LAYER + "ffn.lin2", "D F -> F D", "D -> D"),
        *norm("layers.mlp_norm", LAYER + "output_layer_norm"),
        *dense("token_head.transform", "vocab_transform", "E D -> D E", "E -> E"),
        *norm("token_head.norm", "vocab_layer_norm"),
        *table("token_head.table", "vocab_projector"),
        Row("token_head.bias", "vocab_projector.bias", "V -> V"),
        *dense("pooler", "pre_classifier", "E D -> D E", "E -> E"),
        *dense("classifier", "classifier", "C D -> D C", "C -> C"),
        *dense("choices", "classifier", "C D -> D C", "C -> C"),
        *dense("ends", "qa_outputs", "C D -> D C", "C -> C"),
    ],
    sites=[
        Site("embeddings.output", "distilbert.embeddings"),
        Site("layers.{}.attention.mixed", LAYER + "attention.out_lin", of="input"),
        Site("layers.{}.attention.output", LAYER + "attention"),
        Site("layers.{}.attention_norm.output", LAYER + "sa_layer_norm"),
        Site("layers.{}.mlp.inner", LAYER + "ffn.lin2", of="input"),
        Site("layers.{}.mlp.output", LAYER + "ffn"),
        Site("layers.{}.mlp_norm.output", LAYER + "output_layer_norm"),
        Site("layers.{}.residual", LAYER.rstrip(".")),
        Site("token_head.norm.output", "vocab_layer_norm"),
        Site("token_head.output", "vocab_projector"),
    ],
    copies={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
    buffers=["distilbert.embeddings.position_ids"],
)
