"""IA3 and prompts in the layout of `peft`, both ways: vectors, and no matrices."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from model.decoder import LanguageModel
from model.encoder import Encoder
from model.peft.attaching import attach
from model.peft.ia3 import IA3, Rescaling
from model.peft.naming import ROOT, Base, map_of, published_name, read, sides_of, write
from model.peft.places import Asked, Tensors, acts, check, place, put, sites_of, tuned_maps
from model.peft.prompt import Prompt, PromptTuning
from model.peft.sites import PeftError, at, tuned_modules


def rescaling_adapter(model: nnx.Module, base: Base) -> tuple[dict[str, Any], Tensors]:
    """The fields and tensors of IA3. Outputs of a fused matrix that are not scaled have ones."""
    tensors: Tensors = {}
    inward, targets, transposed = [], [], set()
    for name, maps in tuned_maps(model, base, Rescaling.word).items():
        hung = [part for _, _, part in maps if acts(part)]
        if not hung:
            continue
        sides = [sides_of(linear, part.row, base) for linear, part, _ in maps]
        key = published_name(name, base)
        targets.append(key.removeprefix(ROOT))
        transposed.add(sides[0].transposed)
        if any(part.inputs is not None for part in hung):
            if len(maps) > 1:
                raise PeftError(f"{name} is one matrix as published, whose inputs cannot be scaled for a part of it")
            inward.append(targets[-1])
            tensors[f"{key}.ia3_l"] = write(sides[0].inputs, hung[0].inputs[...], sides[0].sizes)[None]
            continue
        vectors = [
            write(side.outputs, part.outputs[...], side.sizes) if acts(part) else np.ones(side.width, np.float32)
            for side, (_, _, part) in zip(sides, maps, strict=True)
        ]
        tensors[f"{key}.ia3_l"] = np.concatenate(vectors)[:, None]
    fields = {
        "peft_type": "IA3",
        "target_modules": targets,
        "feedforward_modules": inward,
        "fan_in_fan_out": transposed == {True},
        "init_ia3_weights": True,
    }
    return fields, tensors


def read_rescaling(model: nnx.Module, base: Base, asked: Asked, tensors: Tensors) -> tuple[nnx.Module, IA3]:
    """A model with IA3 from the tensors of `peft`, whose shape says whether they scale inputs or outputs."""
    asked.take("feedforward_modules", [])
    asked.finish()
    found = place(model, base, tensors, ("ia3_l",))
    before = [part for _, part, theirs in found if theirs["ia3_l"].shape[0] == 1]
    choice = IA3(sites_of(model, [part for _, part, _ in found]), sites_of(model, before))
    tuned = attach(model, choice, nnx.Rngs(0))
    for name, part, theirs in found:
        sides, hung = sides_of(map_of(model, part), part.row, base), at(tuned, part.path).ia3
        if hung.inputs is not None:
            check(name, theirs, {"ia3_l": (1, math.prod(sides.inputs.published_shape(sides.sizes)))})
            put(hung.inputs, part.layer, read(sides.inputs, theirs["ia3_l"][0], sides.sizes))
            continue
        check(name, theirs, {"ia3_l": (sides.parts * sides.width, 1)})
        mine = slice(part.row.part * sides.width, (part.row.part + 1) * sides.width)
        put(hung.outputs, part.layer, read(sides.outputs, theirs["ia3_l"][mine, 0], sides.sizes))
    return tuned, choice


def prompt_adapter(model: nnx.Module, base: Base) -> tuple[dict[str, Any], Tensors]:
    """The fields and the tensor of a prompt."""
    (part,) = (part for _, _, part in tuned_modules(model) if isinstance(part, Prompt))
    config = base.architecture.config
    fields = {
        "peft_type": "PROMPT_TUNING",
        "num_virtual_tokens": part.embedding.shape[0],
        "token_dim": part.embedding.shape[1],
        "num_transformer_submodules": 1,
        "num_attention_heads": config.attention.num_heads,
        "num_layers": config.num_layers,
        "prompt_tuning_init": "RANDOM",
    }
    return fields, {"prompt_embeddings": np.asarray(part.embedding[...])}


def read_prompt(model: nnx.Module, base: Base, asked: Asked, tensors: Tensors) -> tuple[nnx.Module, PromptTuning]:
    """A model with the prompt of `peft`."""
    for name in ("num_virtual_tokens", "token_dim", "num_attention_heads", "num_layers", "num_transformer_submodules"):
        asked.take(name, 1)
    for name in ("prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path"):
        asked.take(name, "")
    asked.take("tokenizer_kwargs", {})
    asked.finish()
    if set(tensors) != {"prompt_embeddings"}:
        raise PeftError(f"a prompt is one tensor prompt_embeddings, not {', '.join(sorted(tensors)) or 'none'}")
    vectors, config = tensors["prompt_embeddings"], base.architecture.config
    check("the prompt", tensors, {"prompt_embeddings": (len(vectors), config.embedding_size or config.hidden_size)})
    choice = PromptTuning(len(vectors))
    tuned = attach(model, choice, nnx.Rngs(0))
    (part,) = (part for _, module, part in tuned_modules(tuned) if isinstance(module, Encoder | LanguageModel))
    part.embedding = nnx.Param(jnp.asarray(vectors, jnp.float32))
    return tuned, choice
