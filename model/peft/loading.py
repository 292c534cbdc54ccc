"""An adapter as `peft` writes it, hung on a model of ours; every tensor finds its place, or one error names what does not."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from model.hub import PICKLES, opened, read_json
from model.peft.attaching import Peft, attach
from model.peft.lora import LoRA
from model.peft.naming import ROOT, Base, Part, base_of, map_of, parts_of, read, sides_of, table_name
from model.peft.saving import CONFIG, WEIGHTS, Tensors
from model.peft.sites import PeftError, at, stack_at
from model.published import several

# Fields of any adapter that say nothing about what is computed.
IRRELEVANT = frozenset(
    """
    auto_mapping base_model_name_or_path ensure_weight_tying exclude_modules fan_in_fan_out inference_mode layers_pattern
    layers_to_transform megatron_core modules_to_save peft_type peft_version qalora_group_size revision runtime_config
    target_modules task_type loftq_config eva_config corda_config lora_ga_config velora_config monteclora_config
    init_ia3_weights init_lora_weights
    """.split()  # noqa: SIM905 (a table of words)
)


class Loaded(NamedTuple):
    """An adapter on its model.

    Attributes:
        model: a copy of the base with the adapter attached.
        choice: what was attached, as it would be said to `attach`.
        heads: trained tensors beside the adapter, by their published names.
    """

    model: Any
    choice: Peft
    heads: Tensors


def load_adapter(model: nnx.Module, folder: str | Path) -> Loaded:
    """Attach the adapter of a folder to the model that it was trained on. PeftError, one line, for what does not fit."""
    folder = Path(folder).expanduser()
    fields, tensors = open_adapter(folder)
    kind = fields.get("peft_type")
    if kind not in READERS:
        raise PeftError(f"{folder / CONFIG}: peft_type={kind!r} is not known; known are {', '.join(READERS)}")
    inner = base_of(model)
    kept = [name for name in fields.get("modules_to_save") or []]
    heads = {
        name.removeprefix(ROOT): tensor
        for name, tensor in tensors.items()
        if any(f".{module}." in f".{name}" for module in kept)
    }
    rest = {name: tensor for name, tensor in tensors.items() if name.removeprefix(ROOT) not in heads}
    try:
        tuned, choice = READERS[kind](model, inner, Asked(fields), rest)
    except PeftError as error:
        raise PeftError(f"{folder}: {error}") from error
    return Loaded(tuned, choice, heads)


class Asked:
    """The fields of an adapter_config.json, each asked for once; what nobody asked for must be empty."""

    def __init__(self, fields: dict[str, Any]):
        self.fields = fields
        self.seen: set[str] = {*IRRELEVANT}

    def take(self, name: str, default: Any) -> Any:
        """A field, or `default` where it is absent or null."""
        self.seen.add(name)
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, (int, float) if isinstance(default, float) else type(default)):
            raise PeftError(f"{name}={value!r} should be a {type(default).__name__}")
        return value

    def finish(self) -> None:
        """PeftError for fields that may change what is computed and that nobody asked for."""
        strange = {
            name: value
            for name, value in self.fields.items()
            if name not in self.seen and value not in (None, False, "", [], {})
        }
        if strange:
            said = ", ".join(f"{name}={value!r}" for name, value in strange.items())
            raise PeftError(f"{said} changes the computation and is not supported")


def open_adapter(folder: Path) -> tuple[dict[str, Any], Tensors]:
    """The fields and the tensors of a folder."""
    if not (folder / CONFIG).is_file():
        raise PeftError(f"{folder} has no {CONFIG}; name a folder as peft's save_pretrained writes it")
    if not (folder / WEIGHTS).is_file():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        said = (
            f"{pickles[0]} is a pickle, which may run any program; save it again with peft"
            if pickles
            else "copy it too"
        )
        raise PeftError(f"{folder} has no {WEIGHTS}; {said}")
    with opened(folder / WEIGHTS) as file:
        tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    return read_json(folder / CONFIG), tensors


def read_low_rank(model: nnx.Module, base: Base, asked: Asked, tensors: Tensors) -> tuple[nnx.Module, LoRA]:
    """A model with LoRA, rsLoRA or DoRA from the tensors of `peft`.

    Maps that lie in one published matrix share its A, each with its own part of B. Where ranks differ between layers, smaller
    ones are filled up with zeros, which changes nothing.
    """
    if asked.take("bias", "none") != "none":
        raise PeftError(f"bias={asked.fields['bias']!r} changes weights of the base; only 'none' is supported")
    stabilised, decomposed = asked.take("use_rslora", False), asked.take("use_dora", False)
    alpha, usual = float(asked.take("lora_alpha", 8.0)), asked.take("r", 8)
    alphas = asked.take("alpha_pattern", {})
    asked.take("rank_pattern", {})  # the ranks are those of the tensors
    dropped = float(asked.take("lora_dropout", 0.0))
    asked.finish()
    words = ("lora_A.weight", "lora_B.weight", *(("lora_magnitude_vector",) if decomposed else ()))
    found = place(model, base, tensors, words)
    choice = LoRA(
        rank=usual,
        alpha=alpha,
        dropout=dropped,
        sites=sites_of(model, [part for _, part, _ in found]),
        rank_stabilised=stabilised,
        decomposed=decomposed,
    )
    tuned = attach(model, choice, nnx.Rngs(0))
    most: dict[Any, int] = {}
    for _, part, theirs in found:
        most[part.path] = max(most.get(part.path, 1), theirs["lora_A.weight"].shape[0])
    for path, rank in most.items():
        low = at(tuned, path).lora
        axis = low.scale.ndim  # the rank's in B, behind that of layers where there is one
        low.a = nnx.Param(jnp.zeros((*low.a.shape[:-1], rank), jnp.float32))
        low.b = nnx.Param(jnp.zeros((*low.b.shape[:axis], rank, *low.b.shape[axis + 1 :]), jnp.float32))
    for name, part, theirs in found:
        linear, low = map_of(model, part), at(tuned, part.path).lora
        sides, rank = sides_of(linear, part.row, base), theirs["lora_A.weight"].shape[0]
        outputs, room = sides.parts * sides.width, most[part.path] - rank
        read_in = math.prod(sides.inputs.published_shape(sides.sizes))
        check(name, theirs, {"lora_A.weight": (rank, read_in), "lora_B.weight": (outputs, rank)})
        sizes = {**sides.sizes, "R": rank}
        mine = slice(part.row.part * sides.width, (part.row.part + 1) * sides.width)
        a, b = read(sides.a, theirs["lora_A.weight"], sizes), read(sides.b, theirs["lora_B.weight"][mine], sizes)
        put(low.a, part.layer, np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, room)]))
        put(low.b, part.layer, np.pad(b, [(0, room)] + [(0, 0)] * (b.ndim - 1)))
        own = pattern_value(alphas, name, alpha)
        put(low.scale, part.layer, np.float32(own / (math.sqrt(rank) if stabilised else rank)))
        if decomposed:
            check(name, theirs, {"lora_magnitude_vector": (outputs,)})
            put(low.magnitude, part.layer, read(sides.outputs, theirs["lora_magnitude_vector"][mine], sides.sizes))
    return tuned, choice


def place(
    model: nnx.Module, base: Base, tensors: Tensors, words: Sequence[str]
) -> list[tuple[str, Part, dict[str, np.ndarray]]]:
    """For each map of ours that is tuned: the published name of its matrix, itself, and the tensors of that matrix by word.

    PeftError with all tensors that have no place, and all that are missing.
    """
    modules: dict[str, dict[str, np.ndarray]] = {}
    strange = []
    parts = parts_of(model, base)
    for name, tensor in tensors.items():
        name = name.removesuffix(".weight") if name.endswith("_vector.weight") else name
        word = next((word for word in words if name.startswith(ROOT) and name.endswith("." + word)), None)
        module = None if word is None else table_name(name.removesuffix("." + word), base)
        if word is None or module not in parts:
            strange.append(name)
        else:
            modules.setdefault(module, {})[word] = tensor
    if strange:
        raise PeftError(f"no place in this {type(model).__name__} for {several(strange)}")
    if missing := [f"{name}.{word}" for name, theirs in modules.items() for word in words if word not in theirs]:
        raise PeftError(f"no tensor {several(missing)}; copy the folder again")
    if not modules:
        raise PeftError(f"{WEIGHTS} holds no tensors of an adapter; copy the folder again")
    return [(name, part, theirs) for name, theirs in modules.items() for part in parts[name]]


def sites_of(model: nnx.Module, parts: Sequence[Part]) -> str:
    """Patterns that select these maps, and no others: one for a whole stack where all its layers are there."""
    layers: dict[Any, list[int | None]] = {}
    for part in parts:
        layers.setdefault(part.path, []).append(part.layer)
    patterns = []
    for path, numbers in layers.items():
        place = stack_at(model, path)
        if place is None:
            patterns.append(".".join(map(str, path)))
            continue
        whole = len(numbers) == at(model, path[:place]).num_layers
        words = ["*"] if whole else sorted(number for number in numbers if number is not None)
        patterns += [".".join(map(str, (*path[: place + 1], word, *path[place + 1 :]))) for word in words]
    return ",".join(patterns)


def pattern_value(patterns: dict[str, Any], name: str, default: float) -> float:
    """The value of the first pattern, an expression for the end of a name, that a module's name meets.

    >>> pattern_value({"attn.c_attn": 4.0}, "transformer.h.0.attn.c_attn", 8.0)
    4.0
    """
    met = (value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", name))
    return float(next(met, default))


def check(name: str, tensors: Tensors, shapes: dict[str, tuple[int, ...]]) -> None:
    """PeftError for a tensor of another shape."""
    for word, shape in shapes.items():
        if tensors[word].shape != shape:
            raise PeftError(f"{name}.{word} has shape {tensors[word].shape}, not {shape}; is it of another model?")


def put(variable: Any, layer: int | None, value: Any) -> None:
    """Set a parameter, or its row for one layer."""
    whole, value = variable[...], jnp.asarray(value, jnp.float32)
    variable[...] = value.reshape(whole.shape) if layer is None else whole.at[layer].set(value)


READERS = {"LORA": read_low_rank}
