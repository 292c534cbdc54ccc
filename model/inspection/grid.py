"""A grid of patches as something to look at: values, words, what the metric was with and without all of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from model.inspection.named import NamedArray
from model.inspection.per_text import how_many


@dataclass(frozen=True, eq=False)
class PatchGrid:
    """The metric after one patch at a time, [layer, position] or [layer, head].

    Attributes:
        values: float32, as `patch_grid` gives them.
        clean: the metric of the run that values were taken from.
        corrupted: that of the run that they were put into.
        words: the tokens of the corrupted text; None for a grid of heads.
        site: what was patched.
    """

    values: NamedArray
    clean: float
    corrupted: float
    words: tuple[str, ...] | None
    site: str

    @property
    def restored(self) -> NamedArray:
        """(value - corrupted) / (clean - corrupted): 1 where a patch brings all of the metric back, 0 where nothing."""
        gap = self.clean - self.corrupted
        if abs(gap) < 1e-6:
            raise ValueError(
                f"the metric is {self.clean:.4g} on both texts, so there is nothing to restore; choose texts that differ in it"
            )
        return NamedArray((np.asarray(self.values) - self.corrupted) / gap, self.values.axes or ())

    def top(self, number: int = 5) -> list[tuple[int, int, float]]:
        """The cells whose patch changes the metric most: (layer, position or head, change)."""
        change = np.asarray(self.values) - self.corrupted
        order = np.argsort(-np.abs(change), axis=None)[: how_many(number)]
        cells = zip(*np.unravel_index(order, change.shape), strict=True)
        return [(int(layer), int(other), float(change[layer, other])) for layer, other in cells]

    def heatmap(self) -> Any:
        """A matplotlib figure: the change of the metric by layer and position, blue for less and red for more."""
        from model.inspection.figures import heatmap

        change = np.asarray(self.values) - self.corrupted
        across = self.words or [str(number) for number in range(change.shape[1])]
        return heatmap(change, across, across_name=(self.values.axes or ("", ""))[1], title=f"{self.site}, patched")

    def __repr__(self) -> str:
        best = ", ".join(f"({layer}, {other}) {change:+.3f}" for layer, other, change in self.top(3))
        return (
            f"PatchGrid({self.site}, {self.values.shape[0]} layers x {self.values.shape[1]}; metric {self.corrupted:.3f} "
            f"corrupted, {self.clean:.3f} clean; largest changes {best})"
        )
