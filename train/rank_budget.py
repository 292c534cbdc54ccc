"""AdaLoRA in the optimizer: sensitivities gathered at every step, ranks beyond the budget set to zero."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from model.peft.ada_lora import (
    AdaLoRA,
    Sensitivity,
    budget,
    count_triplets,
    importance,
    kept,
    map_energies,
    no_sensitivity,
    sense,
)


class RankState(NamedTuple):
    """The state of the optimizer beneath, steps taken, and the sensitivities of triplets."""

    inner: Any
    step: Int[Array, ""]
    seen: Sensitivity


def with_rank_budget(
    inner: optax.GradientTransformation, choice: AdaLoRA, steps: int
) -> optax.GradientTransformationExtraArgs:
    """An optimizer that also keeps AdaLoRA's budget over a run of `steps` steps (arXiv:2303.10512, algorithm 1).

    Every `choice.every` steps, and at each of the final ones, the energies of the least important triplets become zero: their
    update is what takes them there. Between rankings they may grow again. Parameters are nested dicts, of which all but the
    triplets pass as they are.
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> RankState:
        return RankState(inner.init(params), jnp.zeros((), jnp.int32), no_sensitivity(params))

    def update(updates: Any, state: Any, params: Any = None, **told: Any) -> tuple[Any, RankState]:
        gradients = updates
        changed, moved = inner.update(gradients, state.inner, params, **told)
        seen, step = sense(state.seen, params, gradients, choice), state.step + 1
        scores = importance(seen)
        masks = kept(scores, budget(step, steps, choice, count_triplets(params)))
        ranks = (step > choice.warmup_steps) & ((step % choice.every == 0) | (step > steps - choice.final_steps))
        energies: dict[str, jax.Array] = {}
        map_energies(params, lambda path, energy: energies.setdefault(path, energy))

        def prune(path: str, moved: Array) -> Array:
            return jnp.where(ranks & ~masks[path], -energies[path], moved)

        return map_energies(cast(dict[str, Any], changed), prune), RankState(moved, step, seen)

    return optax.GradientTransformationExtraArgs(init, update)
