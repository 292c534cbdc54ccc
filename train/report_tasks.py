"""The parts of the report that a fine-tuned classifier has: its classes, how sure it is, and its mistakes with their text.

All from `predictions.json` of the run folder (train/predictions.py).
"""

import numpy as np
from markupsafe import Markup

from train.charts import Chart, Series, draw
from train.confusion import draw_confusion
from train.page import fill
from train.predictions import Attributions, Predictions, surest_mistakes
from train.record import Record
from train.report_sections import SPECIAL, bare, glued
from train.task_metrics import calibration_bins, classification_report, confusion_matrix, expected_calibration_error

FEW_CLASSES, MOST_CLASSES = 6, 30  # a matrix beside the table, and rows of the table
MOST_MISTAKES, MOST_GUESSES = 20, 5
LONGEST_TEXT = 1_200  # letters of a text that is shown


def classes(record: Record) -> Markup:
    """Scores of each class, which class is taken for which, and whether the model is as often right as it is sure."""
    found = Predictions.read(record.folder)
    if found is None:
        return Markup("")
    counts = confusion_matrix(found.predicted, found.targets, len(found.labels))
    picture = draw_confusion(f"{record.ident}-confusion", counts, found.labels)
    beside, below = ([picture], "") if len(found.labels) <= FEW_CLASSES else ([], picture)
    return fill("tasks", "classes", class_table(found), [calibration(record.ident, found), *beside], below)


def classes_lead(record: Record) -> str:
    """On how many examples all this rests."""
    found = Predictions.read(record.folder)
    if found is None:
        return ""
    right = int((found.predicted == found.targets).sum())
    return f"{len(found.targets):,} held-out examples, {right:,} of them right ({right / len(found.targets):.1%})."


def class_table(found: Predictions) -> Markup:
    """Precision, recall, f1 and support of each class; of very many, those with the most examples."""
    report = classification_report(found.predicted, found.targets, found.labels)
    rows = (
        sorted(report.items(), key=lambda row: -row[1]["support"])[:MOST_CLASSES]
        if len(report) > MOST_CLASSES
        else report.items()
    )
    body = [
        (label, [*(f"{row[name]:.3f}" for name in ("precision", "recall", "f1")), f"{row['support']:,}"])
        for label, row in rows
    ]
    there = [row for row in report.values() if row["support"]]
    weights = [row["support"] for row in there]
    means = []
    for name, by in (("mean", [1] * len(there)), ("weighted", weights)):
        averages = [np.average([row[part] for row in there], weights=by) for part in ("precision", "recall", "f1")]
        means.append((name, [*(f"{one:.3f}" for one in averages), f"{sum(weights):,}"]))
    some = f", the {MOST_CLASSES} largest of {len(report)}" if len(report) > MOST_CLASSES else ""
    return fill("tasks", "class_table", some, body, means)


def calibration(ident: str, found: Predictions) -> Markup:
    """Accuracy over confidence: a calibrated model lies on the diagonal."""
    bins = [one for one in calibration_bins(found.probabilities, found.targets) if one.count]
    error = expected_calibration_error(found.probabilities, found.targets)
    sure = float(found.probabilities.max(axis=1).mean())
    right = float((found.predicted == found.targets).mean())
    lean = "surer than it should be" if sure > right else "less sure than it could be"
    note = f"Expected calibration error {error:.3f}. On average {sure:.1%} sure and {right:.1%} right: {lean}"
    return draw(
        Chart(
            f"{ident}-calibration",
            "Right as often as sure?",
            [
                Series("calibrated", [(0.0, 0.0), (100.0, 1.0)], 4, "plain"),
                Series("this model", [(100 * one.confidence, one.accuracy) for one in bins], 2, "dots"),
            ],
            unit="%",
            zero=True,
            steps=(0.0, 100.0),
            axis="% sure",
            note=note,
        )
    )


def errors(record: Record) -> Markup:
    """The mistakes of which the model was surest: text, what is right, what it said, and what spoke for it."""
    found = Predictions.read(record.folder)
    if found is None:
        return Markup("")
    numbers = surest_mistakes(found.predicted, found.targets, found.probabilities, MOST_MISTAKES)
    cards = [error_card(found, number) for number in numbers]
    return fill("sections", "samples", cards) if cards else Markup("")


def errors_lead(record: Record) -> str:
    """How many there are, how many of them are shown, and how words are tinted."""
    found = Predictions.read(record.folder)
    if found is None:
        return ""
    wrong = int((found.predicted != found.targets).sum())
    shown = f"the {MOST_MISTAKES} of which it was surest" if wrong > MOST_MISTAKES else "the surest first"
    tinted = (
        " Tinted words spoke for what it said, underlined ones against it (integrated gradients)."
        if found.attributions
        else ""
    )
    return f"{wrong:,} of {len(found.targets):,} are wrong; {shown}.{tinted}"


def error_card(found: Predictions, number: int) -> Markup:
    """One mistake."""
    right, said = found.labels[found.targets[number]], found.labels[found.predicted[number]]
    chance = found.probabilities[number]
    text = (
        tinted(found.attributions[number])
        if number in found.attributions
        else fill("tasks", "apart", [cut(text) for text in found.texts[number]])
    )
    best = np.argsort(-chance, kind="stable")[:MOST_GUESSES].tolist()
    if (target := int(found.targets[number])) not in best:
        best = [*best[: MOST_GUESSES - 1], target]
    bars = [
        (at == target, found.labels[at], f"{100 * min(max(chance[at], 0.0), 1.0):.1f}", f"{100 * chance[at]:.1f}%")
        for at in best
    ]
    return fill("tasks", "error_card", text, right, said, bars)


def tinted(found: Attributions) -> Markup:
    """Word pieces as running text: tinted by what they said for the predicted class, underlined by what they said against."""
    strongest = max((abs(score) for score in found.scores), default=0.0) or 1.0
    words: list[tuple[bool, str, str, str, str]] = []
    for at, (token, score) in enumerate(zip(found.tokens, found.scores, strict=True)):
        joined = not words or glued(token, found.tokens[:at], found.tokens)
        if SPECIAL.match(token):
            if at + 1 < len(found.tokens) and words:
                words.append((False, "", "apart", "", ""))
            continue
        share = abs(score) / strongest
        kind = "" if share < 0.05 else "for" if score > 0 else "against"
        words.append((joined, bare(token), kind, f"{share:.2f}", f"{score:+.3f}"))
    return fill("tasks", "tinted", words)


def cut(text: str) -> str:
    """A text that is not too long for the page."""
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "\u2026"
