"""Pages of words that try to get out of their place: nothing runs that is not ours, and the pages still work.

Every place of a page that takes text from files, data or users is filled with the words below: names, labels, events, modules,
ids, settings, packages, tokens, titles. The parser sees no script, handler or address that we did not write; a browser, where
there is one, runs nothing and complains of nothing.
"""

import ast
import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from experiments.reproduction_page import render as render_reproduction
from model.inspection.head_table import HeadScores
from model.inspection.lens import LogitLens
from model.inspection.lens_table import LensTable
from model.inspection.maps import AttentionMaps
from model.inspection.markup import embedded
from model.inspection.per_text import PerText
from model.inspection.view import AttentionView
from train.charts import Chart, Series
from train.mistakes import Mistakes
from train.predictions import FILE, Attributions, Predictions, predictions_json
from train.report import write_report
from train.several import comparison_page

ROOT = Path(__file__).parents[2]
HOSTILE = (
    "</script><script>window.pwned=1</script>",
    '"><img src=x onerror="window.pwned=1">',
    "' onmouseover='window.pwned=1' x='",
    '" autofocus onfocus="window.pwned=1" x="',
    "</style><svg onload=window.pwned=1>",
    "</title><iframe srcdoc='<script>parent.pwned=1</script>'>",
    "<!--<script>window.pwned=1</script>-->",
    "]]><a href=javascript:window.pwned=1>x</a>",
    "red;background:url(javascript:window.pwned=1)}</style>",
    "{{ 7*7 }}{% raw %}${window.pwned=1}`",
    "&quot;&lt;script&gt;\u2028\u2029</template>",
)
ALL = " ".join(HOSTILE)
WRITTEN = {  # what our pages are made of
    *(
        "id",
        "class",
        "style",
        "role",
        "tabindex",
        "title",
        "name",
        "content",
        "charset",
        "lang",
        "scope",
        "href",
        "d",
        "x",
        "y",
    ),
    *(
        "http-equiv",
        "viewbox",
        "preserveaspectratio",
        "width",
        "height",
        "fill-opacity",
        "text-anchor",
        "transform",
        "type",
    ),
    *(
        "data-curves",
        "data-page",
        "data-view",
        "data-mode",
        "min",
        "max",
        "step",
        "value",
        "hidden",
        "srcdoc",
        "part",
        "for",
    ),
}


class Scripts(HTMLParser):
    """Scripts, policies and all attributes of a document, its frames included."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.policies, self.inside, self.frames = [], [], None, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            assert name in WRITTEN or name.startswith("aria-"), (tag, name, value)
            assert name != "href" or re.fullmatch(r"#[\w-]+", value), value
            assert name != "style" or ("url(" not in value and len(value) < 200), value
            assert name != "id" or re.fullmatch(r"[\w-]+", value), value
        found = dict(attributes)
        assert tag not in {"img", "object", "embed", "base", "form", "link", "a"} or (tag == "a" and "href" in found), (
            tag
        )
        if tag == "script":
            self.inside = found.get("type", "")
            self.scripts.append((self.inside, ""))
        if tag == "iframe":
            self.frames.append(found["srcdoc"])
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(found["content"])

    def handle_endtag(self, tag):
        self.inside = None if tag == "script" else self.inside

    def handle_data(self, data):
        if self.inside is not None:
            kind, text = self.scripts[-1]
            self.scripts[-1] = kind, text + data


def checked(text: str, *, document: bool = True) -> None:
    """Nothing is there that we did not write, and the policy lets our scripts run, each by its hash."""
    found = Scripts(text)
    for frame in found.frames:
        checked(frame)
    for kind, script in found.scripts:
        assert kind in ("", "application/json")
        if kind:
            json.loads(script)
            continue
        assert "pwned" not in script
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert not document or f"'sha256-{digest}'" in found.policies[0]
    if document:
        (policy,) = found.policies
        assert policy.startswith("default-src 'none'; ")
        allowed = re.search(r"script-src ([^;]*);", policy)
        assert allowed is not None and "unsafe" not in allowed[1] and "data:" not in allowed[1]


def hostile_run(folder: Path) -> Path:
    """A run folder whose every word is hostile."""
    folder.mkdir(exist_ok=True)
    lines: list[dict] = [
        {"step": step, "time": 1e9 + step, "loss": 5.0 - 0.1 * step, ALL: step, "learning_rate": 1e-4, "tokens": 10}
        for step in range(1, 31)
    ]
    heads = {"entropy": [0.5, 0.6], "sink_mass": [0.1, 0.2]}
    lines += [{"step": step, "event": "heads", "heads": {word: heads for word in HOSTILE}} for step in (1, 2, 3)]
    lines += [{"step": step, "event": word, word: word, "time": 1e9} for step, word in enumerate(HOSTILE)]
    lines += [
        {"step": 20, "valid_loss": 4.0, "accuracy": 0.5, ALL: 1.0},
        {"step": 30, "valid_loss": 3.0, "accuracy": 0.6},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    nested = {ALL: ALL, "deep": {word: {word: [word]} for word in HOSTILE}}
    places = [
        {"token_index": 1, "target": word, "predictions": [[other, 0.5] for other in HOSTILE[:4]]} for word in HOSTILE
    ]
    files = {
        "run.json": {"experiment": ALL},
        "config.json": {
            "steps": 30,
            "model": {"num_layers": ALL, "hidden_size": ALL, "vocab_size": 100},
            "data": {"source": {"name": ALL}, "task": {"name": "classification", "labels": list(HOSTILE)}},
            **nested,
        },
        "base.json": {"steps": 20, "model": {"num_layers": 2}, ALL: "other"},
        "environment.json": {
            "command": ALL,
            "device_kind": ALL,
            "device_count": ALL,
            "git_revision": ALL,
            "packages": nested,
            **nested,
        },
        "data.json": nested,
        "scores.json": {"valid_loss": 3.0, "unigram_entropy": 5.0, "accuracy": 0.5, **{word: 1.0 for word in HOSTILE}},
        "samples.json": [
            {"source": list(HOSTILE), "tokens": ["[CLS]", *HOSTILE, "[MASK]"], "places": [place]} for place in places
        ],
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    draw = np.random.default_rng(0)
    targets, logits = draw.integers(0, len(HOSTILE), 40), draw.normal(size=(40, len(HOSTILE))).astype(np.float32)
    texts = [(word, word) if n % 2 else word for n, word in enumerate(HOSTILE * 4) if n < 40]
    wrong = np.flatnonzero(logits.argmax(1) != targets)[:6]
    found = {int(n): Attributions(("[CLS]", *HOSTILE), tuple(draw.normal(size=len(HOSTILE) + 1))) for n in wrong}
    (folder / FILE).write_text(json.dumps(predictions_json(HOSTILE, texts, logits, targets, found)))
    (folder / "attention").mkdir(exist_ok=True)
    for step in (1, 2):
        arrays = {"layers.0.attention": np.full((1, 11, 11), 1 / 11, np.float16), "tokens": np.array(HOSTILE)}
        np.savez_compressed(folder / "attention" / f"{step}.npz", **arrays)
    return folder


def hostile_comparison() -> str:
    item = {"mean": 0.5, "spread": 0.1}
    compared = {
        "settings": {word: {ALL: item, "accuracy": item} for word in HOSTILE},
        "runs": [
            {"setting": word, "seed": ALL, "folder": ALL, "scores": {ALL: 0.5, "accuracy": 0.5}} for word in HOSTILE
        ],
    }
    return comparison_page(ALL, compared)


def hostile_reproduction() -> str:
    result = {
        "reproduction": ALL,
        "verdict": "reproduced " + ALL,
        "claim": ALL,
        "paper": ALL,
        "departs": ALL,
        "criteria": [{"criterion": word, "holds": n % 2 == 0} for n, word in enumerate(HOSTILE)],
        "measured": {word: {word: {"mean": 1.0, "spread": None, "per_seed": [1.0, None]}} for word in HOSTILE},
        "control": HOSTILE[0],
        "published": {ALL: ALL},
        "floor": {ALL: 1.0},
        "environment": {"command": ALL, "python": ALL},
        "seconds": ALL,
    }
    charts = [
        Chart(
            "one",
            ALL,
            [Series(ALL, [(1, 1.0), (2, 2.0)])],
            note=ALL,
            unit=ALL,
            levels=[(ALL, 1.0)],
            marks=[(1, ALL)],
            axis=ALL,
        )
    ]
    return render_reproduction(result, charts)


def hostile_view() -> AttentionView:
    size = len(HOSTILE)
    maps = [
        AttentionMaps(
            np.full((1, 2, size, size), 1 / size, np.float32), HOSTILE, HOSTILE, (0,), (0, 1), "encoder", word
        )
        for word in (ALL, "second")
    ]
    return AttentionView(*maps, title=ALL)


def notebook_pieces(folder: Path) -> list[str]:
    scores = {word: np.ones((1, 2)) for word in HOSTILE}
    table = HeadScores(scores, (0,), (0, 1), ALL)
    lens = LensTable(LogitLens((ALL,), np.zeros((1, 1, 1, 2), np.float32)), (ALL,), ((ALL,),), np.ones((1, 1)))
    predictions = Predictions.read(folder)
    assert predictions is not None
    mistakes = Mistakes(predictions, (0, 1, 2))
    several = HeadScores.of_texts([table, table])
    texts = PerText([lens, ALL], [ALL, ALL])
    return [one._repr_html_() for one in (table, several, lens, mistakes, texts, hostile_view())]


def report_of(tmp_path: Path) -> str:
    said: list[str] = []
    path = write_report(hostile_run(tmp_path / "run"), say=said.append)
    assert path is not None and not said
    return path.read_text(encoding="utf-8")


def test_hostile_words_stay_words(tmp_path):
    report = report_of(tmp_path)
    for part in (
        "curves",
        "evaluations",
        "predictions",
        "classes",
        "errors",
        "attention",
        "configuration",
        "environment",
        "events",
    ):
        assert re.search(rf'<section id="[\w-]+-{part}"', report), part
    for text in (report, hostile_comparison(), hostile_reproduction(), hostile_view().page()):
        checked(text)
        assert "{{ 7*7 }}{% raw %}" in text  # no word is a template
    for piece in notebook_pieces(tmp_path / "run"):
        checked(piece, document=False)


@pytest.mark.parametrize("what", ["report", "comparison", "reproduction", "view", "notebook"])
def test_nothing_runs_in_a_browser(browser, tmp_path, what):
    """No script of the words runs, nothing is asked for, the console is silent, and the page works."""
    if what == "notebook":
        report_of(tmp_path)
        text = "<!doctype html><meta charset=utf-8>" + "".join(notebook_pieces(tmp_path / "run"))
    else:
        text = {"report": lambda: report_of(tmp_path), "comparison": hostile_comparison, "reproduction": hostile_reproduction,
                "view": lambda: hostile_view().page()}[what]()  # fmt: skip
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    page, said, asked = browser.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    if what in ("report", "view"):
        page.wait_for_selector(".loupe-attention[data-drawn]", timeout=20_000)
    if what in ("report", "comparison", "reproduction"):
        plot = page.locator(".plot").first
        plot.focus()
        page.keyboard.press("Home")
        assert plot.locator(".tip").count() == 1
    page.mouse.move(300, 300)
    page.keyboard.press("Tab")
    for frame in page.frames:
        assert frame.evaluate("window.pwned") is None
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "about:", "data:"))] == []
    page.close()


def test_an_injected_script_would_not_run_either(browser, tmp_path):
    """The policy by itself: a script that got into a page is refused."""
    injected = "<script>window.pwned=1</script><b id=x onclick='window.pwned=1'>x</b></body>"
    text = hostile_view().page().replace("</body>", injected)
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector(".loupe-attention[data-drawn]", timeout=20_000)
    page.evaluate("document.getElementById('x').click()")
    assert page.evaluate("window.pwned") is None
    page.close()


def test_json_in_a_script_ends_nothing():
    text = embedded({"a": ALL})
    assert not re.search("[<>&\u2028\u2029]", text) and json.loads(text) == {"a": ALL}


TAG = r"</?(p|b|td|th|tr|div|span|script|li|section|table|style)\b[^>]*>"
TEMPLATES = sorted([*(ROOT / "train/pages").glob("*.html"), *(ROOT / "model/inspection/viewer").glob("*.html")])


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_escape(path):
    """Nothing is called safe, values stand in quotes, no script or handler takes one."""
    text = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.search(r"\|\s*safe|autoescape|Markup", text)
    assert not re.search(r"=\s*\{\{", text), "an attribute without quotes"
    assert not re.search(r"\son\w+\s*=", text)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    assert all(script in ("{{ script }}", "{{ data }}") for script in scripts)


def test_only_templates_make_markup():
    """`Markup` is made of words that stand in the source, and HTML nowhere else."""
    for folder in ("model", "train", "experiments", "data"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Markup":
                    assert path.name == "markup.py" or isinstance(node.args[0], ast.Constant), path
                if isinstance(node, ast.JoinedStr):
                    fixed = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
                    assert not re.search(r"</?(p|b|td|th|tr|div|span|script|li|section|table|style)\b[^>]*>", fixed), (
                        path,
                        fixed,
                    )
