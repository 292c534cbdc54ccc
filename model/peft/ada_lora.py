"""AdaLoRA: a LoRA whose ranks are a budget, taken from the maps that need them least and left to those that need them most.

Each map has a product of rank R in the form of a singular value decomposition, W + s P diag(E) Q. Its triplets (a column of P,
an energy, a row of Q) of all maps are ranked together by importance as training goes on, and the energies of those beyond the
budget are set to zero. Everything here is a pure function of trees of parameters; train/rank_budget.py makes an optimizer of it.
Reference: Zhang et al., arXiv:2303.10512.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from model.linear import Linear
from model.peft.frozen import Base, quantize_base
from model.peft.lora import LowRank, check_rank
from model.peft.sites import PeftError, find, hang

Tree = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class AdaLoRA:
    """y = W x + s P diag(E) Q x, with E zero at the start and most of it zero in the end."""

    rank: int = 12
    """Triplets R of each map at the start; half more than in the end, as in the paper."""
    target_rank: int = 8
    """Triplets a map in the end, on average."""
    alpha: float = 16.0
    """s is alpha / R."""
    dropout: float = 0.0
    """Dropout on what Q reads, inside layers."""
    sites: str = "*.attention.*,*.mlp.*"
    """Linear maps by pattern, separated by commas, in all layers of a stack: which of them matter is what is learnt."""
    warmup_steps: int = 200
    """Steps before the budget begins to shrink."""
    final_steps: int = 200
    """Steps at the end in which it stays at its target."""
    every: int = 10
    """Steps between two rankings."""
    sensitivity_memory: float = 0.85
    """beta1, of the mean of the sensitivity."""
    uncertainty_memory: float = 0.85
    """beta2, of its variation."""
    penalty: float = 0.1
    """gamma, the weight of orthogonality in the loss."""
    base: Base = "float32"
    """How the frozen kernels of layers are kept."""

    def __post_init__(self):
        check_rank(self)
        if not 1 <= self.target_rank <= self.rank:
            raise ValueError(f"target_rank={self.target_rank} must lie in 1 ... rank={self.rank}")
        if self.every < 1:
            raise ValueError(f"every={self.every} must be at least 1")
        for name in ("warmup_steps", "final_steps", "penalty"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be 0 or more")
        for name in ("sensitivity_memory", "uncertainty_memory"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie between 0 and 1")

    def tune(self, model: nnx.Module, rngs: nnx.Rngs) -> None:
        """Hang it on the linear maps of a model, in place."""
        quantize_base(model, self.base)
        for found in find(model, self.sites, Linear):
            if found.on is not None and not all(found.on):
                raise PeftError(
                    f"AdaLoRA shares its ranks out among all layers of {found.name}; select every layer, with *, or use LoRA"
                )
            hang(found, lambda linear, key, on, name: Triplets(linear, self, key, on, name), rngs)


class Triplets(LowRank):
    """P, E and Q of one map: Q is kept as `a` [inputs, R], P as `b` [R, outputs], E as `energy` [R]."""

    def __init__(self, linear: Linear, choice: AdaLoRA, key: Array, on: Float[Array, ""], name: str):
        self.start(choice.dropout, name, on * (choice.alpha / choice.rank))
        shape, cut = linear.full_kernel().shape, linear.contracted
        one, other = jax.random.split(key)
        self.a = nnx.Param(0.02 * jax.random.normal(one, (*shape[:cut], choice.rank), jnp.float32))
        self.b = nnx.Param(0.02 * jax.random.normal(other, (choice.rank, *shape[cut:]), jnp.float32))
        self.energy = nnx.Param(jnp.zeros(choice.rank, jnp.float32))

    def factors(self) -> tuple[Array, Array, Array]:
        """Q with the energies in it, P and s."""
        return self.a[...] * self.energy[...].reshape((1,) * (self.a.ndim - 1) + (-1,)), self.b[...], self.scale[...]


def triplets_in(params: Tree) -> dict[str, Tree]:
    """The nodes {a, b, energy} of a tree of nested dicts, by their dotted paths."""
    found: dict[str, Tree] = {}
    for name, node in params.items():
        if isinstance(node, Mapping):
            inner = {"": node} if {"a", "b", "energy"} <= set(node) else triplets_in(node)
            found |= {f"{name}.{path}".rstrip("."): triplet for path, triplet in inner.items()}
    return found


def penalty(params: Tree) -> Float[Array, ""]:
    """sum over maps of |P^T P - I|^2 + |Q Q^T - I|^2, in float32; the loss has `AdaLoRA.penalty` times this (equation 4)."""
    total = jnp.zeros((), jnp.float32)
    for node in triplets_in(params).values():
        rows = node["energy"].shape  # [R], or [L, R]
        a, b = (node[name].astype(jnp.float32) for name in "ab")
        q = a.reshape(*rows[:-1], -1, rows[-1])
        p = b.reshape(*rows, -1)
        for gram in (jnp.einsum("...IR,...IK->...RK", q, q), jnp.einsum("...RO,...KO->...RK", p, p)):
            eye = jnp.eye(rows[-1]).reshape((1,) * (gram.ndim - 2) + gram.shape[-2:])
            total += jnp.square(gram - eye).sum()
    return total


class Sensitivity(NamedTuple):
    """Smoothed |w g| of every parameter, and how much it varies; both trees are like the parameters of triplets."""

    mean: dict[str, dict[str, Array]]
    spread: dict[str, dict[str, Array]]


def no_sensitivity(params: Tree) -> Sensitivity:
    """Zeros, before the first step."""
    zeros = {
        path: {name: jnp.zeros_like(node[name]) for name in sorted(node)} for path, node in triplets_in(params).items()
    }
    return Sensitivity(zeros, jax.tree.map(jnp.copy, zeros))


def sense(before: Sensitivity, params: Tree, gradients: Tree, choice: AdaLoRA) -> Sensitivity:
    """After one step more (equations 8 to 10):

    mean = beta1 mean + (1 - beta1) |w g|;   spread = beta2 spread + (1 - beta2) | |w g| - mean |
    """
    weights, slopes = triplets_in(params), triplets_in(gradients)
    mean, spread = {}, {}
    b1, b2 = choice.sensitivity_memory, choice.uncertainty_memory
    for path, node in before.mean.items():
        now = {name: jnp.abs(weights[path][name] * slopes[path][name]) for name in node}
        mean[path] = {name: b1 * node[name] + (1 - b1) * now[name] for name in node}
        spread[path] = {
            name: b2 * before.spread[path][name] + (1 - b2) * jnp.abs(now[name] - mean[path][name]) for name in node
        }
    return Sensitivity(mean, spread)


def importance(seen: Sensitivity) -> dict[str, Float[Array, "*L R"]]:
    """Of every triplet: s(energy) + mean of s over its column of P + mean of s over its row of Q, s = mean * spread
    (equations 7 and 11)."""
    scores = {}
    for path, node in seen.mean.items():
        s = {name: node[name] * seen.spread[path][name] for name in node}
        shape = s["energy"].shape
        a = s["a"].reshape(*shape[:-1], -1, shape[-1]).mean(-2)
        scores[path] = s["energy"] + a + s["b"].reshape(*shape, -1).mean(-1)
    return scores


def budget(step: Int[Array, ""] | int, total: int, choice: AdaLoRA, triplets: int) -> Int[Array, ""]:
    """How many of the `triplets` of a model are kept after `step` of `total` steps (equation 12).

        b = target + (start - target) (1 - (t - t_i) / (T - t_i - t_f))^3    between warmup and the final steps

    >>> choice = AdaLoRA(rank=12, target_rank=8, warmup_steps=100, final_steps=100)
    >>> [int(budget(step, 1_000, choice, 24)) for step in (50, 500, 900)]
    [24, 17, 16]
    """
    target = triplets * choice.target_rank // choice.rank
    room = max(total - choice.warmup_steps - choice.final_steps, 1)
    left = 1.0 - jnp.clip((jnp.asarray(step) - choice.warmup_steps) / room, 0.0, 1.0)
    return (target + jnp.round((triplets - target) * left**3)).astype(jnp.int32)


def kept(scores: Mapping[str, Float[Array, "*L R"]], count: Int[Array, ""]) -> dict[str, Bool[Array, "*L R"]]:
    """Which triplets are the `count` most important ones of all maps.

    >>> kept({"one": jnp.array([3.0, 1.0]), "two": jnp.array([0.0, 2.0])}, jnp.array(2))["two"].tolist()
    [False, True]
    """
    flat = jnp.concatenate([score.reshape(-1) for score in scores.values()])
    order = jnp.argsort(jnp.argsort(-flat))
    chosen, masks, start = order < count, {}, 0
    for path, score in scores.items():
        masks[path] = chosen[start : start + score.size].reshape(score.shape)
        start += score.size
    return masks


def map_energies(tree: Tree, change: Callable[[str, Array], Array]) -> dict[str, Any]:
    """A tree in which `change(path, energy)` takes the place of every energy."""

    def walk(node: Tree, above: str) -> dict[str, Any]:
        triplet = {"a", "b", "energy"} <= set(node)
        return {
            name: walk(value, f"{above}.{name}".lstrip("."))
            if isinstance(value, Mapping)
            else change(above, value)
            if triplet and name == "energy"
            else value
            for name, value in node.items()
        }

    return walk(tree, "")


def count_triplets(params: Tree) -> int:
    """How many triplets a tree of parameters holds."""
    return sum(math.prod(node["energy"].shape) for node in triplets_in(params).values())
