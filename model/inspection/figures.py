"""Attention maps drawn by matplotlib, for papers. Imported only where a picture is asked for: needs the extra `notebooks`."""

import re
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from model.inspection.maps import AttentionMaps

COLOURS = LinearSegmentedColormap.from_list(
    "attention", ["#ffffff", "#d3ece0", "#8fd1cb", "#49adce", "#2879b8", "#25489b", "#1a1c5c"]
)
FEW_WORDS = 60  # so many can be read on an axis; of more, some are named
MOST_CELLS = 100_000  # drawn as vectors; more are one picture, still in its own pixels
INK, RULE = "#1c1b19", "#b9b4a9"
TITLE = {"fontsize": 9, "color": INK}


class Picture(Figure):
    """A figure that a notebook shows by itself, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png", dpi=144, bbox_inches="tight")
        return stream.getvalue()


def draw(maps: AttentionMaps, *, width: float | None = None, peak: float | None = None, root: bool = True) -> Figure:
    """One head with its words and a scale, or a grid of small maps: layers down, heads across; one layer in rows of six.

    Args:
        maps: what is drawn, all of it.
        width: in inches; by default 5.5 for one head, 7 for a grid.
        peak: the weight of the darkest colour; by default the largest of one head, and of each map by itself in a grid.
        root: colours by the square root of the weight, so that faint weights are seen; else by the weight.
    """
    layers, heads = len(maps.layers), len(maps.heads)
    if layers == heads == 1:
        return _one(maps, width or 5.5, peak, root)
    columns = heads if layers > 1 else min(heads, 6)
    rows = layers if layers > 1 else -(-heads // columns)
    width = width or 7.0
    shape = min(max(len(maps.queries) / len(maps.keys), 0.4), 2.5)
    figure = Picture(
        figsize=(width, width / columns * shape * rows + 0.25 * rows * (layers == 1) + 0.3), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)  # type: ignore[union-attr]
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, axis in enumerate(axes.ravel()):
        layer, head = divmod(place, columns) if layers > 1 else (0, place)
        if head >= heads:
            axis.set_axis_off()
            continue
        _map(axis, maps.weights[layer, head], peak, root)
        axis.set(xticks=[], yticks=[])
        if layers == 1:
            axis.set_title(f"head {maps.heads[head]}", pad=3, fontsize=8, color=INK)
        else:
            if layer == 0:
                axis.set_title(str(maps.heads[head]), pad=3, fontsize=8, color=INK)
            if head == 0:
                axis.set_ylabel(str(maps.layers[layer]), rotation=0, ha="right", va="center", fontsize=8, color=INK)
    if layers > 1:
        figure.supxlabel("head", **TITLE)
        figure.supylabel("layer", **TITLE)
    else:
        figure.suptitle(f"{maps.title}{', ' if maps.title else ''}layer {maps.layers[0]}", **TITLE)
    return figure


def heatmap(
    values: np.ndarray, across: Sequence[str], *, across_name: str, title: str, down_name: str = "layer"
) -> Figure:
    """Numbers [rows, columns] around zero as a picture: blue below, red above, white at nothing; layers from below."""
    rows, columns = values.shape
    figure = Picture(figsize=(min(1.6 + 0.28 * columns, 12), 1.4 + 0.24 * rows), layout="constrained")
    axis = figure.subplots()
    peak = float(np.abs(values).max()) or 1.0
    drawn = axis.pcolormesh(values, cmap="RdBu_r", vmin=-peak, vmax=peak, edgecolors="white", linewidth=0.4)
    step = max(1, columns // FEW_WORDS)
    shown = range(0, columns, step)
    upright = all(len(across[place]) < 3 for place in shown)
    axis.set_xticks([place + 0.5 for place in shown], [_label(across[place]) for place in shown], fontsize=7)
    axis.tick_params(axis="x", rotation=0 if upright else 90, length=0)
    skip = max(1, rows // 24)
    axis.set_yticks([row + 0.5 for row in range(0, rows, skip)], [str(row) for row in range(0, rows, skip)], fontsize=7)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(across_name, fontsize=8, color=INK)
    axis.set_ylabel(down_name, fontsize=8, color=INK)
    axis.set_title(title, **TITLE)
    for side in axis.spines.values():
        side.set_color(RULE)
    bar = figure.colorbar(drawn, ax=axis, shrink=0.8, aspect=24)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _one(maps: AttentionMaps, width: float, peak: float | None, root: bool) -> Figure:
    T, S = len(maps.queries), len(maps.keys)
    figure = Picture(figsize=(width, width * min(max(T / S, 0.4), 2.5) * 0.92), layout="constrained")
    axis = figure.subplots()
    mesh = _map(axis, maps.weights[0, 0], peak, root)
    for side, words in ((axis.xaxis, maps.keys), (axis.yaxis, maps.queries)):
        shown = range(0, len(words), -(-len(words) // FEW_WORDS))
        side.set_ticks([at + 0.5 for at in shown], [_label(words[at]) for at in shown])
    size = min(9.0, max(4.0, 52 * width / max(min(max(T, S), FEW_WORDS), 1)))
    axis.tick_params(
        labelsize=size, length=0, pad=2, colors=INK, top=False, bottom=False, labeltop=True, labelbottom=False
    )
    axis.tick_params(axis="x", rotation=90)
    axis.set_title(
        ", ".join(filter(None, [maps.title, f"layer {maps.layers[0]}, head {maps.heads[0]}"])), pad=8, **TITLE
    )
    scale = figure.colorbar(mesh, ax=axis, shrink=0.5, aspect=28, pad=0.02)
    scale.ax.tick_params(labelsize=7, length=2, colors=INK)
    scale.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _map(axis: Axes, weights: np.ndarray, peak: float | None, root: bool) -> QuadMesh:
    """Cells of a map: vectors without seams, or pixels where there are very many."""
    norm = PowerNorm(0.5 if root else 1.0, 0.0, peak or float(weights.max()) or 1.0, clip=True)
    many = weights.size > MOST_CELLS
    mesh = axis.pcolormesh(
        weights, cmap=COLOURS, norm=norm, linewidth=0, edgecolors="none", rasterized=many, antialiased=False
    )
    axis.set_aspect("equal" if 0.4 <= weights.shape[0] / weights.shape[1] <= 2.5 else "auto")
    axis.invert_yaxis()
    for spine in axis.spines.values():
        spine.set(color=RULE, linewidth=0.5)
    return mesh


def _label(word: str) -> str:
    """A word as an axis can show it: visible spaces, nothing read as mathematics, not too long.

    >>> [_label(word) for word in ("Ġthe", "##ing", "$x", "")]
    ['·the', '##ing', '\\\\$x', '∅']
    """
    shown = (
        re.sub("[ \u0120\u2581]", "\u00b7", re.sub("[\n\u010a]", "\u21b5", re.sub("[\t\u0109]", "\u21e5", word)))
        or "\u2205"
    )
    shown = shown if len(shown) <= 16 else shown[:15] + "\u2026"
    return shown.replace("$", "\\$")
