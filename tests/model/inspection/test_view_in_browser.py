"""The view in Chromium: it shows the right numbers for the right words, obeys pointer and keys, and asks nobody for anything.

What `look` opened must have stayed silent and alone when a test ends. Set LOUPE_SCREENSHOTS to a folder to look at it yourself.
"""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from model.inspection.maps import AttentionMaps
from model.inspection.view import AttentionView, fragment

from .conftest import HOST, softmax, some_maps
from .test_view import evil_maps

SHOWN = {"Ġcat": "·cat", "▁sat": "·sat", "": "∅", "\n": "↵"}  # how a page shows a word, where not as it is


def shown(word: str) -> str:
    return SHOWN.get(word, word)


def weight_in(text: str) -> float:
    """The number at the end of what a page says of a cell."""
    found = re.search(r"(\S+)$", text.split("\n")[0].strip())
    assert found is not None
    return float(found[1].replace("\u2212", "-"))


def picture(page, name: str) -> bytes:
    """A screenshot, kept where the reader wants it."""
    folder = os.environ.get("LOUPE_SCREENSHOTS")
    return page.screenshot(full_page=True, path=str(Path(folder) / f"{name}.png") if folder else None)


@pytest.mark.parametrize(
    "maps",
    [
        some_maps(),
        some_maps("decoder"),
        some_maps("cross", shape=(2, 4, 6, 9)),
        some_maps(shape=(2, 2, 140, 140), spread=1.0),
    ],
    ids=["encoder", "decoder", "cross", "long"],
)
def test_a_click_enlarges_and_pointing_tells_words_and_weight(look, maps):
    page = look(AttentionView(maps).page(), height=1200)
    page.settle("heads")
    page.locator(".cell").nth(1).click()
    page.settle("map 0 0 1")
    for t, s in ((0, 0), (3, 2), (5, 8), (len(maps.queries) - 1, 1)):
        said = page.hover(t, s)
        assert said.startswith(f"{shown(maps.queries[t])} → {shown(maps.keys[s])} ")
        assert abs(weight_in(said) - maps.weights[0, 1, t, s]) < 0.02
        assert "head 1" in page.reads(".status")
        assert abs(float(page.reads(".reading .big")) - maps.weights[0, 1, t, s]) < 0.02


def test_pointing_at_a_small_map_tells_too(look):
    maps = some_maps()
    page = look(AttentionView(maps).page())
    page.settle("heads")
    box = page.locator(".cell canvas").nth(2).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 5.5 / 9, box["y"] + box["height"] * 3.5 / 9)
    page.wait_for_selector(".tip:not([hidden])")
    said = page.reads(".tip")
    assert said.startswith("·sat → <b>")
    assert abs(weight_in(said) - maps.weights[0, 2, 3, 5]) < 0.02


def test_keys_move_open_close_and_read(look):
    maps = some_maps()
    page = look(AttentionView(maps).page())
    page.settle("heads 0 0 0")
    page.locator(".cell").nth(0).focus()
    for key, where in (
        ("ArrowRight", "0 1"),
        ("ArrowRight", "0 2"),
        ("ArrowDown", "1 2"),
        ("ArrowLeft", "1 1"),
        ("ArrowUp", "0 1"),
    ):
        page.keyboard.press(key)
        page.settle("heads 0", where)
    focused = f"document.querySelector('{HOST}').shadowRoot.activeElement.getAttribute('aria-label')"
    assert page.evaluate(focused) == "layer 0, head 1"
    page.keyboard.press("Enter")
    page.settle("map 0 0 1")
    for key in ("Shift+ArrowDown", "Shift+ArrowDown", "Shift+ArrowDown", "Shift+ArrowRight"):
        page.keyboard.press(key)
    said = page.reads(".reading h4")
    assert said == "·cat → the"
    assert abs(float(page.reads(".reading .big")) - maps.weights[0, 1, 2, 1]) < 0.02
    page.keyboard.press("Escape")  # lets go of the cell
    page.keyboard.press("Escape")
    page.settle("heads 0 0 1")
    page.locator("[role=tab]").nth(0).focus()
    for view in ("map", "lines", "model"):
        page.keyboard.press("ArrowRight")
        page.settle(view)


def test_dragging_zooms_and_escape_shows_all(look):
    maps = some_maps(shape=(1, 1, 100, 100), spread=1.0)
    page = look(AttentionView(maps).page())
    page.settle("heads")
    page.locator(".cell").click()
    page.settle("map")
    page.mouse.move(*page.at(20, 30))
    page.mouse.down()
    page.mouse.move(*page.at(30, 40), steps=4)
    page.mouse.move(*page.at(35, 45))
    page.mouse.up()
    page.wait_for_selector(".whole:not([hidden])")
    said = page.hover(25, 40)
    assert said.startswith("word25 → word40")
    assert abs(weight_in(said) - maps.weights[0, 0, 25, 40]) < 0.02
    page.keyboard.press("Escape")
    page.wait_for_selector(".whole", state="hidden")


def test_a_slider_goes_over_training_and_differences_are_true(look):
    steps = [some_maps("decoder", title=f"step {n}", seed=n) for n in (0, 10, 100)]
    page = look(AttentionView(*steps, title="over training").page())
    page.settle("heads 2")
    slider = page.locator(".moment input")
    slider.fill("1")
    page.settle("heads 1")
    assert page.reads(".moment output") == "step 10"
    page.locator("[data-view=map]").click()
    page.settle("map 1")
    assert abs(weight_in(page.hover(6, 2)) - steps[1].weights[0, 0, 6, 2]) < 0.02
    page.locator("[data-mode=difference]").click()
    page.wait_for_selector("h3:has-text('step 10 minus step 0')")
    page.wait_for_selector(".open canvas[data-frame]")
    for t, s in ((6, 2), (8, 8), (3, 0)):
        wanted = steps[1].weights[0, 0, t, s] - steps[0].weights[0, 0, t, s]
        assert abs(weight_in(page.hover(t, s)) - wanted) < 0.02
    page.locator("[data-mode=beside]").click()
    page.wait_for_selector(".stage.two .panel:nth-child(2) canvas[data-frame]")
    assert [page.locator("h3").nth(i).inner_text() for i in (0, 1)] == ["step 0", "step 10"]
    page.hover(6, 2)
    for number, step in enumerate(steps[:2]):  # both follow the pointer
        assert abs(float(page.locator(".reading .big").nth(number).inner_text()) - step.weights[0, 0, 6, 2]) < 0.02
    page.keyboard.press(".")
    page.settle("map 2")
    page.locator("[data-mode=alone]").click()
    page.locator(".play").click()  # from the first to the last
    page.settle("map 0")
    page.settle("map 2")


def test_texts_of_different_length_stand_beside_each_other(look):
    first, second = some_maps(title="short"), some_maps(shape=(3, 4, 12, 12), title="long")
    page = look(AttentionView(first, second).page())
    page.settle("heads")
    assert page.locator("[data-mode=difference]").is_disabled()
    page.locator("[data-mode=beside]").click()
    page.locator("[data-view=map]").click()
    page.wait_for_selector(".stage.two .panel:nth-child(2) canvas[data-frame]")
    assert abs(weight_in(page.hover(11, 10, number=1)) - second.weights[0, 0, 11, 10]) < 0.02


def test_lines_tell_where_a_word_looks(look):
    maps = some_maps()
    page = look(AttentionView(maps).page())
    page.settle("heads")
    page.locator("[data-view=lines]").click()
    page.settle("lines")
    box = page.locator(".scroll canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 - 290, box["y"] + 8 + 2.5 * 24)
    best = int(maps.weights[0, 0, 2].argmax())
    assert page.reads(".status").startswith(f"·cat → {shown(maps.keys[best])} ")
    page.locator(".chips .all").click()
    page.settle("lines")
    assert page.locator(".chips [aria-pressed=true]").count() == 4
    page.locator(".chips button").nth(2).click()
    assert page.locator(".chips [aria-pressed=true]").count() == 3


def test_layers_have_a_slider_and_all_are_seen_at_once(look):
    page = look(AttentionView(some_maps()).page())
    page.settle("heads 0 0")
    page.locator(".layer input").fill("2")
    page.settle("heads 0 2")
    page.locator("[data-view=model]").click()
    page.settle("model 0 2")
    assert page.locator(".cell").count() == 12
    page.locator(".cell").nth(7).click()
    page.settle("map 0 1 3")


def test_a_uniform_head_is_not_blank(look):
    weights = np.full((1, 1, 512, 512), 1 / 512, np.float32)
    words = tuple(map(str, range(512)))
    page = look(AttentionView(AttentionMaps(weights, words, words, (0,), (0,))).page())
    page.settle("heads")
    pixel = """canvas => [...canvas.getContext('2d').getImageData(40, 40, 1, 1).data].slice(0, 3)"""
    assert max(page.locator(".cell canvas").evaluate(pixel)) < 200  # the card is 255
    page.locator(".cell").click()
    page.settle("map")
    assert abs(weight_in(page.hover(300, 200)) - 1 / 512) < 1e-4


def test_words_are_words_and_never_page(look):
    page = look(AttentionView(evil_maps(), title="</script><b>").page())
    page.settle("heads")
    page.locator("[data-view=map]").click()
    page.settle("map")
    assert page.hover(0, 1).startswith("</script><script>window.hacked=1</script> → <b>bold</b>")
    assert page.evaluate("window.hacked") is None
    assert page.reads(".title") == "</script><b>"


def test_theme_follows_the_system_until_it_is_switched(look):
    page = look(AttentionView(some_maps()).page(), scheme="dark")
    page.settle("heads")
    host = page.locator(HOST)
    assert host.get_attribute("data-theme") == "dark"
    dark = picture(page, "dark")
    page.locator(".theme").click()
    assert host.get_attribute("data-theme") == "light"
    page.wait_for_timeout(100)
    assert picture(page, "light") != dark


@pytest.mark.parametrize("view", ["heads", "map", "lines", "model"])
def test_a_telephone_is_wide_enough(look, view):
    steps = [some_maps(shape=(3, 12, 30, 30), title=f"step {n}", seed=n) for n in range(3)]
    page = look(AttentionView(*steps, title="A title of several words").page(), width=360, height=740)
    page.settle("heads")
    page.locator(f"[data-view={view}]").click()
    page.settle(view)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    picture(page, f"telephone_{view}")


def test_many_views_live_on_one_page(look):
    """Two pieces and a notebook's frame; the style of the page does not reach them, nor theirs the page."""
    views = [AttentionView(some_maps(seed=n), title=f"view {n}") for n in range(3)]
    style = "<style>h2 { color: red } canvas { display: none } p { font-size: 40px }</style>"
    page = look(
        f"<!doctype html>{style}<p id=own>own</p>{views[0].html()}{views[1].html()}{views[2]._repr_html_()}",
        height=2400,
    )
    page.wait_for_function(f"[...document.querySelectorAll('{HOST}')].every(host => host.dataset.drawn)")
    assert [page.locator(f"{HOST} .title").nth(i).inner_text() for i in (0, 1)] == ["view 0", "view 1"]
    assert page.locator(f"{HOST} .cell canvas").nth(0).is_visible()
    assert page.evaluate("getComputedStyle(document.getElementById('own')).fontSize") == "40px"
    frame = page.frame_locator("iframe")
    frame.locator(".cell").nth(3).click()
    frame.locator(f"{HOST}[data-drawn^='map 0 0 3']").wait_for()
    page.locator("iframe").evaluate("frame => frame.setAttribute('sandbox', 'allow-scripts')")  # as some notebooks do
    page.locator("iframe").evaluate("frame => { frame.srcdoc += ' ' }")
    frame.locator(f"{HOST}[data-drawn^='heads 0 0 0']").wait_for()
    page.locator(f"{HOST} >> nth=1 >> .cell >> nth=2").click()
    page.wait_for_selector(f"{HOST}[data-drawn^='map 0 0 2']")
    assert page.locator(HOST).nth(0).get_attribute("data-drawn") == "heads 0 0 0"  # the others stay as they are


def test_a_report_may_hold_maps(look):
    from markupsafe import Markup

    from train.page import page as report

    steps = [some_maps(title=f"step {n}", seed=n) for n in range(3)]
    page = look(report("run", "run", Markup("<section>{}</section>").format(fragment(steps)), ""))
    page.settle("heads 2")
    page.locator(".moment input").fill("0")
    page.settle("heads 0")


@pytest.mark.slow
def test_a_large_page_shows_its_first_picture_in_two_seconds(look, tmp_path):
    scores = np.random.default_rng(0).normal(size=(1, 12, 512, 512)).astype(np.float32)
    words, numbers = tuple(f"word{i}" for i in range(512)), tuple(range(12))
    weights = np.tile(softmax(2 * scores), (12, 1, 1, 1))
    path = AttentionView(AttentionMaps(weights, words, words, numbers, numbers)).save(tmp_path / "large.html")
    assert path.stat().st_size < 16e6
    begin = time.perf_counter()
    page = look(path)
    page.settle("heads 0 0 0")
    seconds = time.perf_counter() - begin
    print(f"{path.stat().st_size / 1e6:.1f} MB, first picture after {seconds:.2f} s")
    picture(page, "large")
    assert seconds < 2.0
