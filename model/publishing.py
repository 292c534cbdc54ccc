"""Models as published: the family that can express one, its config.json and its tensors. The inverse of model/weights.py."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from model.attention import PROJECTIONS
from model.config import TransformerConfig, to_json
from model.encoder import Encoder, MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.families.known import FAMILIES
from model.hub import CONFIG, FILE_BYTES, write_json, write_tensors
from model.layout import layout
from model.output import Output
from model.published import IRRELEVANT, LAYER, Architecture, CannotExpress, Family, Fields, HubError, Row, several
from model.task_models import EncoderForTask
from model.vision import VisionTransformer
from model.weights import abstract, rows_of

# Fields of a config that say how a model is trained or run, not what it computes: a family need not have them.
TRAINING_ONLY = {"initializer", "stack", "dropout_rate", "layer_drop_rate"}
SAID_ANEW = {"architectures", "model_type", "dtype", "torch_dtype", "transformers_version"}


class Part(NamedTuple):
    """A parameter of ours, or one layer of it, that lies in a published tensor."""

    path: str
    layer: int | None
    row: Row


class Expressed(NamedTuple):
    """A model in the words of a family.

    Attributes:
        family: whose words they are.
        fields: of config.json.
        architecture: as the family has it, perhaps with parameters that ours lacks.
        tensors: the parts of each tensor by its published name, in the order in which they are written.
    """

    family: Family
    fields: dict[str, Any]
    architecture: Architecture
    tensors: dict[str, list[Part]]


def architecture_of(model: nnx.Module) -> Architecture:
    """What a model is: its class, its config, and what its class was told besides."""
    options: dict[str, Any] = {}
    if isinstance(model, (Encoder, VisionTransformer)):
        options["pooler"] = model.pooler is not None
    if isinstance(model, MaskedLanguageModel):
        options["next_sentence"] = model.pair_head is not None
    if isinstance(model, VisionTransformer):
        options["num_classes"] = 0 if model.classifier is None else model.classifier.kernel.shape[-1]
    config = getattr(model, "config", None)
    if not isinstance(config, TransformerConfig):
        raise HubError(f"a {type(model).__name__} has no published form; give one of the models of this package")
    if isinstance(model, EncoderForTask):  # which keeps nothing of what its config says of scores of tokens
        config = dataclasses.replace(config, output=Output())
        if model.head is None:  # its states are the answer
            return Architecture(Encoder, config, options)
        options |= {"outputs": model.head.kernel.shape[-1], "pooling": model.pooling, "kind": model.kind}
        if model.pooler is not None:
            options["pooler_activation"] = model.pooler.activation
    return Architecture(type(model), config, options)


def express(architecture: Architecture, family: str | None = None) -> Expressed:
    """The model in the words of a family; of the first that can say it where none is named.

    CannotExpress, one line, names every field that the family, or the nearest one, has no words for.
    """
    if family is not None and family not in FAMILIES:
        raise HubError(f"there is no family {family!r}; use one of {', '.join(FAMILIES)}")
    refusals: list[CannotExpress] = []
    for candidate in [FAMILIES[family]] if family else FAMILIES.values():
        try:
            return _express(candidate, architecture)
        except CannotExpress as refusal:
            refusals.append(refusal)
    nearest = min(refusals, key=lambda refusal: (refusal.strange, len(refusal.what)))
    if len(refusals) == 1:
        raise nearest
    if nearest.strange:
        raise CannotExpress("no published family", *nearest.what)
    raise CannotExpress(f"no published family is such a model; the nearest, {nearest.family},", *nearest.what)


def _express(family: Family, architecture: Architecture) -> Expressed:
    """The model in the words of this family.

    What is written is read again, and must be the same model: no field can be lost without a word.
    """
    problems: list[str] = []
    usual = family.read(Fields({}), ()).config
    while True:
        try:
            fields, full = family.write(architecture), family.complete(architecture)
            break
        except CannotExpress as refusal:
            problems += refusal.what
            if not refusal.field:
                raise CannotExpress(family.model_type, *problems, strange=refusal.strange) from None
            # On with what the family has there, so that all other fields are named too.
            own = {refusal.field: getattr(usual, refusal.field)}
            architecture = dataclasses.replace(architecture, config=dataclasses.replace(architecture.config, **own))
    shapes = abstract(full)[1]
    tensors = _tensors(family, shapes)
    read = Fields(fields)
    again = family.read(read, tensors)
    problems += read.finish(family.model_type)
    problems += [f"{path}={value!r}" for path, value, _ in differences(full, again)]
    if not problems and (strange := set(shapes) - set(rows_of(family, shapes))):
        problems.append(f"the parameter {several(sorted(strange))}")
    if problems:
        raise CannotExpress(family.model_type, *problems)
    return Expressed(family, fields, full, tensors)


def _tensors(family: Family, shapes: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, list[Part]]:
    """The parts of each published tensor by its name; names in their natural order, so that layers stay together."""
    tensors: dict[str, list[Part]] = {}
    for path, row in rows_of(family, shapes).items():
        stacked = LAYER in row.theirs
        for layer in range(shapes[path].shape[0]) if stacked else [None]:
            for name in filter(None, (row.theirs, row.repeated)):
                tensors.setdefault(name.replace(LAYER, str(layer)), []).append(Part(path, layer, row))
    return {
        name: sorted(tensors[name], key=lambda part: part.row.part)
        for name in sorted(tensors, key=lambda name: [int(w) if w.isdecimal() else w for w in re.split(r"(\d+)", name)])
    }


def write_model(
    folder: str | Path,
    model: nnx.Module,
    expressed: Expressed,
    *,
    carried: Mapping[str, Any] = {},
    file_bytes: int = FILE_BYTES,
) -> None:
    """Write config.json and the weights, in the type that they have, one tensor after the other.

    `carried` are fields of another config.json of this model: those that do not change what is computed (ids of special
    tokens, labels, settings of generation) are kept.
    """
    folder, family = Path(folder), expressed.family
    params = params_of(model)
    if strange := set(params) - set(abstract(architecture_of(model))[1]):
        raise HubError(
            f"{several(sorted(strange))} has no published name; merge what was attached, or save it as an adapter"
        )
    kinds = {str(leaf.dtype) for leaf in params.values()}
    kept = {name: value for name, value in carried.items() if name in (IRRELEVANT - SAID_ANEW) | set(family.kept)}
    write_json(folder / CONFIG, expressed.fields | kept | {"dtype": min(kinds) if len(kinds) == 1 else "float32"})
    write_tensors(folder, tensors_of(params, expressed), file_bytes=file_bytes)


def params_of(model: nnx.Module) -> dict[str, Any]:
    """The parameters of a model by their dotted paths."""
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {".".join(map(str, path)): leaf.get_value() for path, leaf in flat}


def tensors_of(
    params: Mapping[str, Any], expressed: Expressed, beginning: tuple[str, ...] = ("",)
) -> Iterator[tuple[str, np.ndarray]]:
    """The published tensors of parameters by their names, one after the other: all, or those of paths with such a beginning.

    A parameter that the family has and ours lacks is zeros.
    """
    kinds = {str(leaf.dtype) for leaf in params.values()}
    known = expressed.family.sizes(expressed.architecture.config)
    shapes = abstract(expressed.architecture)[1]
    has_no_prefix = expressed.fields["architectures"] == [expressed.family.base]

    def array_of(part: Part) -> np.ndarray:
        if part.path not in params:
            return np.zeros(shapes[part.path].shape[part.layer is not None :], min(kinds))
        leaf = params[part.path]
        return np.asarray(jax.device_get(leaf if part.layer is None else leaf[part.layer]))

    def tensor_of(parts: list[Part]) -> np.ndarray:
        lies = layout(parts[0].row.layout)
        arrays = [array_of(part) for part in parts]
        written = [lies.write(array, lies.sizes(array.shape, known)) for array in arrays]
        return written[0] if len(written) == 1 else np.concatenate(written, axis=lies.parts_axis())

    for name, parts in expressed.tensors.items():
        if parts[0].path.startswith(beginning):
            yield name.removeprefix(expressed.family.prefix) if has_no_prefix else name, tensor_of(parts)


def differences(ours: Architecture, theirs: Architecture) -> list[tuple[str, Any, Any]]:
    """The dotted paths at which two models compute something else, each with what it is in ours and in theirs."""
    found = _differences(_plain(ours), _plain(theirs))
    return [difference for difference in found if not set(difference[0].split(".")) & TRAINING_ONLY]


def _plain(architecture: Architecture) -> dict[str, Any]:
    """An architecture with one spelling for what can be said in several ways, as nested fields."""
    config = architecture.config
    attention, window = config.attention, config.attention.window
    local = [] if window is None else window.is_local(config.num_layers)
    attention = dataclasses.replace(
        attention,
        num_kv_heads=attention.num_kv_heads or attention.num_heads,
        head_size=attention.head_size_in(config.hidden_size),
        bias=tuple(name for name in PROJECTIONS if attention.has_bias(name)),
        window=None,
    )
    decoder_layers = (config.num_decoder_layers or config.num_layers) if architecture.make is EncoderDecoder else None
    config = dataclasses.replace(config, attention=attention, num_decoder_layers=decoder_layers)
    options = {"pooler": False, "num_classes": 0, "next_sentence": architecture.make is MaskedLanguageModel}
    if architecture.make is EncoderForTask:
        options |= {"pooler_activation": "tanh", "kind": "labels"}
    seen = [window.size, *local] if window is not None and any(local) else []
    return (
        to_json(config)
        | {"class": architecture.make.__name__}
        | options
        | architecture.options
        | {"attention.window": seen}
    )


def _differences(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.get("name") == theirs.get("name"):
        for name in ours | theirs:
            yield from _differences(ours.get(name), theirs.get(name), f"{path}.{name}".lstrip("."))
    elif ours != theirs:
        yield path, ours, theirs
