"""From what a model answers to the scores of a task, and to what a reader is shown of it."""

from typing import Any

import numpy as np

from data.tasks.answers import predictions as answers_of
from data.tasks.choices import (
    Answers,
    Classification,
    Generation,
    MultiLabel,
    MultipleChoice,
    Regression,
    Similarity,
    Tagging,
)
from data.tasks.opened import TaskSet
from data.tasks.tagging import word_tags
from train.answer_metrics import answer_scores, best_threshold, scoring_of, scoring_signature, span_f1
from train.tag_metrics import tagging_scores
from train.task_metrics import classification_scores, multi_label_scores, regression_scores
from train.text_metrics import generation_scores

Answered = dict[str, list[np.ndarray]]  # what the objective's `predict` gives, for each row


def scores(held_out: TaskSet, answered: Answered) -> dict[str, float]:
    """Every score that fits the task, by its name in scores.json; `answered` may be of the first rows only."""
    if not answered:
        return {}
    count = len(next(iter(answered.values())))
    rows = held_out.rows[:count]
    match held_out.task:
        case Classification():
            targets = label_targets(rows)
            return without_loss(classification_scores(np.stack(answered["logits"]), targets, held_out.labels))
        case MultiLabel():
            targets = np.concatenate([row.labels["label_targets"] for row in rows])
            return without_loss(multi_label_scores(np.stack(answered["logits"]), targets, held_out.labels))
        case Regression():
            values = np.array(answered["values"], np.float32).reshape(-1)
            return regression_scores(values, label_targets(rows).astype(np.float32))
        case MultipleChoice():
            logits = np.stack(answered["logits"])
            targets = np.concatenate([row.labels["choice_targets"] for row in rows])
            names = [str(number) for number in range(logits.shape[1])]
            return without_loss(
                classification_scores(logits, targets, names, ["accuracy", "expected_calibration_error"])
            )
        case Tagging():
            return of_tags(held_out.task, held_out, answered["logits"])
        case Answers():
            return of_answers(held_out.task, held_out, answered, count)
        case Similarity():
            return of_vectors(held_out, np.stack(answered["vectors"]))
    return {}


def of_tags(task: Tagging, held_out: TaskSet, logits: list[np.ndarray]) -> dict[str, float]:
    """Entities, strict and by default, and single tags; words behind the end of a row count as O."""
    tags = predicted_tags(held_out, logits)
    targets = [example["tags"] for example in held_out.examples[: len(tags)]]
    if task.scheme is None:
        return tagging_scores(tags, targets, metrics=["accuracy", "macro_f1"])
    return tagging_scores(tags, targets, task.scheme, labels=held_out.labels)


def predicted_tags(held_out: TaskSet, logits: list[np.ndarray]) -> list[list[str]]:
    """The tag of each word of the first examples, from the logits of their rows."""
    predicted = [row.argmax(-1) for row in logits]
    return word_tags(held_out.labels, held_out.extras["word_places"][: len(predicted)], predicted)[0]


def of_answers(task: Answers, held_out: TaskSet, answered: Answered, count: int) -> dict[str, float]:
    """Exact match and F1 of the best span of each question; where there may be none also the best threshold for none, and F1 of
    the spans of those that have one."""
    whole = len(held_out.examples) if count == len(held_out.rows) else int(held_out.owner[count])
    examples, owner = held_out.examples[:whole], held_out.owner[held_out.owner < whole]
    extras = held_out.extras | {"offsets": held_out.extras["offsets"][:whole]}
    if not examples:
        return {}
    found = answers_of(task, examples, owner, extras, answered["start"], answered["end"])
    texts = [one.text(no_answer=task.no_answer, threshold=task.null_threshold) for one in found]
    golds = [[answer["text"] for answer in example["answers"]] for example in examples]
    scoring = scoring_of(task.scoring, golds)
    result = answer_scores(texts, golds, scoring=scoring)
    if task.no_answer:
        spans = [one.text(no_answer=False) for one in found]
        differences = [min(one.difference, 1e9) for one in found]
        best, threshold = best_threshold(spans, golds, differences, "f1", scoring=scoring)
        result |= {"best_f1": best, "best_f1_threshold": threshold, "span_f1": span_f1(spans, golds, scoring)}
    return result


def of_vectors(held_out: TaskSet, vectors: np.ndarray) -> dict[str, float]:
    """How well cosines follow the scores of pairs, where the examples have scores."""
    given = [example.fields.get("score") for example in held_out.examples[: len(vectors)]]
    if any(score is None for score in given):
        return {}
    cosines = (vectors[:, 0] * vectors[:, 1]).sum(-1).astype(np.float32)
    return regression_scores(cosines, np.array(given, np.float32), ["spearman", "pearson"], "similarity")


def of_texts(held_out: TaskSet, texts: list[str]) -> tuple[dict[str, float], dict[str, str]]:
    """The scores of texts that were written for the first so many examples, and how they were counted."""
    assert isinstance(held_out.task, Generation)
    references = [example["references"] for example in held_out.examples[: len(texts)]]
    fitting = [name for name in held_out.task.metrics if name != "perplexity"]
    return generation_scores(texts, references, fitting, tokenizer=held_out.task.metric_tokenizer)


def counted_by(held_out: TaskSet) -> dict[str, str]:
    """How the scores of tags and answers are counted: the scheme of the strict score, the script of answers."""
    match held_out.task:
        case Tagging(scheme=str(scheme)):
            return {"f1_strict": f"scheme:{scheme}"}
        case Answers(scoring=scoring):
            golds = [[answer["text"] for answer in example["answers"]] for example in held_out.examples]
            return {"f1": scoring_signature(scoring, golds)}
    return {}


def label_targets(rows: list[Any]) -> np.ndarray:
    """The label of each row."""
    return np.concatenate([row.labels["label_targets"] for row in rows])


def without_loss(found: dict[str, float]) -> dict[str, float]:
    """The loss is measured by the objective itself."""
    return {name: value for name, value in found.items() if name != "valid_loss"}
