"""Attention maps to look at: an interactive page for notebooks and files, pictures for papers, arrays for bertviz.

    AttentionView(maps)                        one text
    AttentionView(first, second)               two texts or two checkpoints, beside each other, or their difference
    AttentionView(*maps_of_checkpoints)        a slider over training

The page is one piece without a network: the files of the folder `viewer`, and the maps as `packing` makes them.
"""

import base64
import os
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from markupsafe import Markup

from model.hub import no_room
from model.inspection.maps import AttentionMaps
from model.inspection.markup import asset, embedded, pages, policy
from model.inspection.packing import STEPS, TOLERANCE, choose_step, quantise, restore, streams

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BYTES = 11_400_000  # of streams, about: where they would take more, coarser steps are taken; a page is 4/3 of it
LARGEST_PAGE = 200_000_000  # bytes of streams that a browser still opens
FRAME_HEIGHT = 760  # pixels
SCRIPTS = ("maps.js", "words.js", "grid.js", "map.js", "lines.js", "frame.js")  # one function, in this order
MARK = "Loupe attention view"  # by which a page is known as one of these
VIEWER = Path(__file__).parent / "viewer"
fill = pages(VIEWER)


class ViewError(ValueError):
    """These maps cannot be shown as asked; the message is one line, for the user."""

    exit_code = 2


class AttentionView:
    """What a notebook shows of attention maps.

    Several maps are compared: they need the same layers and heads, and for a difference texts of the same length. Each is
    called by its title. Raises ViewError for no maps, for maps that do not go together, and for weights that are negative or
    not finite.
    """

    def __init__(self, *maps: AttentionMaps, title: str = ""):
        _check(maps)
        self.maps, self.title = maps, title or (maps[0].title if len(maps) == 1 else "") or "Attention"
        self._packed: Markup | None = None

    def html(self, *, page: bool = False) -> Markup:
        """The view as a piece of HTML; it keeps to itself, so that a document may hold any number of them.

        With `page` it takes the whole width and height and listens to the keys of the whole document. A document with a policy
        must let `viewer_script()` run.
        """
        if self._packed is None:
            self._packed = _packed(self.maps, self.title)
        return fill(
            "page",
            "view",
            f"attention-{uuid4().hex[:12]}",
            page,
            self._packed,
            style=asset(VIEWER / "style.css"),
            frame=asset(VIEWER / "frame.html"),
            script=viewer_script(),
        )

    def page(self) -> str:
        """One self-contained document; its policy forbids it to load anything, and to run any script but the viewer's."""
        return str(fill("page", "page", self.title, self.html(page=True), mark=MARK, policy=policy(viewer_script())))

    def _repr_html_(self) -> str:
        """For Jupyter, VS Code and Colab: the page in a frame of its own, where scripts run and no style gets in or out."""
        return fill("page", "iframe", self.page(), self.title, FRAME_HEIGHT)

    def __repr__(self) -> str:
        first = self.maps[0]
        size = f"{len(first.layers)} layers x {len(first.heads)} heads, {len(first.queries)} x {len(first.keys)} words"
        more = f", {len(self.maps)} of them" if len(self.maps) > 1 else ""
        return f"AttentionView({self.title!r}: {size}{more})"

    def save(self, path: str | Path) -> Path:
        """Write the page, at one stroke; a page that this wrote before is replaced, and nothing else ever is (ViewError)."""
        path = check_place(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
        try:
            fresh.write_text(self.page(), encoding="utf-8")
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
        return path

    def figure(
        self, layer: int | None = None, head: int | None = None, *, text: int | None = None, **options: Any
    ) -> "Figure":
        """A matplotlib figure for a paper: one head with its words, all heads of a layer, or layers by heads.

        `layer` and `head` are numbers in the model; of several maps `text` says which, in the order given; `options` go to
        `figures.draw`. Save it with `.savefig("maps.pdf")`: text and cells are vectors. Needs the extra `notebooks`.
        """
        try:
            from model.inspection import figures
        except ImportError as error:
            raise ViewError("pictures need matplotlib; pip install 'loupe-transformers[notebooks]'") from error
        layers, heads = (None if number is None else [number] for number in (layer, head))
        return figures.draw(self._one(text).part(layers, heads), **options)

    def to_bertviz(self, wrap: Callable[[np.ndarray], Any] = np.asarray, *, text: int | None = None) -> dict[str, Any]:
        """The arguments of bertviz's views: a [1 N T S] array for each layer, and the words.

            head_view(**view.to_bertviz(torch.tensor))

        bertviz wants torch tensors, which `wrap` makes; without it the arrays are NumPy's.
        """
        maps = self._one(text)
        weights = [wrap(layer[None]) for layer in maps.weights]
        if maps.kind == "cross":
            return {"cross_attention": weights, "encoder_tokens": list(maps.keys), "decoder_tokens": list(maps.queries)}
        return {"attention": weights, "tokens": list(maps.queries)}

    def _one(self, text: int | None) -> AttentionMaps:
        """The maps of one text, which must be said where there are several."""
        if text is None and len(self.maps) > 1:
            raise ViewError(f"a picture is of one text, and there are {len(self.maps)}; say which, as text=0")
        if not 0 <= (number := text or 0) < len(self.maps):
            raise ViewError(f"there is no text {text} here; there are 0 to {len(self.maps) - 1}")
        return self.maps[number]


def viewer_script() -> Markup:
    """The program of a view. It is the same on every page, so that a policy can name it by its hash."""
    return Markup("").join([*map(asset, (VIEWER / name for name in ("begin.js", *SCRIPTS, "end.js")))])


def fragment(maps: Sequence[AttentionMaps], title: str = "") -> Markup:
    """Maps over training as a piece of HTML for a report; each map's title is its step."""
    return AttentionView(*maps, title=title).html()


def _check(maps: Sequence[Any]) -> None:
    """That these can be shown, together."""
    if not maps:
        raise ViewError("there are no maps to show; give one AttentionMaps or several")
    first = maps[0]
    for number, other in enumerate(maps):
        if not isinstance(other, AttentionMaps):
            raise ViewError(
                f"{type(other).__name__} is no AttentionMaps; several are given one by one, AttentionView(*maps)"
            )
        name = other.title or f"text {number}"
        if 0 in other.weights.shape:
            raise ViewError(f"{name} has no weights: its shape is {other.weights.shape}, [layers heads queries keys]")
        if (other.layers, other.heads) != (first.layers, first.heads):
            sizes = [f"{len(one.layers)} x {len(one.heads)}" for one in (first, other)]
            raise ViewError(
                f"{name} has {sizes[1]} layers and heads and {first.title or 'text 0'} {sizes[0]}, or others; "
                "to compare them take the same of both with maps.part(layers=..., heads=...)"
            )
        low, high = float(other.weights.min()), float(other.weights.max())
        if not (low >= 0 and np.isfinite(high)):
            bad = np.argwhere(~((other.weights >= 0) & np.isfinite(other.weights)))[0]
            value = other.weights[tuple(bad)]
            raise ViewError(
                f"{name} has a weight of {value} in layer {other.layers[bad[0]]}, head {other.heads[bad[1]]}"
            )


def _packed(maps: Sequence[AttentionMaps], title: str) -> Markup:
    """The maps as JSON that may stand inside a script element."""
    weights = [np.ascontiguousarray(one.weights, np.float32) for one in maps]
    step = choose_step(weights, MOST_BYTES)
    texts, error = _texts(maps, weights, step)
    if error > TOLERANCE and step > STEPS[-1]:  # the rows that were sampled had no large weight, another has
        texts, error = _texts(maps, weights, STEPS[-1])
    places = 4 if error < 0.001 else 3
    rounded = f"{ceil(max(error, 1e-9) * 10**places) / 10**places:.{places}f}"
    return embedded({"title": title, "error": rounded, "texts": texts})


def _texts(
    maps: Sequence[AttentionMaps], weights: Sequence[np.ndarray], step: float
) -> tuple[list[dict[str, Any]], float]:
    """Each text as the viewer takes it, and the largest difference between a weight and what is kept of it."""
    texts, error, size = [], 0.0, 0
    for number, (one, values) in enumerate(zip(maps, weights, strict=True)):
        made = []
        for layer in values:  # one at a time: the maps of a large model are larger still while they are packed
            packed = quantise(layer, step)
            error = max(error, float(np.abs(restore(packed) - layer).max()))
            made.append([base64.b64encode(stream).decode("ascii") for stream in streams(packed)])
            size += sum(map(len, made[-1]))
            if size > LARGEST_PAGE:
                raise ViewError(
                    f"{sum(array.size for array in weights):,} weights are more than a page holds; "
                    "show some, as AttentionView(maps.part(layers=[0, 1]))"
                )
        name = one.title or (f"text {number + 1}" if len(maps) > 1 else "")
        words = {"queries": one.queries, "keys": one.keys}
        texts.append(
            {"title": name, "kind": one.kind, **words, "layers": one.layers, "heads": one.heads, "streams": made}
        )
    return texts, error


def check_place(path: str | Path) -> Path:
    """The path, at which a page may be written: nothing is there yet, or a page that this wrote. ViewError otherwise."""
    path = Path(path)
    if why := no_room(path):
        raise ViewError(f"{path} cannot be written ({why}); name another")
    if path.suffix.lower() not in {".html", ".htm"}:
        raise ViewError(f"{path} is not named .html; for a PDF or PNG use view.figure(layer, head).savefig(...)")
    if path.is_dir():
        raise ViewError(f"{path} is a folder; name a file in it, as {path / 'maps.html'}")
    if path.exists() and f'content="{MARK}"' not in path.read_bytes()[:1_000].decode("utf-8", errors="replace"):
        raise ViewError(f"{path} exists and is no attention view; save under another name, or move it away first")
    return path
