"""The report: standalone, well formed, true to the record, and never in the way of training."""

import json
import math
import os
import random
import re
from html.parser import HTMLParser

import pytest

from train import lines as lines_module
from train import page, report
from train import record as record_module
from train.charts import Chart, Scale, Series, binned, draw, smooth, ticks
from train.record import Record
from train.report import LiveReport, render, write_report
from train.report_sections import glued
from train.tracking import Tracker

VOID = {"meta", "br", "path", "link", "img", "hr"}
EVIL = "<script>alert('&\"')</script>"


def write_run(folder, steps=60, done=True, name=EVIL):
    """A small run as training leaves it, its name and words chosen to break careless HTML."""
    with Tracker.open(folder) as tracker:
        for step in range(1, steps + 1):
            loss = 6 + 4 * math.exp(-step / 10)
            tracker.step(
                step,
                {
                    "loss": loss + 0.7,
                    "masked": float("nan") if step == 7 else loss,
                    "masked_accuracy": step / 500,
                    "next_sentence_accuracy": 0.5,
                    "learning_rate": 1e-4 * step,
                    "grad_norm": 1 + 9 * math.exp(-step),
                    "tokens": 1000,
                    "seconds": 0.5,
                    "tokens_per_second": 2000.0,
                },
            )
            if step % 20 == 0:
                tracker.evaluation(
                    step, {"valid_loss": loss + 0.1, "masked_accuracy": step / 600, "context_gain": 0.01 * step}
                )
                tracker.event("checkpoint", step=step)
        tracker.event("skip", step=7, example_ids=[1, 2])
        tracker.event("resume", step=40)
        if done:
            tracker.event("done", step=steps, valid_loss=6.1)
    base = {"steps": steps, "model": {"vocab_size": 4096, "num_layers": 2, "hidden_size": 128}, "compute_dtype": "auto"}
    files = {
        "run.json": {"experiment": name},
        "base.json": base,
        "config.json": base | {"compute_dtype": "float32", "data": {"source": {"name": "python_docs"}}},
        "environment.json": {
            "command": f"python {EVIL}",
            "device_kind": "cpu",
            "parameters": 12345678,
            "packages": {"jax": "1"},
        },
        "scores.json": {"valid_loss": 6.1, "unigram_entropy": 6.5, "context_gain": 0.25, "valid_loss_shuffled": 6.35},
        "samples.json": [
            {
                "tokens": ["[CLS]", "the", "[MASK]", "##s", EVIL, ".", "[SEP]"],
                "places": [{"token_index": 2, "target": "word", "predictions": [["word", 0.5], [EVIL, 0.25]]}],
            }
        ],
    }
    for file, value in files.items():
        if done or file not in ("scores.json", "samples.json"):
            (folder / file).write_text(json.dumps(value))
    return folder


class Checker(HTMLParser):
    """Balanced tags, every id once, every link to an id that is there."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes[name] for name in ("href", "src") if name in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def text(run):
    return write_report(run).read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_its_links_lead_somewhere(text):
    checker = Checker(text)
    assert len(checker.ids) == len(set(checker.ids)) > 10
    assert checker.links and all(link.startswith("#") and link[1:] in checker.ids for link in checker.links)
    assert [tag for tag, _ in checker.tags].count("h1") == 1
    labels = [attributes.get("aria-labelledby") for tag, attributes in checker.tags if tag == "section"]
    assert all(label in checker.ids for label in labels)
    assert all(attributes["aria-label"] for tag, attributes in checker.tags if attributes.get("role") == "img")


def test_the_page_needs_no_network_and_runs_no_words_of_the_run(text):
    assert not re.search(r"https?://|@import|url\(|<link|<img|<iframe", text)
    assert "default-src 'none'" in text
    assert text.count("<script>") == 1 and EVIL not in text


def test_two_reports_fit_on_one_page(text, tmp_path):
    other = Checker(write_report(write_run(tmp_path)).read_text())
    assert not set(other.ids) & set(Checker(text).ids)


def test_every_part_is_there_and_says_what_the_record_says(text):
    checker = Checker(text)
    for words in ("6.100", "0.400 under the unigram entropy", "+0.250", "2,000", "12.3 M", "finished", EVIL):
        assert words in checker.text, words
    titles = [attributes["id"].rsplit("-", 1)[-1] for tag, attributes in checker.tags if tag == "section"]
    assert titles == ["result", "curves", "evaluations", "predictions", "configuration", "environment", "events"]
    charts = [attributes["id"].rsplit("-", 1)[-1] for tag, attributes in checker.tags if tag == "figure"]
    assert charts == ["loss", "accuracy", "pairs", "total", "rate", "norm", "speed", "gain"]
    assert "was auto" in checker.text and "not in the declared experiment" in checker.text
    assert "2 fields differ" in checker.text


def test_no_part_fails_silently(run):
    record = Record.read(run)
    assert report.heading(record) and report.tiles(record) and report.curves(record)
    for make in ("result", "evaluations_and_speed", "predictions", "settings", "environment", "events"):
        assert getattr(report.sections, make)(record), make


@pytest.mark.parametrize("steps", [0, 1, 2, 25])
def test_an_unfinished_run_has_a_report_too(tmp_path, steps):
    text = write_report(write_run(tmp_path, steps, done=False)).read_text()
    Checker(text)
    assert "under way" in text and "finished" not in text


def test_an_empty_folder_has_a_page_and_a_missing_one_is_said(tmp_path):
    Checker(write_report(tmp_path).read_text())
    said = []
    assert write_report(tmp_path / "missing", say=said.append) is None
    assert len(said) == 1 and "\n" not in said[0]


def junk(rng, depth=0):
    """A JSON value of no particular sense."""
    leaves = [None, True, -1, 10**400, 1e308, -0.0, "", EVIL, "\ud800", "step", float("nan"), float("inf")]
    kind = rng.randrange(4 if depth < 3 else 2)
    if kind < 2:
        return rng.choice(leaves)
    if kind == 2:
        return [junk(rng, depth + 1) for _ in range(rng.randrange(4))]
    names = [
        "step",
        "loss",
        "event",
        "valid_loss",
        "time",
        "tokens",
        "places",
        "model",
        "steps",
        "target",
        "predictions",
        "seconds",
    ]
    return {rng.choice(names): junk(rng, depth + 1) for _ in range(rng.randrange(5))}


@pytest.mark.parametrize("seed", range(30))
def test_strange_files_and_lines_never_raise(tmp_path, seed):
    rng = random.Random(seed)
    write_run(tmp_path, 5)
    for name in ("run", "base", "config", "environment", "scores", "samples", "data"):
        if rng.random() < 0.7:
            (tmp_path / f"{name}.json").write_bytes(rng.choice([json.dumps(junk(rng)).encode(), b"\xff", b"{", b""]))
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        for _ in range(30):
            line = junk(rng)
            line = {"step": rng.choice([3, -5, 10**30]), **line} if isinstance(line, dict) else line
            file.write(json.dumps(line).encode() + b"\n")
    said = []
    path = write_report(tmp_path, say=said.append)
    assert path is not None and said == []
    Checker(path.read_text(encoding="utf-8"))


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_report(write_run(tmp_path))
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    said = []
    assert write_report(tmp_path, say=said.append) is None
    assert path.read_bytes() == before and "No space left" in said[0]


def test_a_long_run_stays_a_small_page(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        "".join(f'{{"step": {step}, "loss": {6 + step % 7}, "grad_norm": 1.5}}\n' for step in range(1, 30_001))
    )
    assert len(render(Record.read(tmp_path))) < 200_000


def test_a_very_long_run_is_held_in_part_and_summed_whole(tmp_path, monkeypatch):
    """Even steps, the last line, and the end are kept; sums and the slowest step count every line; junk is left out."""
    monkeypatch.setattr(record_module, "MOST_STEPS", 500)
    monkeypatch.setattr(record_module, "MOST_OTHERS", 50)
    monkeypatch.setattr(lines_module, "LONGEST_LINE", 300)
    with open(tmp_path / "metrics.jsonl", "w") as file:
        for step in range(1, 9_001):
            seconds = 7.5 if step == 4_321 else 0.5
            file.write(f'{{"step": {step}, "loss": 5, "seconds": {seconds}, "tokens": 10}}\n')
            if step % 10 == 0:
                file.write(f'{{"step": {step}, "event": "skip"}}\n{{"step": {step}, "lo\nnonsense NaN\n')
        file.write(f'{{"step": 9000, "event": "done"}}\n{{"step": 9000, "loss": 1, "x": "{"y" * 900}"}}\n')
        file.write(
            f'{{"step": {10**30}, "loss": 5}}\n{{"step": -1, "loss": 5}}\n{{"step": 9000, "loss": "5", "seconds": NaN}}\n'
        )
    record = Record.read(tmp_path)
    assert 250 <= len(record.steps) <= 502 and len(record.events) <= 54 and record.is_done and record.last_step == 9_000
    gaps = {b["step"] - a["step"] for a, b in zip(record.steps[:-2], record.steps[1:-1], strict=True)}
    assert len(gaps) == 1
    assert record.sums == {"seconds": 0.5 * 9_000 + 7.0, "tokens": 90_000.0} and record.largest["seconds"] == 7.5
    text = render(record)
    assert "finished" in text and "90,000" in text and f"{9_000:,}" in text
    Checker(text)


def test_keeping_the_report_fresh_costs_at_most_a_fiftieth_of_the_time(tmp_path, monkeypatch):
    now, written = [0.0], []

    def slow(*_, **__):
        now[0] += 2.0
        written.append(now[0])

    monkeypatch.setattr(report, "write_report", slow)
    live = LiveReport(tmp_path, clock=lambda: now[0])
    for _ in range(1000):
        live.refresh()
        now[0] += 1.0
    assert 2.0 * len(written) <= now[0] / 50 + 2.0 and len(written) > 8


def frame(figure):
    """The coordinates of all curves in a figure."""
    paths = re.findall(r'class="tone\d (?:curve|dot|noise|band|thin)" d="([^"]+)"', figure)
    return [tuple(map(float, pair.split())) for d in paths for pair in re.findall(r"-?[\d.]+ -?[\d.]+", d)]


@pytest.mark.parametrize("count", [1, 2, 50, 5000])
@pytest.mark.parametrize("log", [False, True])
def test_curves_lie_in_their_frame_and_leave_out_what_is_not_finite(count, log):
    rng = random.Random(count)
    points = [(step, None if step % 13 == 5 else rng.random() + 100 * (step == 1)) for step in range(1, count + 1)]
    points.append((count + 1, math.inf))
    figure = draw(Chart("a", "A", [Series("s", points, kind=kind) for kind in ("line", "plain", "dots")], log=log))
    places = frame(figure)
    assert places and "nan" not in figure and "inf" not in figure
    if count < 5000:  # the outermost hundredth of the noise may leave the frame, the curve may not
        assert all(-1 <= x <= 1001 and -1 <= y <= 1001 for x, y in places)


def test_a_chart_without_points_is_nothing_and_a_constant_one_is_drawn():
    assert draw(Chart("a", "A", [Series("s", []), Series("t", [(1, None)])])) == ""
    assert frame(draw(Chart("a", "A", [Series("s", [(step, 0.0) for step in range(9)])])))


def test_bins_keep_the_extremes_and_smoothing_keeps_a_constant():
    rng = random.Random(0)
    points = [(step, rng.gauss(0, 1)) for step in range(12_345)]
    bins = binned(points)
    assert len(bins) <= 320
    assert min(low for *_, low, _ in bins) == min(y for _, y in points)
    assert max(high for *_, high in bins) == max(y for _, y in points)
    assert all(y == 3.0 for _, y in smooth(binned([(step, 3.0) for step in range(999)])))


def test_ticks_are_few_and_inside():
    rng = random.Random(0)
    for _ in range(300):
        low = rng.uniform(-10, 10) * 10 ** rng.randint(-6, 6)
        scale = Scale(low, low + rng.random() * 10 ** rng.randint(-6, 6) + 1e-9)
        found = ticks(scale)
        assert 2 <= len(found) <= 9 and all(-1e-6 <= scale.at(tick) <= 1 + 1e-6 for tick in found), (scale, found)


def test_word_pieces_join_as_their_tokenizer_says():
    assert glued("##ing", ["go"], ["go", "##ing"]) and not glued("on", ["go"], ["go", "on"])
    assert glued("ing", ["\u2581go"], ["\u2581go", "ing"]) and not glued(
        "\u2581on", ["\u2581go"], ["\u2581go", "\u2581on"]
    )
    assert glued("b", ["a"], ["a", "b", "[SEP]"])


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_can_be_read_in_light_and_dark():
    themes = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", page.STYLE, re.S)
    ]
    assert len(themes) == 2
    for theme in themes:
        texts = ["ink", "soft", "good", "near", "bad", *(f"tone{n}" for n in range(1, 6))]
        pairs = [(text, ground) for text in texts for ground in ("paper", "card", "wash")]
        for text, ground in [*pairs, *((name, f"{name}-wash") for name in ("good", "near", "bad"))]:
            dark, light = sorted((luminance(theme[text]), luminance(theme[ground])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
