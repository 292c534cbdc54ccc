"""Labels in lists: names, vectors of zeros and ones, and what NumPy, pandas and Python print; time in proportion to a cell."""

import time
from typing import Any

import pytest

from data.errors import DataError
from data.tasks.choices import Classification, MultiLabel, MultipleChoice, Tagging
from data.tasks.config import TaskData
from data.tasks.label_names import plain
from data.tasks.label_reading import discovered
from data.tasks.opened import open_task
from data.tasks.printed_lists import is_listed, read_list
from data.tasks.sources import TaskFiles
from data.tokenizers import Bytes, open_tokenizer

TOKENIZER: Any = open_tokenizer(Bytes())

VECTORS = [[1, 1, 1], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    "cells",
    [
        VECTORS,
        [[float(bit) for bit in one] for one in VECTORS],
        [[bool(bit) for bit in one] for one in VECTORS],
        [",".join(map(str, one)) for one in VECTORS],
        [str(one) for one in VECTORS],
        [str(one).replace(",", "") for one in VECTORS],
        ["".join(map(str, one)) for one in VECTORS],
    ],
    ids=["numbers", "floats", "bools", "commas", "a list", "NumPy", "digits"],
)
def test_zeros_and_ones_are_places_in_every_form(files, cells, read, refused):
    source = files(cells)
    refused(
        MultiLabel(),
        source,
        "0.jsonl line 1 and all others have 3 zeros and ones",
        "--data.task.labels NAME1,NAME2,NAME3",
    )
    refused(MultiLabel(labels=("r", "g")), source, "the task names 2 labels")
    assert read(MultiLabel(labels=("r", "g", "b")), source)[0] == [["r", "g", "b"], ["b"], []]


def test_lists_that_are_no_vectors_are_names_or_refused(files, read, refused):
    assert read(MultiLabel(labels=("r", "g", "b")), files([[0, 2], [1], []]))[0] == [["r", "b"], ["g"], []]
    assert read(MultiLabel(), files([["0"], ["1"], ["0", "1"]]))[0] == [["0"], ["1"], ["0", "1"]]
    assert read(MultiLabel(), files(["['a', 'b']", "[]", '["b"]']))[0] == [["a", "b"], [], ["b"]]
    refused(MultiLabel(labels=("r", "g", "b")), files([[1, 0, 1], [1, 0], [0, 0, 0]]), "line 2 has a vector of 2")
    refused(MultiLabel(), files([[0.2, 0.8], [1, 0]]), "line 1 has the labels 0.2, 0.8, which are shares")
    refused(MultiLabel(), files([[["a"]], ["b"]]), "line 1 has a list inside")


def test_printed_lists_of_tags_and_of_choices(tmp_path, read, refused):
    path = tmp_path / "a.csv"
    cells = ("\"['a', 'b c']\",\"['O', 'B-X']\"", "\"['a' 'b c']\",\"['O' 'B-X']\"", "[ a,O B-X", "[ a,['O' 'B-X']")
    path.write_text("\n".join(["tokens,tags", *cells]) + "\n")
    task = Tagging(labels=("O", "B-X"))
    found = open_task(TaskData(task, TaskFiles(str(path), str(path))), TOKENIZER, [].append)
    assert [e["tags"] for e in found.train.examples] == [["O", "B-X"]] * 4
    assert [e["words"] for e in found.train.examples] == [["a", "b c"], ["a", "b c"], ["[", "a"], ["[", "a"]]
    path.write_text("tokens,tags\na b,['O' ... 'O']\n")
    with pytest.raises(DataError, match=r"line 2 has tags that begin as a list .*: it was cut short"):
        open_task(TaskData(task, TaskFiles(str(path), str(path))), TOKENIZER, [].append)
    path.write_text("text,choices,label\nt,['x' 'y'],1\nt,\"['x', 'y']\",0\n")
    assert read(MultipleChoice(), TaskFiles(str(path), str(path)))[0] == [1, 0]
    path.write_text("text,gold_label\nt,x\n")
    refused(
        Classification(), TaskFiles(str(path), str(path)), "no column label", "--data.task.label \"('gold_label',)\""
    )


PRINTED = [
    "['red' 'blue']",
    "['red', 'blue']",
    '["red" \n "blue"]',
    "('red', 'blue')",
    "{'red', 'blue'}",
    "[red, blue]",
    "array(['red', 'blue'], dtype=object)",
    "Index(['red', 'blue'], dtype='object')",
    "[np.str_('red'), np.str_('blue')]",
    "[b'red' b'blue']",
]


@pytest.mark.parametrize("cell", PRINTED)
def test_printed_lists_are_lists(files, cell, read):
    assert read(MultiLabel(), files([cell, "[]", '["it\'s"]']))[0] == [["red", "blue"], [], ["it's"]]


@pytest.mark.parametrize(
    "cells",
    [
        ["[ True False  True]", "[False False  True]"],
        ["[True, False, True]", "[False, False, True]"],
        ["[np.True_, np.False_, np.True_]", "[np.False_, np.False_, np.True_]"],
        ["0.0 1.0 0.0", "0.0 0.0 1.0"],
        ["1. 0. 1.", "0. 0. 1."],
        ["True False True", "False False True"],
        ["[1.e+00 0.e+00 1.e+00]", "[0.e+00 0.e+00 1.e+00]"],
        ["tensor([1, 0, 1])", "tensor([0, 0, 1])"],
    ],
)
def test_printed_vectors_are_places(files, cells, read, refused):
    refused(MultiLabel(), files(cells), "line 1 and all others have 3 zeros and ones", "NAME1,NAME2,NAME3")
    assert read(MultiLabel(labels=("r", "g", "b")), files(cells))[0][1] == ["b"]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("['red' 'blue', 'green']", "commas between some"),
        ("['red' ... 'blue']", "cut short"),
        ("{'red': 1, 'blue': 0}", "names with values"),
        ("['red', 'blue'", "does not end"),
        ("[['red'], ['blue']]", "a list in"),
        ("[[1 0]\n [0 1]]", "a list in"),
    ],
)
def test_printed_lists_that_cannot_be_read_are_refused(files, cell, reason, refused):
    refused(MultiLabel(), files(["a", cell]), "line 2 has", reason)


@pytest.mark.parametrize(
    ("read_cell", "cell"),
    [
        (is_listed, "array([1]" + ",a=" * 2_000 + "]"),
        (is_listed, "array((" + "),a=" * 2_000 + "[)"),
        (is_listed, "[" + "a," * 20_000 + "[]"),
        (read_list, "[" + "'a' " * 60_000 + "]"),
        (discovered, [f"{number}.5" for number in range(8_000)]),
        (plain, "a-" * 160_000),
    ],
)
def test_reading_labels_takes_time_in_proportion_to_them(read_cell, cell):
    """Powers of their length take seconds here, and powers of two for ever."""
    before = time.process_time()
    read_cell(cell)
    assert time.process_time() - before < 1


def test_a_label_that_is_a_book_is_refused_with_its_place(files, read, refused):
    book = "word " * 3_000
    refused(Classification(), files(["a", book]), "line 2 has a label of 14,999 characters", "name the column")
    refused(MultiLabel(), files([["a"], [book]]), "line 2 has a label of 14,999 characters")
    refused(MultiLabel(), files(["a", "[" + "'a' " * 300_000 + "]"]), "line 2 has a label of 1,200,002 characters")
    wide = "[" + "0, " * 4_000 + "1]"
    assert read(MultiLabel(labels=tuple(map(str, range(4_001)))), files([wide]))[0] == [["4000"]]
