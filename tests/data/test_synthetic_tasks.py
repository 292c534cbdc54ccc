"""Synthetic tasks: what each document must be, the same on every machine, quickly prepared."""

import re
from collections import Counter

import numpy as np
import pytest

from data.config import TextData
from data.corpus import open_corpora
from data.errors import DataError
from data.held_out import open_held_out, write_held_out
from data.prepared import open_prepared
from data.sentences import PAIR
from data.sources import parse_source
from data.synthetic_tasks import CopyTask, ModularArithmetic, RepeatedBlocks
from data.tokenizers import Words


def texts(task) -> list[str]:
    return list(open_corpora(task)[0].texts())


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply", "divide"])
def test_modular_equations_are_all_there_and_true(operation):
    p = 13
    found = texts(ModularArithmetic(p, operation))
    assert len(set(found)) == len(found) == (p * (p - 1) if operation == "divide" else p * p)
    for text in found:
        a, sign, b, equals, c = text.split()
        a, b, c = int(a), int(b), int(c)
        assert equals == "="
        assert max(a, b, c) < p
        assert {"+": a + b - c, "-": a - b - c, "*": a * b - c, "/": c * b - a}[sign] % p == 0


def test_grokking_splits_in_half_to_the_equation():
    data = TextData(
        ModularArithmetic(), Words(specials=False), row_length=8, valid_fraction=0.5, valid_documents=100_000
    )
    prepared = open_prepared(data)
    assert (len(prepared.train), len(prepared.valid)) == (4_656, 4_656)
    assert prepared.tokenizer.pieces == ["/", *map(str, range(10)), "=", *map(str, range(10, 97))]
    assert prepared.train.lengths(np.arange(4_656)).tolist() == [5] * 4_656
    assert prepared.train.sentence_ends(0).tolist() == [5]  # symbols have no sentences


def test_blocks_repeat_until_the_document_is_full():
    task = RepeatedBlocks(documents=5_000)  # more than are drawn at once
    lengths, symbols = Counter(), Counter()
    for text in texts(task):
        row = text.split()
        assert len(row) == 64
        period = next(n for n in range(1, 64) if row[n:] == row[:-n])
        lengths[period] += 1
        symbols.update(row[:period])
    assert set(lengths) == set(range(16, 33))
    assert all(abs(count / 5_000 - 1 / 17) < 0.015 for count in lengths.values())  # uniform
    assert set(symbols) == {str(n) for n in range(64)}
    mean = sum(symbols.values()) / 64
    assert all(abs(count / mean - 1) < 0.15 for count in symbols.values())
    assert len(set(texts(task))) == 5_000


def test_documents_are_the_same_on_every_machine():
    assert texts(RepeatedBlocks(12, 3, 6, 10, 2)) == ["0 9 2 3 5 1 0 9 2 3 5 1", "7 0 8 9 5 7 0 8 9 5 7 0"]
    assert texts(CopyTask("reverse", 3, 6, documents=2))[1] == f"7 0 8 9 5{PAIR}5 9 8 0 7"
    assert texts(CopyTask(seed=1)) != texts(CopyTask())
    assert texts(CopyTask(documents=5_000))[:5] == texts(CopyTask())[:5]


@pytest.mark.parametrize("kind", ["copy", "reverse", "sort"])
def test_pairs_of_a_copy_task_hold_what_they_say(kind):
    for text in texts(CopyTask(kind, 1, 12, documents=300)):
        source, target = (side.split() for side in text.split(PAIR))
        assert 1 <= len(source) <= 12
        assert target == {"copy": source, "reverse": source[::-1], "sort": sorted(source, key=int)}[kind]


def test_pairs_keep_their_sides_when_prepared_and_held_out(tmp_path):
    prepared = open_prepared(TextData(CopyTask(shortest=2, longest=9, documents=400), Words(), row_length=32))
    assert PAIR not in "".join(prepared.tokenizer.pieces)
    for documents in (prepared.train, prepared.valid):
        for number in range(len(documents)):
            middle, end = documents.sentence_ends(number).tolist()
            ids = documents.ids(number)
            assert end == len(ids) == 2 * middle
            assert np.array_equal(ids[:middle], ids[middle:])
    assert all(text.count(PAIR) == 1 for text in prepared.valid_texts())
    write_held_out(prepared, tmp_path)
    again = open_held_out(tmp_path, prepared.tokenizer)
    assert all(np.array_equal(again.ids(i), prepared.valid.ids(i)) for i in range(len(again)))
    assert (again.tokens, again.bytes) == (prepared.valid.tokens, prepared.valid.bytes)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("task:modulr", "did you mean task:modular?"),
        ("task:", "use task:modular, task:repeats, task:copy"),
        ("task:modular/97", "write /FIELD=VALUE with a field of prime, operation"),
        ("task:modular/prime=96", "is not a prime number"),
        ("task:modular/prime=many", "is not a whole number"),
        ("task:modular/operation=power", "not one of add, subtract, multiply, divide"),
        ("task:repeats/shortest=40", "must rise in this order"),
        ("task:repeats/documents=0", "use 1 or more"),
        ("task:copy/kind=swap", "not one of copy, reverse, sort"),
        ("task:copy/shortest=20", "is more than longest=10"),
    ],
)
def test_a_wrong_task_is_told_with_its_remedy(word, told):
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        parse_source(word)
    assert "\n" not in str(caught.value)


def test_tails_of_pairs_are_refused():
    data = TextData(CopyTask(documents=20), Words(), row_length=16, valid_split="tail")
    with pytest.raises(DataError, match="pairs of texts, which have no tail"):
        open_prepared(data)
