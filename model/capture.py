"""Named activations: a tap in the model, a plan of what to keep and to change, and a call under that plan.

A site is the path of a module and a word: `layers.3.attention.queries`. Outside of `captured` a tap returns its input while
the function is traced, so a compiled program holds nothing of it. Inside, the taps of a copy of the model carry a probe: it is
an argument of the trace like any other, never a global, so a plan is part of what a compiled program is keyed by, and the
values of changes are its inputs.
"""

import dataclasses
import difflib
import fnmatch
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Shaped

from model.stack import apart

M = TypeVar("M", bound=nnx.Module)
PROBE = "_probe"  # the attribute of a copy's modules by which their taps find it
LAYERS = "layers"

Operation = Literal["set", "add"]


class SiteError(ValueError):
    """A site that the model lacks, or that holds too much; one line with the remedy."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a call keeps and changes; static and hashable, so that programs are compiled once a plan."""

    keep: tuple[str, ...] = ()
    """Sites by name or pattern, * for anything."""
    edits: tuple[tuple[str, Operation], ...] = ()
    """Sites that are changed, and how; each brings a `Change`."""

    def keeps(self, site: str) -> bool:
        """Whether a site is kept.

        >>> Plan(("*.residual",)).keeps("layers.3.residual")
        True
        """
        return any(fnmatch.fnmatchcase(site, pattern) for pattern in self.keep)


class Change(NamedTuple):
    """How a site is changed: "set" puts `value` where `where` is true, "add" adds it there. Both broadcast to the site."""

    where: Bool[Array, "..."]
    value: Shaped[Array, "..."]


class Probe:
    """What the taps of one call do, and what they saw."""

    def __init__(self, plan: Plan, changes: Sequence[Change]):
        self.plan, self.changes = plan, tuple(changes)
        self.passed: list[str] = []
        self.kept: dict[str, Array] = {}

    def wants(self, site: str) -> bool:
        """Whether anything is done at a site, which is thereby known to exist."""
        self.passed.append(site)
        return self.plan.keeps(site) or any(site == edited for edited, _ in self.plan.edits)

    def see(self, site: str, value: Array) -> tuple[Array, bool]:
        """The value after the edits of its site, and whether there were any."""
        changed = False
        for (edited, operation), change in zip(self.plan.edits, self.changes, strict=True):
            if edited == site:
                value, changed = apply(operation, value, change), True
        if self.plan.keeps(site):
            self.kept[site] = value
        return value, changed

    def check(self) -> None:
        """SiteError if a pattern of the plan, or an edit, met no site."""
        for pattern in self.plan.keep:
            if not any(fnmatch.fnmatchcase(site, pattern) for site in self.passed):
                raise no_such_site(pattern, self.passed)
        for site, _ in self.plan.edits:
            if site not in self.passed:
                raise no_such_site(site, self.passed)


class Place:
    """A probe at one module: the names that it goes by, one for each time that it is called."""

    def __init__(self, probe: Probe, names: tuple[str, ...]):
        self.probe, self.names = probe, names
        self.calls: dict[str, int] = {}

    def site(self, word: str) -> str:
        """The name of a tap, in this call of the module."""
        turn = self.calls[word] = self.calls.get(word, -1) + 1
        return ".".join(filter(None, [self.names[min(turn, len(self.names) - 1)], word]))


def tap(module: nnx.Module, word: str, value: Array) -> Array:
    """Let a capture see, and perhaps change, `value` as the site `word` of `module`."""
    place: Place | None = getattr(module, PROBE, None)
    if place is None:
        return value
    site = place.site(word)
    return place.probe.see(site, value)[0] if place.probe.wants(site) else value


def tap_made(module: nnx.Module, word: str, make: Callable[[], Array], *, again: bool = False) -> Array | None:
    """A site that nothing in the model needs, such as the weights beside a fused kernel: made only where a capture asks.

    Returns its value where that was changed, or where it is needed `again` since what it is made of was; otherwise None.
    """
    place: Place | None = getattr(module, PROBE, None)
    if place is None:
        return None
    site = place.site(word)
    if not place.probe.wants(site):
        return make() if again else None
    value, changed = place.probe.see(site, make())
    return value if changed or again else None


def captured(
    model: M, call: Callable[[M], Any], plan: Plan = Plan(("*",)), changes: Sequence[Change] = ()
) -> tuple[Any, dict[str, Array]]:
    """Run `call(model)` under a plan: (result, {site: value}), the sites in the order in which they arise.

    Stacked layers are run one by one, to the same values, so that each has sites of its own: `layers.0.mlp.inner`,
    `layers.1.mlp.inner`, ... May be jitted with the model's parameters, and the changes, as arguments. The model is left as it
    was. SiteError for patterns and edits that meet no site; it names the nearest ones.
    """
    probe = Probe(plan, changes)
    result = call(probed(model, probe))
    probe.check()
    return result, probe.kept


def probed(model: M, probe: Probe) -> M:
    """A copy of a model whose layers stand apart and whose taps carry `probe`."""
    copy: Any = nnx.merge(*nnx.split(model))
    modules: list[Any] = [module for _, module in nnx.iter_modules(copy)]
    for stack in [module for module in modules if not isinstance(getattr(module, LAYERS, []), list | nnx.List)]:
        stack.layers = apart(stack.layers, stack.num_layers)
    attach(copy, probe)
    return copy


def attach(model: nnx.Module, probe: Probe, *prefix: str) -> None:
    """Give every module its place at a probe. What two sides of a model share is called for the first, then the second."""
    sides = ("encoder", "decoder") if hasattr(model, "encoder") and hasattr(model, "decoder") else ()
    for path, module in nnx.iter_modules(model):
        words = [*prefix, *map(str, path)]
        shared = sides if sides and words[:1] == ["embeddings"] else ()
        names = tuple(".".join([side, *words]) for side in shared) or (".".join(words),)
        object.__setattr__(module, PROBE, Place(probe, names))


def apply(operation: Operation, value: Array, change: Change) -> Array:
    """A value after a change.

    >>> apply("add", jnp.zeros(3), Change(jnp.array([True, False, True]), jnp.ones(())))
    Array([1., 0., 1.], dtype=float32)
    """
    where, new = jnp.broadcast_to(change.where, value.shape), jnp.broadcast_to(change.value, value.shape)
    new = new.astype(value.dtype)
    return jnp.where(where, value + new if operation == "add" else new, value)


def no_such_site(wanted: str, sites: Sequence[str]) -> SiteError:
    """The error for a pattern that meets none of `sites`, with the nearest of them."""
    names = list(dict.fromkeys(sites))
    near = difflib.get_close_matches(wanted.replace("*", "0"), names, n=3, cutoff=0.3) or names[:3]
    return SiteError(f"this model has no site {wanted!r}; the nearest are {', '.join(near)}")


def shapes(model: nnx.Module, call: Callable[[Any], Any], plan: Plan = Plan(("*",))) -> dict[str, jax.ShapeDtypeStruct]:
    """The sites that a plan keeps as shapes and types, in the order in which they arise; nothing is computed."""
    graph, params = nnx.split(model)
    order: list[str] = []

    def kept(params):
        _, sites = captured(nnx.merge(graph, params), call, plan)
        order.extend(sites)
        return sites

    found = jax.eval_shape(kept, params)  # a dict that has been through JAX comes out sorted
    return {site: found[site] for site in order}


def matching(sites: Sequence[str], pattern: str) -> list[str]:
    """The sites that a pattern meets; SiteError with the nearest where it meets none."""
    found = [site for site in sites if fnmatch.fnmatchcase(site, pattern)]
    if not found:
        raise no_such_site(pattern, sites)
    return found
