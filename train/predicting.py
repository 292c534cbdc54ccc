"""What a fine-tuned run says of texts that nobody labelled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from data.tasks.choices import Classification, MultiLabel, Regression
from data.tasks.examples import examples_of
from data.tasks.opened import TaskSet, task_set
from data.tasks.tables import Record, Table
from train.reading import ReadingError
from train.state import Params
from train.task_evaluator import TaskEvaluator
from train.task_metrics import log_softmax

Asked: TypeAlias = str | tuple[str, str] | Mapping[str, str]
SHOWN = 3  # labels, in print


@dataclass(frozen=True)
class Predicted:
    """What a model says of one text.

    Attributes:
        text: as it was given.
        label: the likeliest label; of several at once those that are likelier than not; of a regression the number.
        probabilities: of every label, the likeliest first; none of a regression.
    """

    text: Asked
    label: str | tuple[str, ...] | float
    probabilities: dict[str, float]

    def __str__(self) -> str:
        said = ", ".join(f"{label} {share:.2f}" for label, share in list(self.probabilities.items())[:SHOWN])
        return said or f"{self.label:.3f}"


def predict(evaluator: TaskEvaluator, params: Params, texts: Sequence[Asked]) -> list[Predicted]:
    """What parameters say of texts, cut where they are longer than a row, as in training.

    ReadingError, one line, for texts that the task cannot read.
    """
    task = evaluator.held_out.task
    if not isinstance(task, Classification | MultiLabel | Regression):
        raise ReadingError(
            f"a task of {type(task).__name__} has no label for a whole text; use task_evaluator().answers or inspect"
        )
    if not texts:
        raise ReadingError("there is no text; give one, or several in a list")
    asked = asked_set(evaluator, task, texts)
    answers = evaluator.answers(params, asked)
    if isinstance(task, Regression):
        return [Predicted(text, float(value), {}) for text, value in zip(texts, answers["values"], strict=True)]
    logits = np.stack(answers["logits"])
    many = isinstance(task, MultiLabel)
    shares = 1 / (1 + np.exp(-logits)) if many else np.exp(log_softmax(logits))
    found = []
    for text, row in zip(texts, shares, strict=True):
        ordered = {asked.labels[at]: float(row[at]) for at in np.argsort(-row, kind="stable")}
        likely = tuple(label for label, share in ordered.items() if share > 0.5)
        found.append(Predicted(text, likely if many else next(iter(ordered)), ordered))
    return found


def asked_set(
    evaluator: TaskEvaluator, task: Classification | MultiLabel | Regression, texts: Sequence[Asked]
) -> TaskSet:
    """Texts as examples; each has some label, which nobody looks at."""
    records = [Record(columns_of(task, text, number), f"text {number}") for number, text in enumerate(texts)]
    examples = examples_of(replace(task, missing="refuse"), Table(records))  # an answer for every text
    return task_set(task, examples, evaluator.tokenizer, evaluator.experiment.task_data, lambda line: None)


def columns_of(task: Classification | MultiLabel | Regression, text: Asked, number: int) -> dict[str, object]:
    """The columns of a record that holds a text: given by name, or in the places of the task's own."""
    if isinstance(text, Mapping):
        columns: dict[str, object] = {**text}
    elif task.template is not None:
        raise ReadingError(f"this task makes its text of columns, {task.template!r}; give each text as a dict of them")
    elif isinstance(text, tuple) != bool(task.second):
        shape = "pairs: give each as a tuple of two" if task.second else "single texts: give each as a string"
        raise ReadingError(f"text {number} does not fit; this task is of {shape}")
    else:
        first, second = text if isinstance(text, tuple) else (text, None)
        columns = {task.text[0]: first, **({} if second is None else {task.second[0]: second})}
    if isinstance(task, Regression):
        return columns | {task.target[0]: 0.0}
    label = (task.labels or ("",))[0]
    return columns | {task.label[0]: [label] if isinstance(task, MultiLabel) else label}
