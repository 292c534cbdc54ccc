"""Labels under their names, whichever way a file spells them: one reading for all examples, or one line that says why not."""

import dataclasses
import re
from typing import Any

import pytest

from data.errors import DataError
from data.tasks.choices import Classification, MultiLabel, MultipleChoice, Regression, Similarity, Tagging
from data.tasks.config import TaskData
from data.tasks.held_out import open_held_out_task, open_scored, write_held_out_task
from data.tasks.known import GLUE
from data.tasks.label_names import label_order, match_labels
from data.tasks.opened import open_task
from data.tasks.sources import TaskFiles
from data.tokenizers import Bytes, open_tokenizer

TOKENIZER: Any = open_tokenizer(Bytes())
STARS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
NEWS = ("World", "Sports", "Business", "Sci/Tech")
LACKING = ["", "nan", "NaN", "null", "None", "N/A", "<NA>", "-", "?"]


@pytest.mark.parametrize(
    ("ours", "theirs", "rows"),
    [
        (("contradiction", "entailment", "neutral"), ("ENTAILMENT", "Neutral", "contradiction"), (2, 0, 1)),
        (("not_entailment", "entailment"), ("Entailment", "Not Entailment"), (1, 0)),
        (("Sci/Tech", "World"), ("world", "sci tech"), (1, 0)),
        (("-1", "1"), ("1", "-1"), (1, 0)),
        (("0", "1"), ("1.0", "0.0"), (1, 0)),
        (("1", "0"), ("LABEL_0", "LABEL_1"), (1, 0)),
        (("caf\u00e9", "th\u00e9"), ("the\u0301", "cafe\u0301"), (1, 0)),
        (("\uff30\uff4f\uff53", "neg"), ("neg", "pos"), (1, 0)),
        (("C", "C#"), ("c#", "c"), (1, 0)),
        (("a", "A"), ("A", "a"), (1, 0)),
        (("a", "A"), ("a", "\uff21"), None),
        (("bad", "good"), ("LABEL_0", "LABEL_1"), None),
        (("1", "2"), ("LABEL_0", "LABEL_1"), None),
        (("entailment", "neutral"), ("entailment", "contradiction"), None),
        (("a", "b"), ("a", "b", "c"), None),
        (("\U0001f600", "\U0001f622"), ("\U0001f622", "\U0001f600"), (1, 0)),
        (("+", "-"), ("-", "+"), (1, 0)),
        (("A", "B"), ("A-", "B-"), None),
        (("A-", "A", "A+"), ("a+", "A\u2212", "a"), (1, 2, 0)),
        (("C", "D"), ("C#", "D"), None),
        (("1-2 years", "3"), ("12 years", "3"), None),
        (("it's", "not so."), ("Not-so", "its"), (1, 0)),
    ],
)
def test_labels_are_matched_by_what_they_mean(ours, theirs, rows):
    found = match_labels(ours, theirs)
    assert found.rows == rows and bool(found.reason) == (rows is None)
    if rows is not None:
        back = match_labels(theirs, ours).rows
        assert back is not None and [back[row] for row in rows] == list(range(len(rows)))


def test_tags_are_matched_without_their_letters_where_none_is_lost():
    assert match_labels(("O", "I-LOC", "I-PER"), ("O", "PER", "LOC"), tags=True).rows == (0, 2, 1)
    assert match_labels(("O", "B-PER", "I-PER"), ("O", "I-PER", "B-PER"), tags=True).rows == (0, 2, 1)
    assert match_labels(("B-cell", "other"), ("cell", "other")).rows is None


def test_numbers_count_up_sign_and_decimals_included(files, read):
    names = ["10", "b", "1", "-1", "0.5", "a", "-2.5", "9"]
    assert sorted(names, key=label_order) == ["-2.5", "-1", "0.5", "1", "9", "10", "a", "b"]
    _, _, labels, said = read(Classification(), files(["1", "-1"], cells=True))
    assert labels == ("-1", "1") and "of the classes -1 and 1, f1 is that of 1, the second" in said


def test_a_number_is_no_place_where_labels_are_numbers(files, read, refused):
    refused(
        Classification(),
        files(["1", "2", "3"], ["1", "0"], cells=True),
        "1.tsv line 3 has the label '0'",
        "no training",
    )
    refused(
        Classification(labels=("1", "2", "3")), files(["1", "0"], cells=True), "line 3 has the label '0'", "1, 2, 3"
    )
    refused(
        Classification(), files(["bad", "good"], ["0", "1"], cells=True), "1.tsv line 2 has the label '0'"
    )  # sorted
    _, valid, _, said = read(Classification(labels=("good", "bad")), files(["bad", "good"], ["0", "1"], cells=True))
    assert valid == ["good", "bad"]
    assert said[0] == "labels that are numbers are read as places from 0: 0 is good, 1 is bad"


@pytest.mark.parametrize("spelt", ["1", "1.0", "1 ", "+1", "\uff11"])
def test_equal_numbers_are_one_class(files, spelt, read):
    train, valid, labels, _ = read(Classification(), files(["1", "2", spelt], [spelt, "2.00"], cells=True))
    assert train == ["1", "2", "1"] and valid == ["1", "2"] and labels == ("1", "2")
    assert read(Classification(), files([1, 2.0, "2"]))[0] == ["1", "2", "2"]


def test_what_stands_at_an_end_of_a_name_is_part_of_it(files, read, refused):
    for other in ("A-", "A+", "A#", "-A", "A*"):
        refused(
            Classification(), files(["A", "B"], [other], cells=True), f"line 2 has the label '{other}'", "no training"
        )
    assert read(Classification(), files(["A-", "A"], ["a\u2212", "a"], cells=True))[1] == ["A-", "A"]


def test_true_and_false_mean_what_they_say(files, read):
    source = files([True, False], [0, 1])
    assert read(Classification(), source)[1:3] == (["false", "true"], ("false", "true"))
    assert read(Classification(labels=("True", "False")), source)[0] == ["True", "False"]
    assert read(Classification(labels=("yes", "no")), files([True, False]))[0] == ["yes", "no"]
    assert read(Classification(labels=("no", "yes")), files(["True", "False"], cells=True))[0] == ["yes", "no"]
    assert read(Classification(), files([True, False, 1, 0]))[0] == ["1", "0", "1", "0"]


@pytest.mark.parametrize(
    ("labels", "cells", "spelt", "first"),
    [
        (("yes", "no"), ["1", "0"], "1,0", "yes"),
        (("yes", "no"), ["true", "1", "false", "0"], "1,0", "yes"),
        (("positive", "negative"), ["true", "false"], "true,false", "positive"),
        (("oui", "non"), [True, False], "false,true", "non"),
        (("bad", "good"), ["1", "0", "TRUE"], "false,true", "good"),
    ],
)
def test_what_may_be_true_of_either_label_is_refused_with_a_remedy_that_works(
    files, labels, cells, spelt, first, read, refused
):
    refused(Classification(labels=labels), files(cells), "0.jsonl line 1", f"'{labels[0]}' or '{labels[1]}'", spelt)
    task = Classification(labels=labels, spelt=tuple(spelt.split(",")))
    written = [cell for cell in cells if str(cell).lower() in task.spelt]
    assert read(task, files(written))[0][0] == first


def test_numbers_that_can_be_read_in_two_ways_are_refused_with_remedies_that_work(files, read, refused):
    source = files(["1", "2", "3", "4"], cells=True)
    refused(
        Classification(labels=STARS),
        source,
        "0.tsv line 2",
        "'1 star'",
        "'2 stars'",
        "spelt 1,2,3,4,5",
        "spelt 0,1,2,3,4",
    )
    for spelt, first in (("12345", "1 star"), ("01234", "2 stars")):
        assert read(Classification(labels=STARS, spelt=tuple(spelt)), source)[0][0] == first
    assert read(Classification(labels=STARS), files(list("12345"), cells=True))[0] == list(STARS)
    assert read(Classification(labels=STARS), files(list("01234"), cells=True))[0] == list(STARS)
    source = files(["1", "2", "3", "4"], cells=True)
    refused(Classification(labels=NEWS), source, "line 5 has the label '4'", "spelt 1,2,3,4")
    assert read(Classification(labels=NEWS, spelt=tuple("1234")), source)[0] == list(NEWS)
    refused(
        Classification(labels=NEWS),
        files(["1", "2"], cells=True),
        "'Sports', counted from 0",
        "'World', counted from 1",
    )
    assert read(Classification(labels=("x", "y")), files(["1", "0"], ["1"], cells=True))[1] == ["y"]


def test_a_label_that_differs_in_case_is_the_same_and_said(files, read, refused):
    _, valid, labels, said = read(Classification(), files(["World", "Sci/Tech"], ["world ", "sci-tech"], cells=True))
    assert valid == ["World", "Sci/Tech"] and labels == ("Sci/Tech", "World")
    assert "labels are read as world is World, sci-tech is Sci/Tech: the same but for case, form or punctuation" in said
    said = read(Classification(), files(["Good", "bad", "good"], cells=True))[3]
    assert any("Good and good look alike and are two classes" in line for line in said)
    refused(Classification(), files(["Good", "bad", "good"], ["GOOD"], cells=True), "1.tsv line 2 has the label 'GOOD'")


@pytest.mark.parametrize("word", LACKING)
@pytest.mark.parametrize("task", [Classification(), Regression()], ids=["classes", "numbers"])
def test_a_missing_label_is_refused_by_line_or_dropped_and_counted(files, task, word, refused):
    source = files(["1", word, "0"], ["1", "0"], cells=True)
    refused(task, source, "0.tsv line 3 has", "--data.task.missing drop")
    found = open_task(TaskData(dataclasses.replace(task, missing="drop"), source), TOKENIZER, (said := []).append)
    assert len(found.train) == 2 and any(
        "1 of 3 training examples are left out" in line and "line 3" in line for line in said
    )


def test_missing_labels_in_json(files, read, refused):
    for value in (None, float("nan"), "", "nan"):
        refused(Classification(), files(["a", value, "b"]), "0.jsonl line 2 has", "--data.task.missing drop")
        assert read(Classification(missing="drop"), files(["a", value, "b"]))[0] == ["a", "b"]
    lists = ([0], "[0]", {"a": 1}, "[True, False]", "['a' 'b']", "[a, b]")
    for task, value in ((Classification(missing="drop"), value) for value in lists):
        refused(task, files(["a", value]), "0.jsonl line 2 has the label", "a list")
    refused(MultiLabel(), files([["a"], None, ["b"]]), "line 2 has no labels but None")
    refused(MultiLabel(), files([["a", None], ["b"]]), "line 1 has a label that is none")
    assert read(MultiLabel(missing="drop"), files([["a"], None, ["b"], []]))[0] == [["a"], ["b"], []]
    assert read(MultipleChoice(missing="drop"), files([1, None, -1, 0], choices=["x", "y"]))[0] == [1, 0]
    refused(Classification(missing="drop"), files([None, None]), "leaves no training example", "line 1")


def test_a_word_for_none_is_a_class_where_somebody_says_so(files, read, refused):
    source = files(["NA", "DE", "none"], cells=True)
    refused(Classification(), source, "line 2 has the label 'NA'", "--data.task.labels", "--data.task.missing class")
    assert read(Classification(missing="class"), source)[2] == ("DE", "NA", "none")
    assert read(Classification(labels=("none", "NA", "DE")), source)[0] == ["NA", "DE", "none"]


def test_minus_one_is_no_label_unless_a_class_is_called_so(files, read, refused):
    source = files(["-1", "0", "1", "0"], cells=True)
    refused(Classification(labels=("no", "yes")), source, "line 2 has the label -1, which marks parts")
    assert read(Classification(labels=("no", "yes"), missing="drop"), source)[0] == ["no", "yes", "no"]
    _, _, labels, said = read(Classification(), source)
    assert labels == ("-1", "0", "1") and any("the label -1 is a class here" in line for line in said)


def test_minus_one_may_be_the_first_of_three(files, read, refused):
    source, task = files(["-1", "0", "1"], cells=True), Classification(labels=("neg", "neu", "pos"), missing="drop")
    refused(task, source, "-1 may be 'neg', or mark what is not", "spelt -1,0,1 or --data.task.spelt 0,1,2")
    assert read(dataclasses.replace(task, spelt=("-1", "0", "1")), source)[0] == ["neg", "neu", "pos"]
    assert read(dataclasses.replace(task, spelt=("0", "1", "2")), source)[0] == ["neg", "neu"]
    assert read(task, files(["-1", "0", "2"], cells=True))[0] == ["neg", "pos"]


def test_short_rows_and_empty_questions_are_dropped_and_counted(tmp_path, read, refused):
    path = tmp_path / "qqp.tsv"
    path.write_text("question1\tquestion2\tis_duplicate\na b\tc d\t0\ne f\n\tg\t1\nh i\tj\t1\n")
    task, source = GLUE["qqp"], TaskFiles(str(path), str(path))
    refused(task, source, "line 3 has 1 column, not 3", "--data.task.missing drop")
    train, _, _, said = read(dataclasses.replace(task, missing="drop"), source)
    assert train == ["not_duplicate", "duplicate"]
    assert any(
        "2 of 4 held-out examples are left out: 1 with a cell too few" in s and "an empty text" in s for s in said
    )
    path.write_text("text\tpositive\nx\ty\nz\t\n")
    similar = Similarity(positive=("positive",), missing="drop")
    assert len(open_task(TaskData(similar, source), TOKENIZER, [].append).train) == 1


@pytest.mark.parametrize(
    ("labels", "choices", "numbers", "said"),
    [
        (["A", "C"], ["x", "y", "z"], [0, 2], "as letters"),
        (["(b)", "\uff21"], ["x", "y", "z"], [1, 0], "as letters"),
        ([0, "2"], ["x", "y", "z"], [0, 2], "as places from 0"),
        (["Z", "y"], ["x", "y", "z"], [2, 1], "by their text"),
        ([1, 1], ["x", "y", "z"], [1, 1], "as places from 0"),
    ],
)
def test_the_right_choice_is_named_in_any_way(files, labels, choices, numbers, said, read):
    train, _, _, lines = read(MultipleChoice(), files(labels, choices=choices))
    assert train == numbers and any(said in line for line in lines)


def test_choices_counted_from_one_are_never_shifted(files, read, refused):
    source = files([1, 2, 1], choices=["x", "y", "z"])
    refused(
        MultipleChoice(), source, "line 1 has the label '1'", "'y'", "'x'", "spelt 0,1,2 or --data.task.spelt 1,2,3"
    )
    assert read(MultipleChoice(spelt=("1", "2", "3")), source)[0] == [0, 1, 0]
    assert read(MultipleChoice(spelt=("0", "1", "2")), source)[0] == [1, 2, 1]
    refused(
        MultipleChoice(), files([1, 3], choices=["x", "y", "z"]), "line 2 has the label '3'", "--data.task.spelt 1,2,3"
    )
    refused(MultipleChoice(), files(["A", "E"], choices=["x", "y"]), "line 2 has the label 'E'", "--data.task.spelt")
    refused(MultipleChoice(), files([1, 2], choices=["1", "2", "3"]), "by their text", "as places from 0")


def test_tags_by_number_and_in_another_case(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"tokens": ["a", "b", "c"], "tags": ["o", "b-x", "I-X"]}\n')
    task = Tagging(labels=("O", "B-X", "I-X"), scheme="BIO")
    found = open_task(TaskData(task, TaskFiles(str(path), str(path))), TOKENIZER, [].append)
    assert found.train.examples[0]["tags"] == ["O", "B-X", "I-X"]
    path.write_text('{"tokens": ["a", "b"], "tags": ["O", "nan"]}\n')
    with pytest.raises(DataError, match=r"line 1 word 2 has the tag 'nan', a word for none"):
        open_task(TaskData(task, TaskFiles(str(path), str(path))), TOKENIZER, [].append)


def test_what_a_model_does_not_know_has_a_remedy_that_fits_it(files):
    known = Classification(labels=("NEGATIVE", "POSITIVE"))

    def scored(task, source):
        return [e["label"] for e in open_scored(TaskData(task, source), TOKENIZER, [].append).examples]

    assert scored(known, files(["negative", "Positive"], cells=True)) == ["NEGATIVE", "POSITIVE"]
    source = files(["bad", "good"], cells=True)
    told = "line 2 has the label 'bad', which the model does not know; known are NEGATIVE, POSITIVE"
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        scored(known, source)
    assert "--data.task.spelt WORD1,WORD2" in str(caught.value) and "--data.task.labels" not in str(caught.value)
    assert scored(dataclasses.replace(known, spelt=("bad", "good")), source) == ["NEGATIVE", "POSITIVE"]
    with pytest.raises(DataError, match=r"have no names .*--data.task.labels WORD1,WORD2"):
        scored(Classification(labels=("LABEL_0", "LABEL_1")), source)


@pytest.mark.parametrize(
    ("labels", "spelt", "cells", "names"),
    [
        ("123", "012", "012", "123"),  # what an error about 0 asks for
        ("01", "10", "01", "10"),
        ("012", "120", "012", "201"),
        (("no", "yes"), ("0", "1"), ("yes", "0"), ("yes", "no")),  # without a collision both are read
        (("a", "b"), ("1.0", "2"), ("1", "b"), ("a", "b")),
        (("LABEL_0", "LABEL_1", "LABEL_2"), "123", "13", ("LABEL_0", "LABEL_2")),
    ],
)
def test_where_labels_are_spelt_that_is_what_is_read(files, labels, spelt, cells, names, read):
    task = Classification(labels=tuple(labels), spelt=tuple(spelt))
    assert read(task, files(list(cells), cells=True))[0] == list(names)


def test_words_that_spell_the_name_of_another_class_leave_nothing_to_guess(files, read, refused):
    task = Classification(labels=("1", "2", "3"), spelt=("0", "1", "2"))
    said = read(task, files(["0", "1"], cells=True))[3]
    assert "labels are read as --data.task.spelt says: 0 is 1, 1 is 2" in said
    refused(task, files(["0", "3"], cells=True), "line 3 has the label '3'", "--data.task.spelt writes 0, 1, 2")
    choice = MultipleChoice(choices=("1", "2", "3"), spelt=("0", "1", "2"))
    more = {"1": "x", "2": "y", "3": "z"}
    assert read(choice, files([0, 1], **more))[0] == [0, 1]
    refused(choice, files([0, 3], **more), "line 2 has the label '3'")
    for kind in (Classification, MultiLabel, Tagging):
        for words in (("1", "1.0"), ("x", " x"), ("x", "")):
            with pytest.raises(DataError, match="a word twice, or an empty one"):
                kind(labels=("a", "b"), spelt=words)
        with pytest.raises(
            DataError, match=r"spelt writes bad for Good, and Bad is another label; .* order Good, Bad, or leave"
        ):
            kind(labels=("Good", "Bad"), spelt=("bad", "good"))
    with pytest.raises(DataError, match="a word twice"):
        MultipleChoice(spelt=("1", "1"))


def test_the_remedy_of_an_unknown_number_gives_the_right_classes(files):
    known, source = Classification(labels=("1", "2", "3")), files(["0", "1", "2"], cells=True)

    def scored(task):
        return [e["label"] for e in open_scored(TaskData(task, source), TOKENIZER, [].append).examples]

    with pytest.raises(DataError, match=r"the label '0'.*--data.task.spelt WORD1,WORD2,WORD3"):
        scored(known)
    assert scored(dataclasses.replace(known, spelt=("0", "1", "2"))) == ["1", "2", "3"]


def test_numbers_are_no_places_of_labels_that_were_sorted(files, tmp_path):
    words = files(["neutral", "entailment", "contradiction"], cells=True)
    for task, known in (
        (Classification(), "examples"),
        (Classification(labels=("entailment", "neutral", "contradiction")), "task"),
    ):
        opened = open_task(TaskData(task, words), TOKENIZER, [].append)
        write_held_out_task(opened, tmp_path)
        assert opened.known == known
        assert open_held_out_task(tmp_path, TaskData(task, words), TOKENIZER, [].append).labels == opened.valid.labels
    source = files(["0", "2"], cells=True)
    own = Classification(labels=("contradiction", "entailment", "neutral"))
    with pytest.raises(
        DataError, match=r"the label '0', and numbers are no places .* write contradiction, entailment, neutral, in"
    ):
        open_scored(TaskData(own, source), TOKENIZER, [].append, "sorted")
    own = dataclasses.replace(own, spelt=("2", "0", "1"))
    found = open_scored(TaskData(own, source), TOKENIZER, [].append, "sorted")
    assert [e["label"] for e in found.examples] == ["entailment", "contradiction"]


def test_numbers_for_rows_without_names_are_not_shifted(files, read, refused):
    rows = Classification(labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    train, _, _, said = read(rows, files(["2", "0"], cells=True))
    assert train == ["LABEL_2", "LABEL_0"] and any("0 is LABEL_0" in line for line in said)
    refused(rows, files(["1", "2"], cells=True), "'LABEL_0', counted from 1", "--data.task.spelt 1,2,3")
