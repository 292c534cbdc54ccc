"""Attention maps of one text, with the words that they are about: what measures and pictures of attention take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from model.capture import SiteError

Kind = Literal["encoder", "decoder", "cross"]


@dataclass(frozen=True)
class AttentionMaps:
    """The attention of some layers and heads in one text.

    Attributes:
        weights: float32 [L N T S]; each row of S sums to one, or to less where a head has a sink of its own.
        queries: T words, who looks.
        keys: S words, who is looked at; the same as `queries` but in cross attention.
        layers: the number of each of the L layers in the model.
        heads: the number of each of the N heads.
        kind: self attention of an encoder, of a decoder (nothing above the diagonal), or cross attention.
        title: what to call it, as a prompt or the step of a checkpoint.
    """

    weights: np.ndarray
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    kind: Kind = "encoder"
    title: str = ""

    def __post_init__(self):
        shape = (len(self.layers), len(self.heads), len(self.queries), len(self.keys))
        if self.weights.shape != shape:
            raise ValueError(f"weights of shape {self.weights.shape} do not fit {shape}: layers, heads, queries, keys")

    def part(self, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None) -> "AttentionMaps":
        """Some of the layers and heads, by their numbers in the model; SiteError for one that is not there."""
        chosen = []
        for name, wanted, there in (("layer", layers, self.layers), ("head", heads, self.heads)):
            numbers = there if wanted is None else tuple(wanted)
            if missing := [number for number in numbers if number not in there]:
                raise SiteError(f"there is no {name} {missing[0]} here; there are {', '.join(map(str, there))}")
            chosen.append((numbers, [there.index(number) for number in numbers]))
        (layer_numbers, rows), (head_numbers, columns) = chosen
        weights = self.weights[np.ix_(rows, columns)]
        return AttentionMaps(weights, self.queries, self.keys, layer_numbers, head_numbers, self.kind, self.title)
