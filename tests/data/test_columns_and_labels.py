"""Which columns are read, and which labels there can be: decided once for a source, or refused in one line."""

import pytest

from data.errors import DataError
from data.tasks.choices import Classification, Generation, MultiLabel, Tagging
from data.tasks.column_checks import check_columns
from data.tasks.examples import examples_of
from data.tasks.label_reading import discovered
from data.tasks.naming import resolve_labels
from data.tasks.opened import positive_class
from data.tasks.tables import Record, Table, read_table


def tables(*parts):
    return [Table([Record(columns, f"{part}.jsonl line {at}") for at, columns in enumerate(records, start=1)])
            for part, records in enumerate(parts)]  # fmt: skip


def refused(check, *words):
    with pytest.raises(DataError) as caught:
        check()
    line = str(caught.value)
    assert "\n" not in line and len(line) < 400 and all(word in line for word in words), line


@pytest.mark.parametrize(
    "parts",
    [
        [[{"text": "a", "label": "x"}, {"text": "b", "sentence": "META", "label": "y"}]],
        [[{"text": "a", "label": "x"}], [{"text": "b", "label": "x", "sentence": "c"}]],
    ],
)
def test_a_role_is_read_from_one_column(parts):
    words = ("the columns sentence and text for its text", "has text only", "--data.task.text \"('text',)\"")
    refused(lambda: check_columns(Classification(), tables(*parts)), *words)
    check_columns(Classification(text=("text",)), tables(*parts))
    check_columns(Classification(), tables([{"sentence": "a", "label": "x"}], [{"text": "a", "class": "x"}]))


def test_references_that_no_file_has():
    part = tables([{"source": "a", "target": "b"}], [{"source": "a", "target": "b", "more": "c"}])
    refused(lambda: check_columns(Generation(references=("typo",)), part), "no column typo", "--data.task.references")
    check_columns(Generation(references=("more", "perhaps?")), part)


@pytest.mark.parametrize("header", ["Text\tLabel", " TEXT\tlabel ", "text\tLABEL"])
def test_a_header_is_one_in_any_case(tmp_path, header):
    path = tmp_path / "a.tsv"
    path.write_text(header + "\na\tx\n")
    assert [record.columns for record in read_table(str(path), ("text", "label")).records] == [
        {"text": "a", "label": "x"}
    ]


@pytest.mark.parametrize("labels", [("a", "a "), ("a", ""), ("1", "1.0"), ("caf\u00e9", "cafe\u0301"), ("a", " ")])
def test_declared_labels_that_no_file_can_reach(labels):
    for kind in (Classification, Tagging):
        refused(lambda kind=kind: kind(labels=labels), "name at least two, each once")


def test_letters_in_two_forms_are_one_class_and_notes_are_short():
    names, notes = discovered(["caf\u00e9", "cafe\u0301", "b" * 10_000, "B" * 10_000])
    assert set(names.values()) == {"caf\u00e9", "b" * 10_000, "B" * 10_000} and max(map(len, notes)) < 300
    assert len(positive_class(Classification(labels=("a" * 10_000, "b")))) < 200


def labels_of(*cells, separator=","):
    task = MultiLabel(separator=separator)
    (table,) = tables([{"text": "t", "label": cell} for cell in cells])
    return resolve_labels(task, examples_of(task, table), {}, [].append).labels


@pytest.mark.parametrize("mark", [";", "|", "/", " ", ",", " ; "])
def test_labels_with_another_separator_make_no_classes_of_several(mark):
    wrong, cells = "," if mark != "," else ";", (f"red{mark}blue", "red", "blue")
    remedy = mark.strip() or mark
    refused(lambda: labels_of(*cells, separator=wrong), "line 1 has the label", f"--data.task.separator {remedy!r}")
    assert labels_of(*cells, separator=remedy) == ("blue", "red")
    if remedy in ";|":
        refused(
            lambda: labels_of(f"red{mark}blue", f"red{mark}green", separator=wrong), f"--data.task.separator {remedy!r}"
        )
    refused(lambda: labels_of("red", f"{wrong} {wrong}", separator=wrong), "line 2 has nothing but")


def test_labels_that_hold_a_mark_are_labels():
    assert labels_of("action/comedy", "New York", "York", "a;b") == ("New York", "York", "a;b", "action/comedy")


@pytest.mark.parametrize(("name", "end"), [("a.jsonl", ""), ("a.json", "]")])
def test_a_name_twice_in_an_object(tmp_path, name, end):
    path = tmp_path / name
    path.write_text(("[" if end else "") + '{"text": "foo", "label": "pos", "label": "neg"}' + end)
    refused(lambda: read_table(str(path)), str(path) + ("" if end else " line 1"), "the name 'label' stands twice")
