"""The page of attention maps as text: complete, harmless, and only ever written where nothing is lost."""

import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from model.inspection.maps import AttentionMaps
from model.inspection.packing import quantise, restore
from model.inspection.view import AttentionView, ViewError, fragment
from model.inspection.view import _check as check_together

from .conftest import softmax, some_maps

EVIL = ("</script><script>window.hacked=1</script>", "<b>bold</b>", "<!--", "]]>", "'\"`${1}", "\u2028", "</template>")


def evil_maps() -> AttentionMaps:
    weights = softmax(np.zeros((1, 1, len(EVIL), len(EVIL)), np.float32))
    return AttentionMaps(weights, EVIL, EVIL, (0,), (0,), "encoder", "<img src=x onerror=window.hacked=1>")


def maps_in(page: str) -> dict:
    """What the page carries, read as a browser does."""
    found = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_carries_all_and_refers_to_nothing():
    page = AttentionView(some_maps(), title="maps").page()
    assert not re.search(r"https?://|@import|url\(|\bsrc=|\bhref=|\bfetch\(|\bimport\(|XMLHttpRequest|eval\(", page)
    carried = maps_in(page)
    assert carried["texts"][0]["queries"] == list(some_maps().queries)
    assert [len(layer) for layer in carried["texts"][0]["streams"]] == [4, 4, 4]


def test_no_word_gets_out_of_its_place():
    page = AttentionView(evil_maps(), title=EVIL[0]).page()
    tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)

    Tags().feed(page)
    assert tags.count("script") == 2  # the maps and the program
    assert not {"b", "img"} & set(tags)
    assert maps_in(page)["texts"][0]["keys"] == list(EVIL)


def test_views_share_no_name():
    first, second = AttentionView(some_maps()), AttentionView(some_maps())
    names = re.findall(r'<div id="([^"]+)" class="loupe-attention"', first.html() + first.html() + second.html())
    assert len(set(names)) == 3


def test_a_notebook_gets_the_page_in_a_frame():
    shown = AttentionView(evil_maps(), title='a "title"')._repr_html_()
    found = re.fullmatch(r'<iframe srcdoc="([^"]*)" title="a &#34;title&#34;" style="[^"]*"></iframe>', shown)
    assert found is not None
    assert html.unescape(found[1]).startswith("<!doctype html>")
    assert maps_in(html.unescape(found[1]))["texts"][0]["keys"] == list(EVIL)


def test_what_is_said_of_the_error_is_true():
    for maps in (some_maps(), some_maps(spread=0.1), some_maps("decoder")):
        error = float(maps_in(AttentionView(maps).page())["error"])
        assert 0 <= np.abs(restore(quantise(maps.weights)) - maps.weights).max() <= error <= 0.02


def test_a_fragment_holds_every_step():
    steps = [some_maps(title=f"step {n}", seed=n) for n in (1, 10, 100)]
    assert [text["title"] for text in maps_in(fragment(steps))["texts"]] == ["step 1", "step 10", "step 100"]


def test_a_page_replaces_a_page_and_nothing_else(tmp_path):
    view, path = AttentionView(some_maps()), tmp_path / "new" / "maps.html"
    assert view.save(path) == path
    before = path.read_text(encoding="utf-8")
    AttentionView(some_maps(seed=1)).save(path)
    assert path.read_text(encoding="utf-8") != before
    assert [file.name for file in path.parent.iterdir()] == ["maps.html"]
    (tmp_path / "thesis.html").write_text("<h1>mine</h1>")
    with pytest.raises(ViewError, match=r"thesis\.html exists and is no attention view"):
        view.save(tmp_path / "thesis.html")
    assert (tmp_path / "thesis.html").read_text() == "<h1>mine</h1>"
    with pytest.raises(ViewError, match=r"figure\(layer, head\)\.savefig"):
        view.save(tmp_path / "maps.pdf")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ViewError, match="is a folder"):
        view.save(tmp_path / "folder.html")


def with_weight(value: float) -> AttentionMaps:
    maps = some_maps(title="broken")
    maps.weights[1, 2, 3, 4] = value
    return maps


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ((), "no maps to show"),
        (
            (some_maps(title="a"), some_maps(shape=(2, 4, 9, 9), title="b")),
            r"b has 2 x 4 layers and heads and a 3 x 4.*maps\.part",
        ),
        ((some_maps(), some_maps(shape=(3, 5, 9, 9))), "text 1 has 3 x 5"),
        ((AttentionMaps(np.zeros((1, 1, 0, 0), np.float32), (), (), (0,), (0,)),), "has no weights"),
        ((with_weight(np.nan),), "broken has a weight of nan in layer 1, head 2"),
        ((with_weight(-0.5),), "broken has a weight of -0.5 in layer 1, head 2"),
        ((with_weight(np.inf),), "broken has a weight of inf"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_line(maps, message):
    with pytest.raises(ViewError, match=message) as caught:
        AttentionView(*maps)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_several_are_given_one_by_one():
    with pytest.raises(ViewError, match=r"list is no AttentionMaps; .* AttentionView\(\*maps\)"):
        check_together([[some_maps()]])


def test_more_than_a_page_holds_is_refused(monkeypatch):
    monkeypatch.setattr("model.inspection.view.LARGEST_PAGE", 1_000)
    with pytest.raises(ViewError, match="more than a page holds; show some"):
        AttentionView(some_maps()).page()


def test_bertviz_gets_its_arguments():
    maps = some_maps()
    given = AttentionView(maps).to_bertviz()
    assert given["tokens"] == list(maps.queries)
    assert len(given["attention"]) == 3
    np.testing.assert_array_equal(np.concatenate(given["attention"]), maps.weights)
    cross = AttentionView(some_maps("cross", shape=(1, 2, 4, 7))).to_bertviz(lambda array: array.shape)
    assert cross["cross_attention"] == [(1, 2, 4, 7)]
    assert (len(cross["decoder_tokens"]), len(cross["encoder_tokens"])) == (4, 7)


def large_page(weights: np.ndarray) -> int:
    """The bytes of a page of these maps, whose error is also looked at."""
    words = tuple(f"word{i}" for i in range(weights.shape[2]))
    numbers = [tuple(range(n)) for n in weights.shape[:2]]
    page = AttentionView(AttentionMaps(weights, words, words, *numbers)).page()
    assert float(maps_in(page)["error"]) <= 0.02
    return len(page.encode())


@pytest.mark.slow
def test_twelve_by_twelve_heads_at_512_words_fit_into_16_megabytes():
    """Random scores are the worst there is: no row is like another, no stretch of a row repeats."""
    scores = np.random.default_rng(0).normal(size=(2, 12, 512, 512)).astype(np.float32)
    assert large_page(np.tile(softmax(2 * scores), (6, 1, 1, 1))) < 16e6


def test_a_step_that_proves_too_coarse_is_not_taken(monkeypatch):
    monkeypatch.setattr("model.inspection.view.choose_step", lambda weights, most_bytes: 1 / 12)
    assert float(maps_in(AttentionView(some_maps(spread=1.0)).page())["error"]) <= 0.02


def test_pictures_for_papers(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need the extra notebooks")
    view = AttentionView(some_maps(title="three layers"), some_maps(shape=(3, 4, 5, 5)))
    for number, figure in enumerate(
        (view.figure(1, 2, text=0), view.figure(1, text=0), view.figure(text=1), view.figure(0, 0, text=1, root=False))
    ):
        figure.savefig(tmp_path / f"{number}.pdf")
        assert (tmp_path / f"{number}.pdf").read_bytes().startswith(b"%PDF")
    words = [label.get_text() for label in view.figure(1, 2, text=0).axes[0].get_yticklabels()]
    assert words == ["[CLS]", "the", "·cat", "·sat", "##ting", "<b>", "∅", "↵", "[SEP]"]
    mesh = view.figure(1, 2, text=0).axes[0].collections[0]
    np.testing.assert_allclose(np.asarray(mesh.get_array()), some_maps().weights[1, 2])
    for wrong in ({"layer": 3}, {"head": 4}, {"text": 2}):
        with pytest.raises(ValueError, match=r"there is no (layer|head|text) \d here; there are 0"):
            view.figure(**{"text": 0} | wrong)
    for ask in (view.figure, view.to_bertviz):
        with pytest.raises(ViewError, match="of one text, and there are 2; say which, as text=0"):
            ask()
