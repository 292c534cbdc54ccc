"""BERT: bidirectional encoders, post-norm, exact GELU, learned positions, two token types.

The sizes tiny to medium are Turc et al., arXiv:1908.08962, table 1; base and large are Devlin et al., arXiv:1810.04805,
section 3. All have heads of 64 and a feed-forward of four times the width.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from model.attention import MultiHead
from model.config import TransformerConfig
from model.encoder import Encoder, MaskedLanguageModel
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


def read(fields: Fields, names: Collection[str]) -> Architecture:
    """The model that a published BERT's config.json and the names in its file describe."""
    has_head = any(name.startswith("cls.predictions.") for name in names)
    has_pooler = any(name.endswith("pooler.dense.weight") for name in names)
    next_sentence = "cls.seq_relationship.weight" in names
    config = read_encoder(fields, norm_epsilon=1e-12)
    positions = LearnedPositions(fields.take("max_position_embeddings", 512))
    config = dataclasses.replace(config, positions=positions)
    if "classifier.weight" in names or "qa_outputs.weight" in names:
        # Files for tokens may hold a pooler that nobody asks.
        of_tokens = "ForTokenClassification" in published_class(fields)
        return with_head(fields, config, names, sums_up=has_pooler and not of_tokens)
    if has_head:
        options = {"next_sentence": next_sentence} | ({"pooler": True} if has_pooler and not next_sentence else {})
        return Architecture(MaskedLanguageModel, config, options)
    return Architecture(Encoder, dataclasses.replace(config, output=Output()), {"pooler": has_pooler})


def with_head(fields: Fields, config: TransformerConfig, names: Collection[str], *, sums_up: bool) -> Architecture:
    """An encoder with a head of as many scores as there are labels, of a whole text behind the pooler or of every token; with
    one for the ends of an answer; or with one score for each choice.
    """
    labels = fields.take("id2label", {})
    outputs, kind = len(labels) if labels else fields.take("num_labels", 2), "labels"
    if "qa_outputs.weight" in names:
        outputs, sums_up, kind = 2, False, "ends"
    elif "ForMultipleChoice" in published_class(fields):
        outputs, sums_up, kind = 1, True, "choices"
    options = {"outputs": outputs, "pooling": "first" if sums_up else None, "pooler": sums_up, "kind": kind}
    return Architecture(EncoderForTask, dataclasses.replace(config, output=Output()), options)


def published_class(fields: Fields) -> str:
    """What a config.json calls the class of its model; empty where it does not say."""
    return "".join(map(str, fields.take("architectures", [], list)))


def read_encoder(fields: Fields, norm_epsilon: float) -> TransformerConfig:
    """What the config.json of BERT and of RoBERTa say alike."""
    fields.only(position_embedding_type="absolute")
    fields.skip("directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers")
    fields.skip("pooler_size_per_head", "pooler_type", "layer_norm_type")
    return TransformerConfig(
        vocab_size=fields.take("vocab_size", 30_522),
        hidden_size=fields.take("hidden_size", 768),
        num_layers=fields.take("num_hidden_layers", 12),
        attention=MultiHead(
            fields.take("num_attention_heads", 12), dropout_rate=fields.take("attention_probs_dropout_prob", 0.1)
        ),
        mlp=PlainMLP(
            fields.take("intermediate_size", 3_072), activation=fields.choose("hidden_act", "gelu", ACTIVATIONS)
        ),
        norm=LayerNorm(epsilon=fields.take("layer_norm_eps", norm_epsilon)),
        norm_placement="post",
        num_token_types=fields.take("type_vocab_size", 2),
        norm_embeddings=True,
        dropout_rate=fields.take("hidden_dropout_prob", 0.1),
        initializer=TruncatedNormal(fields.take("initializer_range", 0.02)),
        output=Output(transform=True, bias=True, tied=fields.take("tie_word_embeddings", True)),
    )


def complete(architecture: Architecture) -> Architecture:
    """With the pooler that the published class without a head always has."""
    if architecture.make is not Encoder:
        return architecture
    return dataclasses.replace(architecture, options=architecture.options | {"pooler": True})


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of config.json that say a model of this shape."""
    masked = "BertForPreTraining" if architecture.options.get("next_sentence", True) else "BertForMaskedLM"
    names = {MaskedLanguageModel: masked, Encoder: "BertModel", EncoderForTask: classifier_name(architecture, "Bert")}
    name = class_name(architecture, "bert", names)
    positions = need(architecture.config.positions, LearnedPositions, "positions", "bert")
    said = {"architectures": [name], "max_position_embeddings": positions.max_length, "pad_token_id": 0}
    return said | write_encoder(architecture.config, "bert") | write_labels(architecture)


def classifier_name(architecture: Architecture, stem: str) -> str:
    """The published class of an encoder with a head; CannotExpress where texts are summed up in another way than there."""
    if architecture.make is not EncoderForTask:
        return ""
    pooling, pooler = architecture.options["pooling"], architecture.options["pooler"]
    kind = architecture.options.get("kind")
    if kind == "ends":
        return f"{stem}ForQuestionAnswering"
    if pooling is None and not pooler:
        return f"{stem}ForTokenClassification"
    if pooling == "first" and pooler:
        return f"{stem}ForMultipleChoice" if kind == "choices" else f"{stem}ForSequenceClassification"
    raise CannotExpress(stem.lower(), f"a head with pooling={pooling!r} and pooler={pooler}")


def write_labels(architecture: Architecture) -> dict[str, Any]:
    """As many labels as the head has scores; whoever knows their names puts them in the place of these."""
    if architecture.make is not EncoderForTask or architecture.options.get("kind", "labels") != "labels":
        return {}
    numbers = range(architecture.options["outputs"])
    return {
        "id2label": {str(number): f"LABEL_{number}" for number in numbers},
        "label2id": {f"LABEL_{number}": number for number in numbers},
    }


def write_encoder(config: TransformerConfig, family: str) -> dict[str, Any]:
    """What the config.json of BERT and of RoBERTa say alike."""
    mlp = need(config.mlp, PlainMLP, "mlp", family)
    if not config.num_token_types:
        raise CannotExpress(family, "num_token_types=0", field="num_token_types")
    return {
        "model_type": family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.attention.num_heads,
        "intermediate_size": mlp.intermediate_size,
        "hidden_act": ACTIVATION_WORDS[mlp.activation],
        "hidden_dropout_prob": config.dropout_rate,
        "attention_probs_dropout_prob": config.attention.dropout_rate,
        "type_vocab_size": config.num_token_types,
        "layer_norm_eps": config.norm.epsilon,
        "tie_word_embeddings": config.output.tied,
    }


def encoder_table(prefix: str) -> list[Row]:
    """The rows of BERT's and RoBERTa's encoder."""
    layer = prefix + "encoder.layer.{}."
    return [
        *table("embeddings.tokens", prefix + "embeddings.word_embeddings"),
        *table("embeddings.positions", prefix + "embeddings.position_embeddings"),
        *table("embeddings.token_types", prefix + "embeddings.token_type_embeddings"),
        *norm("embeddings.norm", prefix + "embeddings.LayerNorm"),
        *attention(
            "layers.attention",
            layer + "attention.",
            query="self.query",
            key="self.key",
            value="self.value",
            out="output.dense",
        ),
        *norm("layers.attention_norm", layer + "attention.output.LayerNorm"),
        *dense("layers.mlp.up", layer + "intermediate.dense"),
        *dense("layers.mlp.down", layer + "output.dense", "D F -> F D", "D -> D"),
        *norm("layers.mlp_norm", layer + "output.LayerNorm"),
        *dense("pooler", prefix + "pooler.dense", "E D -> D E", "E -> E"),
    ]


def head_bias(prefix: str) -> list[Row]:
    """Rows of the bias of each token's score: stored twice, and the one that is read depends on whether the output is tied."""
    plain, inner = prefix + "bias", prefix + "decoder.bias"
    return [
        Row("token_head.bias", plain, "V -> V"),
        Row("token_head.bias", inner, "V -> V", beside="token_head.table.embedding", repeated=plain),
    ]


def encoder_sites(prefix: str) -> list[Site]:
    """The sites of BERT's and RoBERTa's encoder."""
    layer = prefix + "encoder.layer.{}."
    return [
        Site("embeddings.output", prefix + "embeddings"),
        Site("layers.{}.attention.mixed", layer + "attention.output.dense", of="input"),
        Site("layers.{}.attention.output", layer + "attention.output.dense"),
        Site("layers.{}.attention_norm.output", layer + "attention.output.LayerNorm"),
        Site("layers.{}.mlp.inner", layer + "intermediate"),
        Site("layers.{}.mlp.output", layer + "output.dense"),
        Site("layers.{}.mlp_norm.output", layer + "output.LayerNorm"),
        Site("layers.{}.residual", layer.rstrip(".")),
        Site("pooler.output", prefix + "pooler"),
    ]


FAMILY = Family(
    model_type="bert",
    prefix="bert.",
    base="BertModel",
    read=read,
    write=write,
    table=[
        *encoder_table("bert."),
        *dense("pair_head.pooler", "bert.pooler.dense", "E D -> D E", "E -> E"),
        *dense("pair_head.classifier", "cls.seq_relationship", "C E -> E C", "C -> C"),
        *dense("token_head.transform", "cls.predictions.transform.dense", "E D -> D E", "E -> E"),
        *norm("token_head.norm", "cls.predictions.transform.LayerNorm"),
        *table("token_head.table", "cls.predictions.decoder"),
        *head_bias("cls.predictions."),
        *dense("classifier", "classifier", "C D -> D C", "C -> C"),
        *dense("choices", "classifier", "C D -> D C", "C -> C"),
        *dense("ends", "qa_outputs", "C D -> D C", "C -> C"),
    ],
    sites=[
        *encoder_sites("bert."),
        Site("token_head.norm.output", "cls.predictions.transform"),
        Site("token_head.output", "cls.predictions"),
        Site("pair_head.pooler.output", "bert.pooler"),
        Site("pair_head.output", "cls.seq_relationship"),
    ],
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    complete=complete,
    buffers=["bert.embeddings.position_ids", "bert.embeddings.token_type_ids", "bert.pooler.dense.*"],
    renamed={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
)
