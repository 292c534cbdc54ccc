"""Where tensors of `peft` find their maps, and which maps of ours have one; what both directions of a layout share."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from model.peft.naming import ROOT, Base, Part, map_of, parts_of, table_name
from model.peft.sites import PeftError, at, stack_at, tuned_modules
from model.published import several

Tensors = dict[str, np.ndarray]

# Fields of any adapter that say nothing about what is computed.


IRRELEVANT = frozenset(
    """
    auto_mapping base_model_name_or_path ensure_weight_tying exclude_modules fan_in_fan_out inference_mode layers_pattern
    layers_to_transform megatron_core modules_to_save peft_type peft_version qalora_group_size revision runtime_config
    target_modules task_type loftq_config eva_config corda_config lora_ga_config velora_config monteclora_config
    init_ia3_weights init_lora_weights
    """.split()  # noqa: SIM905 (a table of words)
)


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
        is_number = isinstance(default, int | float) and not isinstance(default, bool)
        kind = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, kind) or (is_number and isinstance(value, bool)):
            raise PeftError(f"{name}={value!r} should be a {type(default).__name__}")
        if is_number and not 0 <= value < 2**31:
            raise PeftError(f"{name}={value!r} should lie between 0 and {2**31 - 1}")
        return value

    def finish(self) -> None:
        """PeftError for fields that may change what is computed and that nobody asked for."""
        strange = {
            name: value
            for name, value in self.fields.items()
            if name not in self.seen and value is not None and value not in (False, "", [], {})
        }
        if strange:
            said = ", ".join(f"{name}={value!r}" for name, value in strange.items())
            raise PeftError(f"{said} changes the computation and is not supported")


def tuned_maps(model: nnx.Module, base: Base, word: str) -> dict[str, list[tuple[Any, Part, Any]]]:
    """The published matrices in which something hangs: each map of them, its part, and what hangs on it or None."""
    found: dict[str, list[tuple[Any, Part, Any]]] = {}
    named = set()
    for name, group in parts_of(model, base).items():
        named.update(part.path for part in group)
        maps = [map_of(model, part) for part in group]
        if any(linear.tuned == word for linear in maps):
            found[name] = [
                (linear, part, getattr(linear, word, None)) for linear, part in zip(maps, group, strict=True)
            ]
    for path, _, _ in tuned_modules(model):
        if path not in named:
            raise PeftError(
                f"{'.'.join(map(str, path))} has no published name; tune sites inside of the published model"
            )
    return found


def acts(part: Any) -> bool:
    """Whether something hangs on a map of one layer, and acts there."""
    return part is not None and float(part.scale[...]) != 0.0


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
        raise PeftError("the file holds no tensors of an adapter; copy the folder again")
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


def check(name: str, tensors: Tensors, shapes: dict[str, tuple[int, ...]]) -> None:
    """PeftError for a tensor of another shape."""
    for word, shape in shapes.items():
        if tensors[word].shape != shape:
            raise PeftError(f"{name}.{word} has shape {tensors[word].shape}, not {shape}; is it of another model?")


def put(variable: Any, layer: int | None, value: Any) -> None:
    """Set a parameter, or its row for one layer."""
    whole, value = variable[...], jnp.asarray(value, jnp.float32)
    variable[...] = value.reshape(whole.shape) if layer is None else whole.at[layer].set(value)
