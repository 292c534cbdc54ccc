"""The report of a classifier: true to its predictions, well formed, readable in light and dark, and never in the way."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from train import report_tasks
from train.confusion import STRONGEST, draw_confusion
from train.predictions import FILE, Attributions, Predictions, predictions_json, surest_mistakes
from train.record import Record
from train.report import write_report
from train.report_sections import outcomes
from train.task_metrics import confusion_matrix

EVIL = "<script>alert('&\"')</script>"
LABELS = ("negative", EVIL, "neutral")


def neighbour(name):
    """A module of tests beside this one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Checker = neighbour("test_report").Checker


def classifier(folder, labels=LABELS, count=60, attributed=True, seed=0):
    """A run folder with predictions as fine-tuning leaves them; targets, logits."""
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, len(labels), count)
    logits = draw.normal(size=(count, len(labels))).astype(np.float32)
    logits[np.arange(count), targets] += 1.0
    texts = [("first " + EVIL, f"second {n}") if n % 2 else f"text {n} {EVIL}" for n in range(count)]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = surest_mistakes(logits.argmax(1), targets, probabilities, 20)
    tokens = ("[CLS]", "un", "##like", EVIL, "good", "[SEP]")
    found = {n: Attributions(tokens, (0.0, 0.5, -0.25, 1.0, 0.001, 0.0)) for n in wrong} if attributed else None
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_text(json.dumps(predictions_json(labels, texts, logits, targets, found)))
    (folder / "scores.json").write_text(json.dumps({"accuracy": 0.75, "matthews": 0.5, "valid_loss": 0.4}))
    config = {
        "data": {"task": {"name": "classification", "labels": list(labels)}},
        "model": {"num_layers": 2, "hidden_size": 128, "vocab_size": 30_000},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return targets, logits


def test_predictions_are_read_as_they_were_written(tmp_path):
    targets, logits = classifier(tmp_path)
    found = Predictions.read(tmp_path)
    assert found.labels == LABELS and (found.targets == targets).all() and (found.predicted == logits.argmax(1)).all()
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-4)
    assert found.texts[1] == ("first " + EVIL, "second 1") and len(found.texts[0]) == 1
    number, one = next(iter(found.attributions.items()))
    assert one.tokens[1] == "un" and one.scores[3] == 1.0 and targets[number] != logits[number].argmax()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"labels": ["a"], "examples": []}',
        '{"labels": ["a", "b"], "examples": [{"text": "x", "target": 2, "predicted": 0, "probabilities": [1, 0]}]}',
        '{"labels": ["a", "b"], "examples": [{"text": "x", "target": 0, "predicted": 0, "probabilities": [1]}]}',
        '{"labels": ["a", "b"], "examples": [{"text": "x", "target": 0, "predicted": 0, "probabilities": [NaN, 1]}]}',
        '{"labels": 3, "examples": 4}',
        '{"labels": ["a", "b"], "examples": [{"text": "x", "target": "a", "predicted": 0, "probabilities": [1, 0]}]}',
    ],
)
def test_strange_files_are_left_out_of_the_report(tmp_path, text):
    classifier(tmp_path)
    (tmp_path / FILE).write_text(text)
    assert Predictions.read(tmp_path) is None
    page = write_report(tmp_path).read_text()
    Checker(page)
    assert "Confusion matrix" not in page and "Accuracy" in page


def test_the_page_is_well_formed_and_runs_no_words_of_the_data(tmp_path):
    classifier(tmp_path)
    page = write_report(tmp_path).read_text()
    checker = Checker(page)
    assert len(checker.ids) == len(set(checker.ids))
    assert page.count("<script>") == 1 and EVIL not in page
    titles = [attributes["id"].rsplit("-", 1)[-1] for tag, attributes in checker.tags if tag == "section"]
    assert titles == ["result", "classes", "errors", "configuration"]
    assert all(attributes["aria-label"] for tag, attributes in checker.tags if attributes.get("role") == "img")


def test_the_numbers_on_the_page_are_those_of_the_predictions(tmp_path):
    targets, logits = classifier(tmp_path)
    assert outcomes(Record.read(tmp_path)) == len(LABELS)  # of which one is guessed, not of so many tokens
    text = Checker(write_report(tmp_path).read_text()).text
    right = int((logits.argmax(1) == targets).sum())
    assert f"60 held-out examples, {right} of them right ({right / 60:.1%})" in text
    assert f"{60 - right} of 60 are wrong" in text
    assert "Matthews correlation" in text and "in nats an example" in text
    counts = confusion_matrix(logits.argmax(1), targets, 3)
    picture = Checker(str(draw_confusion("x", counts, LABELS)))
    for row in range(3):
        for column in range(3):
            told = "found" if row == column else f"taken for {LABELS[column]}"
            share = counts[row, column] / counts[row].sum()
            assert f"{LABELS[row]} {told}: {counts[row, column]}, {share:.0%} of {counts[row].sum()}" in picture.text


def test_mistakes_are_shown_the_surest_first_with_their_words(tmp_path):
    classifier(tmp_path)
    record, found = Record.read(tmp_path), Predictions.read(tmp_path)
    page = report_tasks.errors(record)
    wrong = surest_mistakes(found.predicted, found.targets, found.probabilities, 99)
    chances = [found.probabilities[n, found.predicted[n]] for n in wrong]
    assert chances == sorted(chances, reverse=True) and page.count("<article") == min(len(wrong), 20)
    assert [f"{100 * chance:.1f}%" in page for chance in chances[:20]] == [True] * min(len(wrong), 20)
    text = report_tasks.tinted(next(iter(found.attributions.values())))
    assert text.startswith('<span class="for" style="--share:0.50" title="+0.500">un</span>')
    assert '<span class="against" style="--share:0.25" title="-0.250">like</span>' in text
    assert " <span>good</span>" in text and "CLS" not in text


def test_a_right_class_is_always_among_the_guesses(tmp_path):
    labels = tuple(f"class {n}" for n in range(9))
    classifier(tmp_path, labels, 80, attributed=False)
    found = Predictions.read(tmp_path)
    for number in surest_mistakes(found.predicted, found.targets, found.probabilities, 20):
        card = report_tasks.error_card(found, number)
        assert card.count("<li") == 5 and "class=right" in card


@pytest.mark.parametrize("classes", [2, 16, 17, 60, 300])
def test_a_matrix_of_any_size_is_drawn(tmp_path, classes):
    classifier(tmp_path, tuple(f"a class called {n}" for n in range(classes)), 500, attributed=False)
    page = report_tasks.classes(Record.read(tmp_path))
    Checker(page)
    assert "Confusion matrix" in page and len(page) < 400_000
    assert ("largest of" in page) == (classes > 30)


def test_not_one_mistake_is_said_too(tmp_path):
    eye = np.eye(2, dtype=np.float32)[[0, 1, 1]] * 9
    (tmp_path / FILE).write_text(json.dumps(predictions_json(("a", "b"), ["x"] * 3, eye, np.array([0, 1, 1]))))
    page = write_report(tmp_path).read_text()
    assert "Not one mistake." in page and "Mistakes" not in page


def test_the_text_on_tinted_squares_can_be_read_light_and_dark(browser, tmp_path):
    """Contrast of at least 4.5 to 1 on the strongest tint, as a browser computes the colours."""
    classifier(tmp_path)
    write_report(tmp_path)
    for scheme in ("light", "dark"):
        for width in (390, 1200):
            view = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            view.goto((tmp_path / "report.html").as_uri())
            assert view.evaluate("document.documentElement.scrollWidth") == width
            colours = view.evaluate(
                """() => { const of = (query, name) => getComputedStyle(document.querySelector(query))[name];
                return [of(".confusion text", "fill"), of("figure.confusion", "backgroundColor"),
                        of("rect.right", "fill"), of("rect.wrong", "fill")]; }"""
            )
            ink, card, *tones = (np.array([float(v) for v in c[c.index("(") + 1 : -1].split(",")[:3]]) for c in colours)
            for tone in tones:
                assert contrast(ink, STRONGEST * tone + (1 - STRONGEST) * card) >= 4.5, (scheme, tone)
            view.close()


def contrast(one, other):
    """The contrast of two colours by WCAG 2.1."""

    def luminance(colour):
        share = colour / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
