"""Changes to what a model computes: heads, MLPs and positions taken away, vectors added, values put in from another run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from model.capture import Change, Operation, SiteError
from model.inspection.kept import mean_of_places, place_axis, real_places

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
    positions: Sequence[int] | None = None,
    instead: Instead = "zero",
    reference: Mapping[str, Values] | None = None,
    side: str = "",
    cross: bool = False,
) -> list[Edit]:
    """What heads, (layer, head) each, write into the stream: nothing, their mean in a reference, or what they wrote there.

    Args:
        heads: numbers in the model.
        sites: the shapes of the model's sites, as `model.inspection.calls.sites` gives them.
        positions: where, as in `without`; None is everywhere.
        instead: "zero", or "mean" over examples and places of `reference`, padding left out, or "resample" its values as they
            are, those of one text for all or of as many texts.
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
        where = at_positions(site, sites, positions) & np.isin(np.arange(number), chosen)[None, None, :, None]
        edits.append(Edit(site, where, _stand_in(site, instead, reference, sites)))
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
    _shape(site, sites, site)
    return Edit(site, at_positions(site, sites, positions), _stand_in(site, instead, reference, sites))


def steered(site: str, vector: np.ndarray, sites: Mapping[str, Any], *, positions: Sequence[int] | None = None) -> Edit:
    """A vector added to a site, everywhere or at some positions (Turner et al., arXiv:2308.10248)."""
    shape, vector = _shape(site, sites, site), np.asarray(vector, np.float32)
    if vector.shape[-1:] != shape[-1:]:
        raise SiteError(f"a vector of {vector.shape} cannot be added to {site}, which has {shape[-1]} features")
    return Edit(site, at_positions(site, sites, positions), vector, "add")


def patched(
    site: str, source: Mapping[str, Values], sites: Mapping[str, Any], *, positions: Sequence[int] | None = None
) -> Edit:
    """The value that a site had in another run, everywhere or at some positions; of one text for all, or of as many texts."""
    _shape(site, sites, site)
    return Edit(site, at_positions(site, sites, positions), _stand_in(site, "resample", source, sites))


def at_positions(site: str, sites: Mapping[str, Any], positions: Sequence[int] | None) -> np.ndarray:
    """Where some positions of a site are, negative ones counted from the end of each text; None is everywhere.

    >>> at_positions("layers.0.residual", {"layers.0.residual": np.zeros((1, 3, 8))}, [-1])[0, :, 0]
    array([False, False,  True])
    """
    shape = tuple(sites[site].shape)
    if positions is None:
        return np.ones((1,) * len(shape), bool)
    axis, real = place_axis(site, len(shape)), real_places(sites, site)
    texts = np.ones((1, shape[axis]), bool) if real is None else real
    where = np.zeros(texts.shape, bool)
    for row, places in zip(where, map(np.flatnonzero, texts), strict=True):
        if wrong := [position for position in positions if not -len(places) <= position < len(places)]:
            raise SiteError(
                f"there is no position {wrong[0]}; the text has {len(places)} tokens, 0 to {len(places) - 1}"
            )
        row[places[list(positions)]] = True
    return where.reshape(len(where), *(shape[axis] if number == axis else 1 for number in range(1, len(shape))))


def _shape(site: str, sites: Mapping[str, Any], said: str) -> tuple[int, ...]:
    if site not in sites:
        layers = {name[: name.rindex(".")] for name in sites if name.endswith(site.rpartition(".")[2])}
        raise SiteError(
            f"this model has no {said}: there is no site {site}; there are {', '.join(sorted(layers)[:4])}, ..."
        )
    return tuple(sites[site].shape)


def _stand_in(
    site: str, instead: Instead, reference: Mapping[str, Values] | None, sites: Mapping[str, Any]
) -> np.ndarray:
    """What replaces a site."""
    if instead == "zero":
        return np.zeros((), np.float32)
    if instead not in ("mean", "resample"):
        raise SiteError(f"instead={instead!r} is unknown; use 'zero', 'mean' or 'resample'")
    if reference is None or site not in reference:
        raise SiteError(
            f"instead={instead!r} needs a reference that kept {site}; inspect another text with keep=[{site!r}]"
        )
    if instead == "mean":
        return mean_of_places(reference, site)
    check_same_places(site, reference, sites)
    return np.asarray(reference[site])


def check_same_places(site: str, source: Mapping[str, Any], sites: Mapping[str, Any]) -> None:
    """SiteError where a site of another run cannot stand in for that of this one: other sizes, other numbers of texts, or texts
    of other lengths within arrays of the same size."""
    there, here = tuple(source[site].shape), tuple(sites[site].shape)
    if there[1:] != here[1:]:
        raise SiteError(f"{site} was {there[1:]} in the other run and is {here[1:]} here; use texts of equal length")
    if there[0] not in (1, here[0]):
        raise SiteError(f"{site} is of {there[0]} texts in the other run and of {here[0]} here; pass one, as .of(0)")
    real_there, real_here = real_places(source, site), real_places(sites, site)
    if real_there is None or real_here is None:
        return
    apart = np.flatnonzero((real_there != real_here).any(1))
    if len(apart):
        row = int(apart[0])
        lengths = [int(real[min(row, len(real) - 1)].sum()) for real in (real_there, real_here)]
        raise SiteError(
            f"{site}: text {row} has {lengths[0]} tokens in the other run and {lengths[1]} here; use texts of equal length"
        )
