"""An adapter as a folder that `peft` reads and writes: adapter_config.json and adapter_model.safetensors."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from model.config import choice_name
from model.foreign import read_json
from model.headers import read_header
from model.hub import BYTES, PICKLES, new_folder, opened, save_tensors, write_json
from model.peft.ada_lora import AdaLoRA
from model.peft.attaching import Peft, added_paths
from model.peft.ia3 import IA3
from model.peft.lora import LoRA
from model.peft.low_rank_layout import low_rank_adapter, read_low_rank
from model.peft.naming import ROOT, Base, base_of
from model.peft.places import Asked, Tensors
from model.peft.prompt import PromptTuning
from model.peft.sites import PeftError
from model.peft.vector_layout import prompt_adapter, read_prompt, read_rescaling, rescaling_adapter
from model.published import several

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


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
    fields, tensors = written(model, choice, inner)
    heads = {ROOT + name: np.asarray(value) for name, value in heads.items()}
    fields = {
        "base_model_name_or_path": base,
        "task_type": task,
        "inference_mode": True,
        "modules_to_save": sorted({name.removeprefix(ROOT).rpartition(".")[0] for name in heads}) or None,
        **fields,
    }
    temporary = new_folder(folder)
    try:
        write_json(temporary / CONFIG, fields)
        save_tensors(temporary / WEIGHTS, tensors | heads)
        return temporary.rename(Path(os.path.expanduser(folder)))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def written(model: nnx.Module, choice: Peft, base: Base) -> tuple[dict[str, Any], Tensors]:
    """The fields and tensors of an adapter; PeftError where `peft` has no such thing."""
    match choice:
        case LoRA() | AdaLoRA():
            return low_rank_adapter(model, choice, base)
        case IA3():
            return rescaling_adapter(model, base)
        case PromptTuning():
            return prompt_adapter(model, base)
    raise PeftError(
        f"peft has no form for {choice_name(type(choice))} as it is here; keep the checkpoint, or, where it can be, merge and "
        "export the model"
    )


def load_adapter(model: nnx.Module, folder: str | Path) -> Loaded:
    """Attach the adapter of a folder to the model that it was trained on. PeftError, one line, for what does not fit."""
    folder = Path(os.path.expanduser(folder))
    fields, tensors = open_adapter(folder)
    kind = fields.get("peft_type")
    if not isinstance(kind, str) or kind not in READERS:
        raise PeftError(f"{folder / CONFIG}: peft_type={kind!r} is not known; known are {', '.join(READERS)}")
    inner = base_of(model)
    kept = fields.get("modules_to_save") or []
    if not isinstance(kept, list) or not all(isinstance(name, str) and name for name in kept):
        raise PeftError(f"{folder / CONFIG}: modules_to_save={kept!r} should be a list of names")
    heads = {
        name.removeprefix(ROOT): tensor
        for name, tensor in tensors.items()
        if any(f".{module}." in f".{name}" for module in kept)
    }
    rest = {name: tensor for name, tensor in tensors.items() if name.removeprefix(ROOT) not in heads}
    try:
        tuned, choice = READERS[kind](model, inner, Asked(fields), rest)
    except ValueError as error:  # of a choice that takes no such value, too
        raise PeftError(f"{folder}: {error}") from error
    return Loaded(tuned, choice, heads)


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
    fields, header = read_json(folder / CONFIG, PeftError), read_header(folder / WEIGHTS)
    if strange := [f"{name} of {entry.kind}" for name, entry in header.items() if entry.kind not in BYTES]:
        raise PeftError(f"{folder / WEIGHTS} holds {several(strange)}, not {', '.join(BYTES)}; save it again with peft")
    with opened(folder / WEIGHTS) as file:
        return fields, {name: np.asarray(file.get_tensor(name)) for name in header}


READERS = {"LORA": read_low_rank, "IA3": read_rescaling, "PROMPT_TUNING": read_prompt}
