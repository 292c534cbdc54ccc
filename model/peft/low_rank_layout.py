"""LoRA, rsLoRA and DoRA in the layout of `peft`, both ways.

Maps that lie in one published matrix, such as GPT-2's queries, keys and values, are one LoRA there. Out: A holds theirs one below
the other, B has theirs as blocks; alpha grows with the rank, so that s stays. In: they share its A, each with its own rows of B.
"""

import collections
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from model.peft.ada_lora import AdaLoRA
from model.peft.attaching import attach
from model.peft.lora import LoRA, LowRank, lengths
from model.peft.naming import ROOT, Base, Part, map_of, published_name, read, sides_of, write
from model.peft.patterns import Patterns
from model.peft.places import Asked, Tensors, acts, check, place, put, sites_of, tuned_maps
from model.peft.sites import PeftError, at


def low_rank_adapter(model: nnx.Module, choice: LoRA | AdaLoRA, base: Base) -> tuple[dict[str, Any], Tensors]:
    """The fields and tensors of LoRA, rsLoRA and DoRA; those of AdaLoRA as the LoRA that it is, its energies in A."""
    if isinstance(choice, AdaLoRA):
        choice = LoRA(choice.rank, choice.alpha, choice.dropout, choice.sites)
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
        theirs, flipped = factors_of(maps, base)
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
        "lora_alpha": number_of(alpha),
        "rank_pattern": {name: own for name, own in ranks.items() if own != rank},
        "alpha_pattern": {name: number_of(own) for name, own in alphas.items() if own != alpha},
        "lora_dropout": choice.dropout,
        "target_modules": list(ranks),
        "use_rslora": choice.rank_stabilised,
        "use_dora": choice.decomposed,
        "init_lora_weights": True if choice.initial == "uniform" else "gaussian",
        "fan_in_fan_out": transposed == {True},
        "bias": "none",
    }
    return fields, tensors


def factors_of(maps: list[tuple[Any, Part, Any]], base: Base) -> tuple[Tensors, bool]:
    """A, B and DoRA's lengths of one published matrix, and whether it is stored (in, out)."""
    sides = [sides_of(linear, part.row, base) for linear, part, _ in maps]
    above, blocks, found = [], [], []
    for (linear, part, low), side in zip(maps, sides, strict=True):
        if acts(low):
            a, b, _ = low.factors()
            rank = b.shape[0]
            sizes = {**side.sizes, "R": rank}
            above.append(write(side.a, a, sizes))
            block = np.zeros((side.parts * side.width, rank), np.float32)
            block[part.row.part * side.width :][: side.width] = write(side.b, b, sizes)
            blocks.append(block)
        # What is not tuned keeps its lengths, so that its gain is one.
        own = low.magnitude[...] if acts(low) and low.magnitude is not None else None
        own = lengths(linear.full_kernel(), linear.contracted) if own is None else own
        found.append(write(side.outputs, own, side.sizes))
    tensors = {"lora_A.weight": np.concatenate(above), "lora_B.weight": np.concatenate(blocks, axis=1)}
    if any(acts(low) and low.magnitude is not None for _, _, low in maps):
        tensors["lora_magnitude_vector"] = np.concatenate(found)
    return tensors, sides[0].transposed


def number_of(value: float) -> int | float:
    """A whole number as such: alpha stands so in `peft`'s files."""
    return round(value) if abs(value - round(value)) < 1e-4 else value


def read_low_rank(model: nnx.Module, base: Base, asked: Asked, tensors: Tensors) -> tuple[nnx.Module, LoRA]:
    """A model with LoRA, rsLoRA or DoRA from the tensors of `peft`.

    Where ranks differ between layers, smaller ones are filled up with zeros, which changes nothing.
    """
    if asked.take("bias", "none") != "none":
        raise PeftError(f"bias={asked.fields['bias']!r} changes weights of the base; only 'none' is supported")
    stabilised, decomposed = asked.take("use_rslora", False), asked.take("use_dora", False)
    alpha, usual = float(asked.take("lora_alpha", 8.0)), asked.take("r", 8)
    patterns = Patterns(asked.take("alpha_pattern", {}))
    asked.take("rank_pattern", {})  # the ranks are those of the tensors
    dropped = float(asked.take("lora_dropout", 0.0))
    asked.finish()
    words = ("lora_A.weight", "lora_B.weight", *(("lora_magnitude_vector",) if decomposed else ()))
    found = place(model, base, tensors, words)
    for name, _, theirs in found:
        if theirs["lora_A.weight"].ndim != 2 or not len(theirs["lora_A.weight"]):
            raise PeftError(f"{name}.lora_A.weight has shape {theirs['lora_A.weight'].shape}, not (rank, inputs)")
    choice = LoRA(
        # Where every map has a rank of its own in rank_pattern, r may be any number.
        rank=min(usual, max(len(theirs["lora_A.weight"]) for _, _, theirs in found)),
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
        own = patterns.value(name, alpha)
        put(low.scale, part.layer, np.float32(own / (math.sqrt(rank) if stabilised else rank)))
        if decomposed:
            check(name, theirs, {"lora_magnitude_vector": (outputs,)})
            put(low.magnitude, part.layer, read(sides.outputs, theirs["lora_magnitude_vector"][mine], sides.sizes))
    return tuned, choice
