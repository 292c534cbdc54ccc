"""Columns that hold structures, as JSON has them: what is damaged is one line with its place, never a value in silence."""

from typing import Any, get_args

import pytest

from data.errors import DataError
from data.tasks.choices import Answers, Generation, MultipleChoice, Regression, Similarity, Task
from data.tasks.examples import FILL, examples_of
from data.tasks.tables import Record, Table

QUESTION = {"question": "What?", "context": "The cat."}
CAT = {"text": "cat", "start": 4}
WHOLE: dict[str, Any] = QUESTION | {
    "text": "t", "label": "0", "tokens": ["a"], "tags": ["O"], "answers": [], "choices": ["x", "y"], "source": "s",
    "target": "t", "positive": "p", "score": 1, "id": "1", "is_impossible": None,
}  # fmt: skip
ODD = [None, True, 5, -1.5, float("nan"), 10**400, "", "x", "[", "['a'", [], {}, [None], [[1]], [5], ["x", 5], [{}],
       {"text": None, "label": None}, {"text": "xyz", "label": ["A", "B", "C"]}, {"text": ["x", "y"], "label": 5},
       {"text": 5, "answer_start": {}}, [{"text": ["x"], "answer_start": [0]}], [{"role": None, "content": "x"}] * 2]  # fmt: skip


def read(task, **columns):
    return examples_of(task, Table([Record(columns, "a.jsonl line 7")]))[0]


def refused(task, *words, **columns):
    with pytest.raises(DataError) as caught:
        read(task, **columns)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in ("line 7", *words)), caught.value


@pytest.mark.parametrize(
    ("answers", "golds"),
    [
        ([{"text": "cat", "answer_start": 4}], [CAT]),
        ([CAT, {"text": "The", "answer_start": 0.0}], [CAT, {"text": "The", "start": 0}]),
        ({"text": ["cat", "The"], "answer_start": [4, 0]}, [CAT, {"text": "The", "start": 0}]),
        ({"text": "cat", "answer_start": 4}, [CAT]),
        ({"text": [], "answer_start": []}, []),
        ([], []),
    ],
)
def test_answers_in_every_form(answers, golds):
    assert read(Answers(no_answer=True), answers=answers, **QUESTION)["answers"] == golds


@pytest.mark.parametrize(
    "answers",
    [
        {"text": "cat", "answer_start": [4]},
        {"text": ["cat", "The"], "answer_start": [4]},
        {"text": ["cat"]},
        {"texts": ["cat"], "answer_starts": [4]},
        {"text": [""], "answer_start": [0]},
        {"text": None, "answer_start": None},
        [{"text": "cat", "answer_start": True}],
        [{"text": "cat", "answer_start": 1.5}],
        ["cat"],
        5,
        None,
        "cat",
        {},
    ],
    ids=str,
)
def test_a_damaged_answer_is_never_none(answers):
    refused(Answers(no_answer=True), "answer", "write", answers=answers, **QUESTION)


def test_what_says_that_there_is_no_answer_agrees_with_the_answers():
    task, found = Answers(no_answer=True), [{"text": "cat", "answer_start": 4}]
    assert read(task, is_impossible=True, **QUESTION)["answers"] == []
    assert read(task, is_impossible=False, answers=found, **QUESTION)["answers"] == [CAT]
    refused(task, "no answer and is_impossible: false", is_impossible=False, answers=[], **QUESTION)
    refused(task, "an answer and is_impossible: true", is_impossible=True, answers=found, **QUESTION)
    refused(task, "neither true nor false", is_impossible="no", answers=[], **QUESTION)


@pytest.mark.parametrize(
    "choices",
    [
        {"text": ["x", "y", "z"], "label": ["1", "2"]},
        {"text": ["x", "y", "z"], "label": ["A", "A", "B"]},
        {"text": "xyz", "label": ["A", "B", "C"]},
        {"text": None, "label": None},
        {"label": ["A", "B"]},
    ],
    ids=str,
)
def test_choices_with_names_that_do_not_fit_them(choices):
    refused(MultipleChoice(), "choices", text="t", choices=choices, label="1")


@pytest.mark.parametrize("target", [1e39, -1e308, "1e39", 10**400, "9" * 400])
def test_targets_beyond_float32(target):
    refused(Regression(), "beyond the numbers of float32", text="t", label=target)
    assert read(Regression(), text="t", label=3.4e38)["target"] == 3.4e38


@pytest.mark.parametrize("kind", get_args(Task), ids=lambda kind: kind.__name__)
def test_whatever_stands_in_a_column_only_data_errors_come_out(kind):
    more = {Similarity: {"positive": ("positive",), "score": ("score",)}, Generation: {"references": ("text",)}}
    task = kind(**more.get(kind, {}))
    assert FILL[kind](task, Record(WHOLE, "line 1"))
    for column in WHOLE:
        for odd in ODD:
            try:
                FILL[kind](task, Record(WHOLE | {column: odd}, "line 1"))
            except DataError as error:
                assert "\n" not in str(error)
