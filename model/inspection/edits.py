"""Changes to what a model computes: heads, MLPs and positions taken away, vectors added, values put in from another run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from model.capture import Change, Operation, SiteError

Instead = Literal["zero", "mean", "resample"]
Values = np.ndarray | jax.Array


@dataclass(frozen=True, eq=False)
class Edit:
    """One change at one site; `where` and `value` broadcast to the activation, examples first."""

    site: str
    where: np.ndarray
    value: np.ndarray
    operation: Operation = "set"

    @property
    def place(self) -> tuple[str, Operation]:
        """Site and operation, as a plan takes them."""
        return self.site, self.operation

    @property
    def change(self) -> Change:
        """What the compiled program takes."""
        return Change(jnp.asarray(self.where), jnp.asarray(self.value, jnp.float32))


def without_heads(
    heads: Sequence[tuple[int, int]],
    sites: Mapping[str, Any],
    *,
    instead: Instead = "zero",
    reference: Mapping[str, Values] | None = None,
    side: str = "",
    cross: bool = False,
) -> list[Edit]:
    """What heads, (layer, head) each, write into the stream: nothing, their mean in a reference, or what they wrote there.

    Args:
        heads: numbers in the model.
        sites: the shapes of the model's sites, as `model.inspection.calls.sites` gives them.
        instead: "zero", or "mean" over examples and places of `reference`, or "resample" its values as they are.
        reference: activations of another run, `layers.*.attention.mixed` among them.
        side: "encoder" or "decoder" where a model has both.
        cross: heads of cross attention.

    Raises:
        SiteError: no such layer or head; it says what there is.
    """
    edits = []
    for layer in sorted({layer for layer, _ in heads}):
        chosen = [head for number, head in heads if number == layer]
        site = ".".join(filter(None, [side, f"layers.{layer}", "cross_attention" if cross else "attention", "mixed"]))
        number = _shape(site, sites, f"layer {layer}")[2]
        if wrong := [head for head in chosen if not 0 <= head < number]:
            raise SiteError(f"there is no head {wrong[0]} in layer {layer}; its heads are 0 to {number - 1}")
        edits.append(
            Edit(site, np.isin(np.arange(number), chosen)[None, None, :, None], _stand_in(site, instead, reference))
        )
    return edits


def without(
    site: str,
    sites: Mapping[str, Any],
    *,
    positions: Sequence[int] | None = None,
    instead: Instead = "zero",
    reference: Mapping[str, Values] | None = None,
) -> Edit:
    """A whole site, as `layers.2.mlp.output`, or some of its positions, replaced as in `without_heads`."""
    shape = _shape(site, sites, site)
    return Edit(site, at_positions(shape, positions), _stand_in(site, instead, reference))


def steered(site: str, vector: np.ndarray, sites: Mapping[str, Any], *, positions: Sequence[int] | None = None) -> Edit:
    """A vector added to a site, everywhere or at some positions (Turner et al., arXiv:2308.10248)."""
    shape, vector = _shape(site, sites, site), np.asarray(vector, np.float32)
    if vector.shape[-1:] != shape[-1:]:
        raise SiteError(f"a vector of {vector.shape} cannot be added to {site}, which has {shape[-1]} features")
    return Edit(site, at_positions(shape, positions), vector, "add")


def patched(
    site: str, source: Mapping[str, Values], sites: Mapping[str, Any], *, positions: Sequence[int] | None = None
) -> Edit:
    """The value that a site had in another run, everywhere or at some positions."""
    shape = _shape(site, sites, site)
    value = _stand_in(site, "resample", source)
    if value.shape[1:] != shape[1:]:
        raise SiteError(
            f"{site} was {value.shape[1:]} in the other run and is {shape[1:]} here; use texts of equal length"
        )
    return Edit(site, at_positions(shape, positions), value)


def at_positions(shape: Sequence[int], positions: Sequence[int] | None) -> np.ndarray:
    """Where some positions of a site [B T ...] are, negative ones counted from the end; None is everywhere.

    >>> at_positions((1, 3, 8), [-1])[0, :, 0]
    array([False, False,  True])
    """
    if positions is None:
        return np.ones((1,) * len(shape), bool)
    length = shape[1]
    if wrong := [position for position in positions if not -length <= position < length]:
        raise SiteError(f"there is no position {wrong[0]}; the text has {length} tokens, 0 to {length - 1}")
    where = np.zeros(length, bool)
    where[[position % length for position in positions]] = True
    return where.reshape(1, length, *(1,) * (len(shape) - 2))


def _shape(site: str, sites: Mapping[str, Any], said: str) -> tuple[int, ...]:
    if site not in sites:
        layers = {name[: name.rindex(".")] for name in sites if name.endswith(site.rpartition(".")[2])}
        raise SiteError(
            f"this model has no {said}: there is no site {site}; there are {', '.join(sorted(layers)[:4])}, ..."
        )
    return tuple(sites[site].shape)


def _stand_in(site: str, instead: Instead, reference: Mapping[str, Values] | None) -> np.ndarray:
    if instead == "zero":
        return np.zeros((), np.float32)
    if instead not in ("mean", "resample"):
        raise SiteError(f"instead={instead!r} is unknown; use 'zero', 'mean' or 'resample'")
    if reference is None or site not in reference:
        raise SiteError(
            f"instead={instead!r} needs a reference that kept {site}; inspect another text with keep=[{site!r}]"
        )
    value = np.asarray(reference[site])
    return value.mean(axis=(0, 1), keepdims=True) if instead == "mean" else value
