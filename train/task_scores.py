"""From what a model answers to the scores of a task, and to what a reader is shown of it."""

from typing import Any

import numpy as np

from data.tasks.choices import Classification, MultiLabel, MultipleChoice, Regression
from data.tasks.opened import TaskSet
from train.task_metrics import classification_scores, log_softmax, multi_label_scores, regression_scores

Answered = dict[str, list[np.ndarray]]  # what the objective's `predict` gives, for each row


def scores(held_out: TaskSet, answered: Answered) -> dict[str, float]:
    """Every score that fits the task, by its name in scores.json; `answered` may be of the first rows only."""
    rows = held_out.rows[: len(next(iter(answered.values())))]
    match held_out.task:
        case Classification():
            logits, targets = np.stack(answered["logits"]), label_targets(rows)
            return _without_loss(classification_scores(logits, targets, held_out.labels))
        case MultiLabel():
            targets = np.concatenate([row.labels["label_targets"] for row in rows])
            return _without_loss(multi_label_scores(np.stack(answered["logits"]), targets, held_out.labels))
        case Regression():
            values = np.array(answered["values"], np.float32).reshape(-1)
            return regression_scores(values, label_targets(rows).astype(np.float32))
        case MultipleChoice():
            logits = np.stack(answered["logits"])
            targets = np.concatenate([row.labels["choice_targets"] for row in rows])
            names = [str(number) for number in range(logits.shape[1])]
            return _without_loss(classification_scores(logits, targets, names, ["accuracy", "valid_loss"]))
    raise TypeError(f"{type(held_out.task).__name__} is not scored yet")


def predictions(held_out: TaskSet, answered: Answered) -> dict[str, Any]:
    """What the report shows of each held-out example: label names, and text, target, prediction and probabilities."""
    if not isinstance(held_out.task, Classification):
        return {}
    probabilities = np.exp(log_softmax(np.stack(answered["logits"])))
    targets = label_targets(held_out.rows)
    return {
        "labels": list(held_out.labels),
        "examples": [
            {
                "text": held_out.text(int(held_out.owner[number])),
                "target": int(targets[number]),
                "predicted": int(row.argmax()),
                "probabilities": [round(float(p), 4) for p in row],
            }
            for number, row in enumerate(probabilities)
        ],
    }


def label_targets(rows: list[Any]) -> np.ndarray:
    """The label of each row."""
    return np.concatenate([row.labels["label_targets"] for row in rows])


def _without_loss(found: dict[str, float]) -> dict[str, float]:
    """The loss is measured with the objective's own words."""
    return {name: value for name, value in found.items() if name != "valid_loss"}
