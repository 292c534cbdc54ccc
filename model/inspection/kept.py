"""What a call kept, by site, and what it knows of it: what the axes mean, and which places are padding.

Texts of unequal length share arrays, the shorter ones padded. Whatever takes a mean, counts from the end or compares two runs
asks here which places are real, so that a text in a batch gives what it gives alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from model.capture import SiteError

AXES: dict[str, tuple[str, ...]] = {  # by the end of a site
    "attention.queries": ("example", "query", "head", "feature"),
    "attention.keys": ("example", "key", "kv_head", "feature"),
    "attention.values": ("example", "key", "kv_head", "feature"),
    "attention.scores": ("example", "head", "query", "key"),
    "attention.weights": ("example", "head", "query", "key"),
    "attention.mixed": ("example", "query", "head", "feature"),
    "attention.query.lora": ("example", "query", "head", "feature"),
    "attention.key.lora": ("example", "key", "kv_head", "feature"),
    "attention.value.lora": ("example", "key", "kv_head", "feature"),
    "mlp.up.lora": ("example", "position", "neuron"),
    "mlp.inner": ("example", "position", "neuron"),
    "token_head.output": ("example", "position", "token"),
    "pooler.output": ("example", "segment", "feature"),
}
PLACES = ("position", "query", "key")  # axes that run over the tokens of a text


def axes_of(site: str, ndim: int) -> tuple[str, ...]:
    """What the axes of a site mean.

    >>> axes_of("decoder.layers.0.cross_attention.weights", 4)
    ('example', 'head', 'query', 'key')
    >>> axes_of("layers.0.residual", 3)
    ('example', 'position', 'feature')
    """
    found = next((axes for end, axes in AXES.items() if site.endswith(end)), ("example", "position", "feature"))
    return found if len(found) == ndim else ("example", *(f"axis_{number}" for number in range(1, ndim)))


def on_source(site: str, axis: str) -> bool:
    """Whether an axis of a site runs over what an encoder-decoder's encoder reads.

    >>> on_source("decoder.layers.0.cross_attention.weights", "query"), on_source("encoder.layers.0.residual", "position")
    (False, True)
    """
    return site.startswith("encoder.") or ("cross_attention" in site and axis == "key")


def place_axis(site: str, ndim: int) -> int:
    """The axis of a site that runs over places of the text, of those who look where there are two; SiteError without one."""
    axes = axes_of(site, ndim)
    for name in PLACES:
        if name in axes:
            return axes.index(name)
    raise SiteError(f"{site} has no positions, its axes are {', '.join(axes)}; leave positions out")


class Kept(dict[str, Any]):
    """Values by site, or their shapes, with the segments of the texts that they are of; segment 0 is padding.

    Attributes:
        segments: [B T], or None where nothing is padded, as for images.
        source_segments: [B S], those of an encoder's side, or None.
    """

    def __init__(self, values: Mapping[str, Any], segments: Any = None, source_segments: Any = None):
        super().__init__(values)
        self.segments = None if segments is None else np.asarray(segments)
        self.source_segments = None if source_segments is None else np.asarray(source_segments)

    def real(self, site: str, axis: str = "position") -> Bool[np.ndarray, "B T"] | None:
        """Which places of each example are text along an axis of a site; None where that is not known."""
        segments = self.source_segments if on_source(site, axis) and self.source_segments is not None else self.segments
        return None if segments is None else segments > 0


def real_places(values: Mapping[str, Any], site: str) -> Bool[np.ndarray, "B T"] | None:
    """Which places of a site are text, where `values` know it; None is all of them."""
    if not isinstance(values, Kept) or site not in values:
        return None
    ndim = len(values[site].shape)
    real = values.real(site, axes_of(site, ndim)[place_axis(site, ndim)])
    return None if real is None or real.shape[1] != values[site].shape[place_axis(site, ndim)] else real


def mean_of_places(values: Mapping[str, Any], site: str) -> np.ndarray:
    """The mean of a site over examples and places, padding left out; both axes are kept, of size one."""
    array = np.asarray(values[site])
    axis, real = place_axis(site, array.ndim), real_places(values, site)
    if real is None:
        return array.mean(axis=(0, axis), keepdims=True)
    counted = real.reshape(len(real), *(real.shape[1] if number == axis else 1 for number in range(1, array.ndim)))
    return array.mean(axis=(0, axis), keepdims=True, where=counted)
