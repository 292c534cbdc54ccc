"""Tuning on a finished model: attached, told apart, folded into its weights, taken away."""

from typing import Any, TypeVar

import jax
from flax import nnx
from jaxtyping import Array

from model.peft.ada_lora import AdaLoRA
from model.peft.bit_fit import BitFit
from model.peft.bottleneck import BottleneckAdapter
from model.peft.frozen import COMPACT, dequantize, full_linear
from model.peft.ia3 import IA3
from model.peft.lora import LoRA
from model.peft.prefix import PrefixTuning
from model.peft.prompt import PromptTuning
from model.peft.sites import FROZEN, WORDS, PeftError, at, stack_at, tuned_modules, unhang

# Of what no weights can do: the tuning by the word that hangs, and what else can be done with a run of it.
KINDS = {"adapter": "bottleneck_adapter", "prefix": "prefix_tuning", "prompt": "prompt_tuning"}
OWN = "train.evaluate, train.generate and Run.predict open the run folder itself"
KEEP = {"adapter": OWN, "prefix": OWN, "prompt": "train.export --adapter writes it by itself"}

M = TypeVar("M", bound=nnx.Module)
Peft = LoRA | AdaLoRA | IA3 | BitFit | BottleneckAdapter | PrefixTuning | PromptTuning


def attach(model: M, choice: Peft, rngs: nnx.Rngs) -> M:
    """A copy of a model with what `choice` adds; it shares the arrays of the model, which is left as it was.

    The parameters of the model keep their paths. May be traced. DoRA and quantised kernels are functions of the weights, so
    these must be there already: load first, attach then. SiteError where a pattern of its sites selects nothing.
    """
    if added_paths(model):
        raise PeftError("this model is tuned already; merge or detach what it has first")
    copy = copied(model)
    choice.tune(copy, rngs)
    return copy


def is_added(path: str) -> bool:
    """Whether the parameter at a dotted path is trained when a model is tuned: it was added, and is not fixed.

    >>> is_added("layers.attention.query.lora.a"), is_added("layers.attention.query.lora.scale")
    (True, False)
    >>> is_added("layers.attention.query.kernel")
    False
    """
    words = path.split(".")
    return words[-1] != FROZEN and any(word in WORDS for word in words[:-1])


def added_paths(model: nnx.Module) -> frozenset[str]:
    """The dotted paths of the trained parameters of a tuned model; none where nothing is attached."""
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return frozenset(path for path in (".".join(map(str, words)) for words, _ in flat) if is_added(path))


def detach(model: M) -> M:
    """A copy of a model without what was added: the base as it was, bit for bit. Kernels that were quantised stay so."""
    copy = copied(model)
    for _, module, _ in tuned_modules(copy):
        unhang(module)
    return copy


def merge(model: M) -> M:
    """A plain model with the outputs of a tuned one: what was added is folded into weights, in their type.

    Quantised kernels become float32, those too on which nothing hangs; PeftError for what no weights can do.
    """
    copy = copied(model)
    for path, module, part in tuned_modules(copy):
        if not hasattr(part, "merged"):
            where = ".".join(map(str, (*path, part.word)))
            raise PeftError(
                f"{where} ({KINDS[part.word]}) cannot be folded into weights; keep it attached: {KEEP[part.word]}"
            )
        graph, state = nnx.split(module)

        def fold(state: Any, graph=graph) -> dict[str, Array]:
            module: Any = nnx.merge(graph, state)
            return getattr(module, module.tuned).merged(module)

        stacked = stack_at(copy, path) is not None
        folded = (jax.vmap(fold) if stacked else fold)(state)
        unhang(module)
        if isinstance(module, COMPACT) and "kernel" in folded:
            bias = folded.get("bias", None if module.bias is None else module.bias[...])
            full = full_linear(folded["kernel"], bias, module.contracted, stacked)
            setattr(at(copy, path[:-1]), str(path[-1]), full)
            continue
        for name, value in folded.items():
            setattr(module, name, nnx.Param(value))
    dequantize(copy)
    return copy


def copied(model: M) -> M:
    """A copy with variables of its own, which hold the same arrays."""
    graph, state = nnx.split(model)
    return nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))
