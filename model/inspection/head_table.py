"""Scores of heads as a table that can be read, in a terminal and in a notebook."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from model.inspection.markup import pages
from model.inspection.named import NamedArray
from model.inspection.per_text import how_many, numbered

fill = pages(Path(__file__).parent / "viewer")
TOP = 3  # how many heads a line of the printed table names


@dataclass(frozen=True, repr=False, eq=False)
class HeadScores:
    """Some scores of L layers and N heads: `scores["induction"]` is [layer head], `top("induction")` the highest.

    Of several texts they are means, each text counting alike and one of which a score says nothing left out;
    `scores.spread("induction")` is the standard deviation over texts, `scores.of(1)` the table of the second.

    Attributes:
        scores: float [L N] by name; NaN where a score says nothing of a head.
        layers: the number of each layer in the model.
        heads: the number of each head.
        title: what text or checkpoint they are of.
        per_text: of several texts, the table of each.
    """

    scores: Mapping[str, np.ndarray]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    title: str = ""
    per_text: tuple["HeadScores", ...] = ()

    def __post_init__(self):
        for name, values in self.scores.items():
            if values.shape != (len(self.layers), len(self.heads)):
                raise ValueError(
                    f"{name} of shape {values.shape} is not {len(self.layers)} layers x {len(self.heads)} heads"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the scores."""
        return tuple(self.scores)

    def __getitem__(self, name: str) -> NamedArray:
        """A copy of one score, [layer head]; ValueError for a name that is not there."""
        if name not in self.scores:
            raise ValueError(f"there is no score {name!r} here; there are {', '.join(self.scores)}")
        return NamedArray(np.array(self.scores[name]), ("layer", "head"))

    @classmethod
    def of_texts(cls, tables: Sequence["HeadScores"]) -> "HeadScores":
        """The mean of the tables of several texts.

        >>> one, other = (HeadScores({"entropy": np.array([[value]])}, (0,), (0,)) for value in (1.0, np.nan))
        >>> float(HeadScores.of_texts([one, other])["entropy"][0, 0])
        1.0
        """
        first = tables[0]
        means = {name: _over_texts([table.scores[name] for table in tables])[0] for name in first.scores}
        return cls(means, first.layers, first.heads, f"mean of {len(tables)} texts", tuple(tables))

    def of(self, number: int) -> "HeadScores":
        """The table of one text; ValueError where there is none of this number."""
        tables = self.per_text or (self,)
        return tables[numbered(number, len(tables))]

    def spread(self, name: str) -> NamedArray:
        """The standard deviation of one score over the texts, [layer head]; ValueError where there is one text only."""
        self[name]  # says what there is, where it is not there
        if not self.per_text:
            raise ValueError("these are the scores of one text, which have no spread; inspect several, in a list")
        return NamedArray(_over_texts([table.scores[name] for table in self.per_text])[1], ("layer", "head"))

    def top(self, name: str, count: int = 5, *, lowest: bool = False) -> list[tuple[int, int, float]]:
        """The heads that score highest, or lowest: (layer, head, score) by their numbers in the model; NaN is left out.

        >>> HeadScores({"induction": np.array([[0.1, 0.9], [0.3, np.nan]])}, (0, 1), (0, 1)).top("induction", 2)
        [(0, 1, 0.9), (1, 0, 0.3)]
        """
        values = np.asarray(self[name])
        order = np.argsort(values if lowest else -values, axis=None, kind="stable")
        found = [(int(place // len(self.heads)), int(place % len(self.heads))) for place in order]
        kept = [(layer, head, float(values[layer, head])) for layer, head in found if not np.isnan(values[layer, head])]
        return [(self.layers[layer], self.heads[head], value) for layer, head, value in kept[: how_many(count)]]

    def rows(self, by: str | None = None) -> list[dict[str, int | float]]:
        """One dict a head, with its layer, head and all scores, as pandas takes it; sorted by a score, highest first."""
        found = [
            {"layer": layer, "head": head} | {name: float(values[i, j]) for name, values in self.scores.items()}
            for i, layer in enumerate(self.layers)
            for j, head in enumerate(self.heads)
        ]
        if by is None:
            return found
        self[by]  # says what there is, where it is not there
        return sorted(found, key=lambda row: -np.inf if np.isnan(row[by]) else row[by], reverse=True)

    def __repr__(self) -> str:
        width = max(map(len, ("score", *self.scores)))
        apart = "  spread" if self.per_text else ""
        lines = [f"{'score':<{width}}    mean{apart}  highest (layer.head)"]
        if self.title:
            lines.insert(0, self.title)
        for name, values in self.scores.items():
            best = "  ".join(f"{layer}.{head} {value:.2f}" for layer, head, value in self.top(name, TOP))
            apart = f"  {_mean(self.spread(name)):6.2f}" if self.per_text else ""
            lines.append(f"{name:<{width}}  {_mean(values):6.2f}{apart}  {best}")
        return "\n".join(lines)

    def _repr_html_(self) -> Markup:
        """A small grid a score, layers down and heads across, stronger for more; each cell says its value on hover.

        Full strength is one, or the highest score where that is more, so that shares of attention compare across grids."""
        return fill("tables", "heads", self.title, [self._grid(name, values) for name, values in self.scores.items()])

    def _grid(self, name: str, values: np.ndarray) -> tuple[str, list[Any], str]:
        """The heading of a score, its layers with what each cell says and how strong it is, and the best heads."""
        most = max(1.0, float(np.nanmax(values))) if not np.isnan(values).all() else 1.0
        apart = self.spread(name) if self.per_text else None
        rows = []
        for i, layer in enumerate(self.layers):
            cells = []
            for j, head in enumerate(self.heads):
                value = float(values[i, j])
                strength = 0.0 if np.isnan(value) else max(value / most, 0.0)
                more = "" if apart is None else f" \u00b1 {float(apart[i, j]):.3f}"
                cells.append((f"layer {layer}, head {head}: {value:.3f}{more}", f"{strength:.2f}"))
            rows.append((layer, cells))
        best = ", ".join(f"{layer}.{head} {value:.2f}" for layer, head, value in self.top(name, TOP))
        return name.replace("_", " "), rows, best


def _over_texts(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the texts of which a score says something; NaN where it says nothing of any."""
    stacked = np.stack([np.asarray(one, np.float64) for one in values])
    there = ~np.isnan(stacked)
    number = there.sum(0)
    known = np.where(there, stacked, 0.0)
    mean = np.divide(known.sum(0), number, out=np.full(number.shape, np.nan), where=number > 0)
    apart = np.where(there, stacked - np.where(number > 0, mean, 0.0), 0.0)
    variance = np.divide(np.square(apart).sum(0), number, out=np.full(number.shape, np.nan), where=number > 0)
    return mean, np.sqrt(variance)


def _mean(values: np.ndarray) -> float:
    """The mean over heads of which a score says something."""
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
