"""The planted circuit, attention maps of several kinds, and a browser to look at them in."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from model.inspection.maps import AttentionMaps, Kind

HOST = ".loupe-attention"


def softmax(scores: np.ndarray) -> np.ndarray:
    """Rows that sum to one, float32."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float32)


def some_maps(
    kind: Kind = "encoder",
    *,
    shape: tuple[int, int, int, int] = (3, 4, 9, 9),
    title: str = "",
    seed: int = 0,
    spread: float = 2.0,
) -> AttentionMaps:
    """Softmax of random scores, over words that show every mark of a tokenizer."""
    layers, heads, queries, keys = shape
    scores = spread * np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    if kind == "decoder":
        scores = np.where(np.tril(np.ones((queries, keys), bool)), scores, -np.inf)
    words = ["[CLS]", "the", "Ġcat", "▁sat", "##ting", "<b>", "", "\n", "[SEP]"]
    named = tuple(words[i] if i < len(words) else f"word{i}" for i in range(max(queries, keys)))
    return AttentionMaps(
        softmax(scores), named[:queries], named[:keys], tuple(range(layers)), tuple(range(heads)), kind, title
    )


@dataclass
class Opened:
    """A page in a browser, with all that it said and asked for."""

    page: object
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __getattr__(self, name: str):
        return getattr(self.page, name)

    def settle(self, *words: object) -> None:
        """Wait until the first view has drawn these: view, text, layer, head, or as many of them."""
        wanted = " ".join(map(str, words))
        self.page.wait_for_selector(f'{HOST}[data-drawn^="{wanted}"]', timeout=20_000)  # type: ignore[attr-defined]

    def at(self, t: int, s: int, number: int = 0) -> tuple[float, float]:
        """Where on the screen the middle of a cell of a large map is."""
        canvas = self.page.locator(".open canvas").nth(number)  # type: ignore[attr-defined]
        side, head, cell, top, left = map(float, canvas.get_attribute("data-frame").split())
        box = canvas.bounding_box()
        return box["x"] + side + (s - left + 0.5) * cell, box["y"] + head + (t - top + 0.5) * cell

    def hover(self, t: int, s: int, number: int = 0) -> str:
        """Point at a cell; what the page then says of it."""
        self.page.mouse.move(*self.at(t, s, number))  # type: ignore[attr-defined]
        return self.page.locator(".tip").inner_text()  # type: ignore[attr-defined]

    def reads(self, selector: str) -> str:
        """The text of the first such element."""
        return self.page.locator(selector).first.inner_text()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def planted():
    """The module planted.py beside this file: `planted.planted_induction()`, `planted.repeated_tokens()`, ..."""
    source = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("planted.py"))
    assert source is not None and source.loader is not None
    module = importlib.util.module_from_spec(source)
    sys.modules[source.name] = module
    source.loader.exec_module(module)
    return module


@pytest.fixture
def look(browser, tmp_path) -> Iterator[Callable[..., Opened]]:
    """Opens a file or a piece of HTML; at the end nothing may have been complained of, and nothing asked of a network."""
    opened: list[Opened] = []

    def look(what: Path | str, *, scheme: str = "light", width: int = 1100, height: int = 800) -> Opened:
        if isinstance(what, str):
            (tmp_path / "page.html").write_text(what, encoding="utf-8")
            what = tmp_path / "page.html"
        page = Opened(browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height}))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(what.as_uri())
        page.wait_for_selector(f"{HOST}, iframe", timeout=20_000)
        opened.append(page)
        return page

    yield look
    for page in opened:
        page.close()
        assert page.said == []
        assert [url for url in page.asked if not url.startswith(("file:", "about:", "data:"))] == []
