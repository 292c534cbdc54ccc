"""RoBERTa: BERT's encoder with one token type, over byte-level BPE (Liu et al., arXiv:1907.11692). Sizes are BERT's.

Positions count the tokens that are no padding, and their rows begin after that of the padding token.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from model.config import TransformerConfig
from model.encoder import Encoder, MaskedLanguageModel
from model.families import bert
from model.norms import LayerNorm
from model.output import Output
from model.positions import LearnedPositions
from model.published import Architecture, CannotExpress, Family, Fields, Row, Site, class_name, dense, need, norm, table
from model.task_models import EncoderForTask

PADDING = 1  # the id of the padding token, as published; the row of its position comes before the first


def config(size: str, *, vocab_size: int = 50_265, max_length: int = 512, **overrides: Any) -> TransformerConfig:
    """BERT's shape of this size as published for RoBERTa.

    >>> config("base").positions
    LearnedPositions(max_length=512, offset=2)
    """
    own = {
        "num_token_types": 1,
        "norm": LayerNorm(epsilon=1e-5),
        "positions": LearnedPositions(max_length, offset=PADDING + 1),
    }
    return bert.config(size, vocab_size=vocab_size, **(own | overrides))


def read(fields: Fields, names: Collection[str]) -> Architecture:
    """The model that a published RoBERTa's config.json and the names in its file describe."""
    has_head = any(name.startswith("lm_head.") for name in names)
    has_pooler = any(name.endswith("pooler.dense.weight") for name in names)
    if has_head:
        fields.only(hidden_act="gelu")  # the head has exact GELU, whatever the layers have; ours has one for both
    padding = fields.take("pad_token_id", PADDING)
    rows = fields.take("max_position_embeddings", 512)
    positions = LearnedPositions(rows - padding - 1, offset=padding + 1)
    config = dataclasses.replace(bert.read_encoder(fields, norm_epsilon=1e-12), positions=positions)
    options = {"pooler": True} if has_pooler else {}
    if {"classifier.weight", "classifier.out_proj.weight", "qa_outputs.weight"} & set(names):
        return bert.with_head(fields, config, names, sums_up="classifier.dense.weight" in names)
    if has_head:
        return Architecture(MaskedLanguageModel, config, {"next_sentence": False} | options)
    return Architecture(Encoder, dataclasses.replace(config, output=Output()), options)


def writer(model_type: str, masked: str, base: str) -> Callable[[Architecture], dict[str, Any]]:
    """What writes the fields of config.json, under the names of one family."""

    def write(architecture: Architecture) -> dict[str, Any]:
        """The fields of config.json that say a model of this shape."""
        of_task = bert.classifier_name(architecture, base.removesuffix("Model"))
        name = class_name(
            architecture, model_type, {MaskedLanguageModel: masked, Encoder: base, EncoderForTask: of_task}
        )
        if architecture.make is MaskedLanguageModel and architecture.options.get("next_sentence", True):
            raise CannotExpress(model_type, "a next-sentence head", strange=True)
        positions = need(architecture.config.positions, LearnedPositions, "positions", model_type)
        said = {
            "architectures": [name],
            "max_position_embeddings": positions.max_length + positions.offset,
            "pad_token_id": max(positions.offset - 1, 0),
        }
        return said | bert.write_encoder(architecture.config, model_type) | bert.write_labels(architecture)

    return write


TABLE: list[Row] = [
    *bert.encoder_table("roberta."),
    *dense("token_head.transform", "lm_head.dense", "E D -> D E", "E -> E"),
    *norm("token_head.norm", "lm_head.layer_norm"),
    *table("token_head.table", "lm_head.decoder"),
    *bert.head_bias("lm_head."),
    # Choices stand on the base model's pooler; labels of tokens on none; labels of whole texts on one inside the classifier.
    *dense("classifier", "classifier", "C D -> D C", "C -> C"),
    Row("pooler.kernel", "classifier.dense.weight", "E D -> D E", beside="classifier.kernel"),
    Row("pooler.bias", "classifier.dense.bias", "E -> E", beside="classifier.kernel"),
    Row("classifier.kernel", "classifier.out_proj.weight", "C D -> D C", beside="pooler.kernel"),
    Row("classifier.bias", "classifier.out_proj.bias", "C -> C", beside="pooler.kernel"),
    *dense("choices", "classifier", "C D -> D C", "C -> C"),
    *dense("ends", "qa_outputs", "C D -> D C", "C -> C"),
]


def family(model_type: str, masked: str, base: str) -> Family:
    """RoBERTa, or a family that differs from it in the names of its classes only."""
    return Family(
        model_type=model_type,
        prefix="roberta.",
        base=base,
        read=read,
        write=writer(model_type, masked, base),
        table=TABLE,
        sites=[
            *bert.encoder_sites("roberta."),
            Site("token_head.norm.output", "lm_head.layer_norm"),
            Site("token_head.output", "lm_head"),
        ],
        copies={
            "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        },
        buffers=["roberta.embeddings.position_ids", "roberta.embeddings.token_type_ids", "roberta.pooler.dense.*"],
        complete=bert.complete,
        renamed=bert.FAMILY.renamed,
        positions_count_tokens=True,
    )


FAMILY = family("roberta", "RobertaForMaskedLM", "RobertaModel")
