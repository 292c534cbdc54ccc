"""An adapter as `peft` reads it: adapter_config.json, and adapter_model.safetensors under the published names."""

import collections
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from model.hub import new_folder, save_tensors, write_json
from model.peft.attaching import Peft, added_paths
from model.peft.lora import LoRA, LowRank, lengths
from model.peft.naming import ROOT, Base, Part, base_of, map_of, parts_of, published_name, sides_of, write
from model.peft.sites import PeftError, tuned_modules

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
Tensors = dict[str, np.ndarray]


def save_adapter(
    model: nnx.Module,
    choice: Peft,
    folder: str | Path,
    *,
    base: str | None = None,
    task: str | None = None,
    heads: Mapping[str, np.ndarray] = {},
) -> Path:
    """Write what was attached to a model; `folder` must be new or empty.

    `base` is the name or folder of the published model beneath, as `peft` wants to know it, and `task` its word for the class
    of the model (SEQ_CLS, CAUSAL_LM, ...). `heads` are trained tensors beside the adapter by their published names, such as
    `classifier.weight`. PeftError for what `peft` has no words for.
    """
    if not added_paths(model):
        raise PeftError("nothing is attached to this model, so that there is no adapter to save")
    inner = base_of(model)
    fields, tensors = low_rank_adapter(model, choice, inner)
    heads = {ROOT + name: np.asarray(value) for name, value in heads.items()}
    fields = {
        "base_model_name_or_path": base,
        "task_type": task,
        "inference_mode": True,
        "modules_to_save": sorted({name.removeprefix(ROOT).rpartition(".")[0] for name in heads}) or None,
        **fields,
    }
    temporary = new_folder(folder)
    write_json(temporary / CONFIG, fields)
    save_tensors(temporary / WEIGHTS, tensors | heads)
    return temporary.rename(Path(folder).expanduser())


def low_rank_adapter(model: nnx.Module, choice: LoRA, base: Base) -> tuple[dict[str, Any], Tensors]:
    """The fields and tensors of LoRA, rsLoRA and DoRA.

    Maps that lie in one published matrix, such as GPT-2's queries, keys and values, become one LoRA of their ranks together: A
    holds theirs one below the other, B has theirs as blocks. Its alpha grows with the rank, so that s stays.
    """
    tensors: Tensors = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    transposed = set()
    for name, maps in tuned_maps(model, base, LowRank.word).items():
        strengths = {float(low.scale[...]) for _, _, low in maps if acts(low)}
        if len(strengths) > 1:
            raise PeftError(f"{name} is one matrix as published, and cannot have the scalings {sorted(strengths)}")
        if not strengths:
            continue
        theirs, flipped = _factors(maps, base)
        key, rank = published_name(name, base), theirs["lora_A.weight"].shape[0]
        tensors |= {f"{key}.{word}": tensor for word, tensor in theirs.items()}
        key = key.removeprefix(ROOT)
        ranks[key], alphas[key] = rank, strengths.pop() * (math.sqrt(rank) if choice.rank_stabilised else rank)
        transposed.add(flipped)
    if len(transposed) > 1:
        raise PeftError("some of these maps are stored (in, out) as published and others (out, in); save them apart")
    rank, alpha = (collections.Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    fields = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": _number(alpha),
        "rank_pattern": {name: own for name, own in ranks.items() if own != rank},
        "alpha_pattern": {name: _number(own) for name, own in alphas.items() if own != alpha},
        "lora_dropout": choice.dropout,
        "target_modules": list(ranks),
        "use_rslora": choice.rank_stabilised,
        "use_dora": choice.decomposed,
        "init_lora_weights": True if choice.initial == "uniform" else "gaussian",
        "fan_in_fan_out": transposed == {True},
        "bias": "none",
    }
    return fields, tensors


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


def _factors(maps: list[tuple[Any, Part, Any]], base: Base) -> tuple[Tensors, bool]:
    """A, B and DoRA's lengths of one published matrix, and whether it is stored (in, out)."""
    sides = [sides_of(linear, part.row, base) for linear, part, _ in maps]
    above, blocks, found = [], [], []
    for (linear, part, low), side in zip(maps, sides, strict=True):
        if acts(low):
            rank = low.b.shape[0]
            sizes = {**side.sizes, "R": rank}
            above.append(write(side.a, low.a[...], sizes))
            block = np.zeros((side.parts * side.width, rank), np.float32)
            block[part.row.part * side.width :][: side.width] = write(side.b, low.b[...], sizes)
            blocks.append(block)
        # What is not tuned keeps its lengths, so that its gain is one.
        own = low.magnitude[...] if acts(low) and low.magnitude is not None else None
        own = lengths(linear.full_kernel(), linear.contracted) if own is None else own
        found.append(write(side.outputs, own, side.sizes))
    tensors = {"lora_A.weight": np.concatenate(above), "lora_B.weight": np.concatenate(blocks, axis=1)}
    if any(acts(low) and low.magnitude is not None for _, _, low in maps):
        tensors["lora_magnitude_vector"] = np.concatenate(found)
    return tensors, sides[0].transposed


def _number(value: float) -> int | float:
    """A whole number as such: alpha stands so in `peft`'s files."""
    return round(value) if abs(value - round(value)) < 1e-4 else value
