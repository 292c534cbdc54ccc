"""What the rows of a head are called, and a head that was trained before taken over by these names, never by their order alone.

    a permutation of our labels    the rows are put into our order
    LABEL_0, LABEL_1, ...          rows without names: taken in order only where --data.task.labels says the order
    anything else                  the head is drawn afresh

Each is said in a line.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from data.tasks.choices import Regression, Tagging, Task
from data.tasks.label_names import bare, is_nameless, match_labels, plain, shown

HEAD = "classifier."
PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")


class HeadError(ValueError):
    """Labels that are not those of a head; the message is one line with the remedy."""

    exit_code = 2


@dataclass(frozen=True)
class HeadLabels:
    """What a head says of its rows.

    Attributes:
        labels: their names in order; None where it gives a number, or answers no task with labels.
        by_token: whether every token has scores of its own.
        numbers: how many of its scores are numbers: all, or none.
    """

    labels: tuple[str, ...] | None = None
    by_token: bool = False
    numbers: int = 0

    @classmethod
    def of_task(cls, task: Task) -> "HeadLabels":
        """Those of a run's task, whose labels were settled."""
        return cls(getattr(task, "labels", None), isinstance(task, Tagging), int(isinstance(task, Regression)))

    @classmethod
    def of_published(cls, fields: Mapping[str, Any], options: Mapping[str, Any]) -> "HeadLabels":
        """Those of a config.json; none of a folder without a head for labels."""
        if "outputs" not in options or options.get("kind", "labels") != "labels":
            return cls()
        by_token, outputs = options.get("pooling") is None, options["outputs"]
        if not by_token and problem_of(fields, outputs) == "regression":
            return cls(numbers=outputs)
        return cls(published_labels(fields, outputs), by_token)


def problem_of(fields: Mapping[str, Any], outputs: int) -> str:
    """What a head for whole texts answers: `problem_type`, or as transformers guesses it: one row is a number.

    >>> problem_of({}, 1), problem_of({}, 3), problem_of({"problem_type": "regression"}, 3)
    ('regression', 'single_label_classification', 'regression')
    """
    return fields.get("problem_type") or ("regression" if outputs == 1 else "single_label_classification")


def check_problem(folder: str, problem: str, outputs: int) -> None:
    """HeadError for a head that answers what no task here asks: several numbers, one class, or nobody knows what."""
    if problem not in PROBLEMS:
        raise HeadError(f"{folder} has problem_type={str(problem)[:60]!r} in its config.json; write "
                        f"{', '.join(PROBLEMS[:-1])} or {PROBLEMS[-1]} there")  # fmt: skip
    if problem == "regression" and outputs > 1:
        raise HeadError(f"{folder} has a head of {outputs} numbers (problem_type regression, num_labels {outputs} in its "
                        "config.json), and a task here has one; where its rows are classes, write "
                        "single_label_classification there")  # fmt: skip
    if problem != "regression" and outputs == 1:
        raise HeadError(f"{folder} has a head of one class (problem_type {problem}, num_labels 1 in its config.json), and tasks "
                        "here have two or more; where it is a number, write regression there")  # fmt: skip


def published_labels(fields: Mapping[str, Any], outputs: int) -> tuple[str, ...]:
    """The names of a head's rows: `id2label`, or `label2id` where only that has names; LABEL_n for a row without one.

    >>> published_labels({"id2label": {"1": "good", "0": "bad"}}, 2)
    ('bad', 'good')
    >>> published_labels({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"bad": 0, "good": 1}}, 2)
    ('bad', 'good')
    """
    there, turned = fields.get("id2label"), fields.get("label2id")
    words = {str(number): str(name) for number, name in there.items()} if isinstance(there, Mapping) else {}
    labels = tuple(words.get(str(number), f"LABEL_{number}") for number in range(outputs))
    if is_nameless(labels) and isinstance(turned, Mapping):
        names = {str(number): str(name) for name, number in turned.items()}
        if set(names) == set(map(str, range(outputs))):
            return tuple(names[str(number)] for number in range(outputs))
    return labels


def head_for_task(
    init: str,
    given: Mapping[str, Any],
    theirs: HeadLabels,
    task: Task,
    *,
    in_order: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Parameters by their paths, those of the head with its rows in the order of the task's labels, or left out.

    Args:
        init: what the parameters come from, as it is called.
        given: the parameters; kernels [D, C], biases [C].
        theirs: what the rows of their head are called.
        task: whose labels the rows are to be, settled.
        in_order: whether the user says the labels in order, so that rows without names may be taken so.
        say: is told what becomes of the head.
    """
    ours = HeadLabels.of_task(task)
    if not any(path.startswith(HEAD) for path in given) or not (ours.labels or ours.numbers):
        return dict(given)  # there is none to take, or none is wanted
    rows, line = _rows(theirs, ours, in_order, isinstance(task, Tagging))
    say(f"{init} has a head for {line}")
    if rows is None:
        return {path: leaf for path, leaf in given.items() if not path.startswith(HEAD)}
    order = jnp.asarray(rows)
    return {path: leaf[..., order] if path.startswith(HEAD) else leaf for path, leaf in given.items()}


def _rows(theirs: HeadLabels, ours: HeadLabels, in_order: bool, tags: bool) -> tuple[tuple[int, ...] | None, str]:
    """The row of theirs for each of ours, None where the head is of no use; and what is said."""
    here = shown(ours.labels) if ours.labels else "a number"
    there = shown(theirs.labels) if theirs.labels else "no labels"
    if theirs.numbers:
        there = "a number" if theirs.numbers == 1 else f"{theirs.numbers} numbers"
    if theirs.numbers == ours.numbers == 1:
        return (0,), "a number, and so has this task: it is taken as it is"
    if theirs.labels is None or ours.labels is None:
        return None, f"{there}, and this task is about {here}: the head is drawn from the seed"
    if theirs.by_token != ours.by_token:
        kinds = ("whole texts", "tokens")
        return (
            None,
            f"{kinds[theirs.by_token]}, and this task is about {kinds[ours.by_token]}: the head is drawn from the seed",
        )
    found = match_labels(ours.labels, theirs.labels, tags=tags)
    if found.in_order:
        return found.rows, f"the labels {there}: its rows are those of this task's labels, {here}"
    if found.rows is not None:
        return found.rows, f"the labels {there}: its rows are put into the order of this task's labels, {here}"
    if is_nameless(theirs.labels) and in_order and len(theirs.labels) == len(ours.labels):
        return tuple(
            range(len(ours.labels))
        ), f"{there}, which are no names: row n is taken for the n-th label of {here}"
    line = f"the labels {there}, and this task has {here} ({found.reason}): the head is drawn from the seed"
    if is_nameless(theirs.labels) and len(theirs.labels) == len(ours.labels):
        line += "; where their order is known, name the labels so with --data.task.labels, or in id2label of its config.json"
    return None, line


def check_renamed(model: str, given: Sequence[str], own: Sequence[str]) -> str:
    """What is said where the labels of a trained model are called otherwise, empty where they are the same.

    HeadError for another number of them, and for names of its own in another order: that would call its classes wrongly.

    >>> check_renamed("a folder", ("negative", "positive"), ("NEGATIVE", "POSITIVE"))
    ''
    >>> check_renamed("a folder", ("bad", "good"), ("LABEL_0", "LABEL_1"))
    "a folder's classes LABEL_0, LABEL_1 are called bad, good, in that order"
    """
    if match_labels(given, own).in_order:
        return ""
    if len(given) != len(own):
        raise HeadError(f"--data.task.labels names {len(given)} labels ({shown(given, 6)}), and {model} has {len(own)} classes "
                        f"({shown(own, 6)}); leave it out, or name all in their order")  # fmt: skip
    for level in (plain, bare):
        keys = [level(name) for name in own]
        for number, name in enumerate(given):
            if keys.count(level(name)) == 1 and keys.index(level(name)) != number:
                raise HeadError(f"--data.task.labels {shown(given, 6)} is another order than that of {model}, whose classes are "
                                f"{shown(own, 6)}; leave it out: labels are found by their names")  # fmt: skip
    return f"{model}'s classes {shown(own, 6)} are called {shown(given, 6)}, in that order"
