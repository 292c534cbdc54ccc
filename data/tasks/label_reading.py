"""From labels as files spell them to the names of classes, by a rule that is the same for all examples and is said once.

In this order: as `spelt` says; the name itself; the same but for case, width, white space and punctuation; true and false of two
labels that mean them, as yes and no do; and a number, as the place of a class from 0 where classes have an order that was
declared and are no numbers themselves, or as the number inside the name ("4 stars"). Where a word of `spelt` is the name of
another class, `spelt` alone is read. What can be read in two ways is refused. A source that names its own numbers gives those
names (data/tasks/reading.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from data.errors import DataError
from data.tasks.label_names import (
    bare,
    canonical,
    is_nameless,
    look_alikes,
    number_inside,
    numeral,
    plain,
    row_of,
    shown,
)
from data.tasks.missing import MissingValue

Known = Literal[
    "examples", "task", "model", "sorted", "prompt"
]  # who says which labels there are; a model, sorted ones
TRUTH = {"false": 0, "true": 1}
NO, YES = frozenset(("false", "no", "n", "f", "0")), frozenset(("true", "yes", "y", "t", "1"))


@dataclass(frozen=True)
class LabelReading:
    """How the labels of a source are read.

    Attributes:
        names: from each spelling that occurs to the name of its class.
        labels: the names, in order.
        notes: what is worth saying: how numbers are read, which spellings were taken for which names.
        known: who says which labels there are, for the remedy of an error.
        hint: what an error adds about numbers.
        spelt: how files spell the labels, where nothing else is read.
    """

    names: Mapping[str, str]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    known: Known = "task"
    hint: str = ""
    spelt: tuple[str, ...] = ()

    def name(self, spelling: str, place: str) -> str:
        """The name of the class that is spelt so; DataError for one that is unknown."""
        if spelling in self.names:
            return self.names[spelling]
        error = unknown(self, spelling, place)
        raise MissingValue(error, "the label -1") if spelling == "-1" else DataError(error)


def read_labels(
    labels: Sequence[str],
    values: Iterable[str],
    *,
    spelt: Sequence[str] = (),
    source: Sequence[str] = (),
    known: Known = "task",
    where: str = "the source",
) -> LabelReading:
    """The rule by which these values are names of these labels.

    `source` are the names that the source gives to its own numbers, in their order; `where` is the first example, for an error
    about all.

    >>> read_labels(("NEGATIVE", "POSITIVE"), ["positive", "negative"]).names["positive"]
    'POSITIVE'
    >>> read_labels(("bad", "good"), ["1", "0"]).names["1"], read_labels(("1", "2", "3"), ["0"]).names.get("0")
    ('good', None)
    >>> read_labels(("1", "2"), ["0", "1"], spelt=("0", "1")).names["1"]
    '2'
    """
    labels, occurring = tuple(labels), list(dict.fromkeys(values))
    only = tuple(spelt) if _collide(labels, spelt) else ()
    words = [*(() if only else zip(labels, labels, strict=True)), *zip(spelt, labels, strict=False)]
    exactly, loosely = dict(words), _loosely(words)
    found = {value: exactly[value] for value in occurring if value in exactly}
    notes, hint = [], ""
    if only and found:
        notes.append("labels are read as --data.task.spelt says: " + _pairs(found))
    near = {v: name for v in occurring if v not in found and (name := loosely(v)) is not None}
    if inexact := {v: name for v, name in near.items() if numeral(v) is None}:
        notes.append("labels are read as " + _pairs(inexact) + ": the same but for case, form or punctuation")
    found |= near
    if truths := {v: n for v in occurring if v not in found and (n := _truth(v, labels, spelt)) is not None}:
        notes.append("labels are read as " + _pairs(truths))
    found |= truths
    if not spelt and not any(n in exactly or loosely(n) or _truth(n, labels, spelt) for n in source):
        if renamed := _of_source(labels, source, known):
            notes.append("the classes of the source are read as " + _pairs(renamed) + ", in the order of their numbers")
        found |= {value: renamed[value] for value in occurring if value in renamed}
    if not spelt:
        _refuse_truths(labels, [value for value in occurring if value not in found], where)
    numbers = {v: row for v in occurring if v not in found and (row := row_of(v)) is not None}
    if numbers and not spelt and known not in ("examples", "sorted"):
        if "-1" in occurring and "-1" not in found:
            _refuse_from_minus_1(labels, set(numbers.values()), where)
        read, note, hint = _numbers(labels, set(numbers.values()), where)
        found |= {value: read[row] for value, row in numbers.items() if row in read}
        notes += [note] if note else []
    return LabelReading(found, labels, tuple(notes), known, hint, only)


def discovered(values: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """From each spelling of training labels to one name for those of equal value (1 and 1.0; 1 and true beside 0 and false; the
    same letters in two forms of Unicode), and what is to be said: values that were put together, and names that look alike.

    >>> discovered(["1.0", "1", "2"])[0], discovered(["true", "0", "1"])[0]
    ({'1.0': '1', '1': '1', '2': '2'}, {'true': '1', '0': '0', '1': '1'})
    """
    there = list(dict.fromkeys(values))
    numbers = {v: numeral(v) for v in there}
    if set(map(plain, there)) <= {"false", "true", "#0", "#1"} and any(n is not None for n in numbers.values()):
        from_word = {v: str(TRUTH[plain(v)]) for v in there if plain(v) in TRUTH}
    else:
        from_word = {}
    forms: dict[str, str] = {}
    names = {v: from_word.get(v, forms.setdefault(canonical(v), v)) for v in there}
    shortest: dict[Decimal, str] = {}  # spelling of each value
    for value, number in sorted(numbers.items(), key=lambda item: (len(item[0]), item[0])):
        if number is not None:
            names[value] = shortest.setdefault(number, value)
    notes = []
    if joined := {v: name for v, name in names.items() if v != name and v not in from_word}:
        notes.append("labels are read as " + _pairs(joined) + ", being of equal value")
    for one, other in look_alikes(list(dict.fromkeys(names.values())))[:3]:
        notes.append(
            f"the labels {shown([one])} and {shown([other])} look alike and are two classes; spell them alike if they are one"
        )
    return names, notes


def unknown(reading: LabelReading, spelling: str, place: str) -> str:
    """The line for a label that nobody knows, with the remedy that fits whoever says which there are."""
    if spelling == "-1":
        return f"{place} has the label -1, which marks parts of a source that are not labelled; name a labelled one"
    there, labels = f"{place} has the label {spelling[:80]!r}", reading.labels
    which = f"known are {shown(labels)}"
    if reading.spelt:
        return f"{there}, and {which}, which --data.task.spelt writes {shown(reading.spelt)}: mend that line, or spelt"
    if reading.hint and row_of(spelling) is not None:
        return f"{there}: {reading.hint}; {which}"
    example = ",".join(f"WORD{number}" for number in range(1, min(len(labels), 3) + 1)) + (
        ",..." if len(labels) > 3 else ""
    )
    if reading.known == "examples":
        return (f"{there}, which no training example has and the task does not name; {which}: mend that line, or name all with "
                "--data.task.labels")  # fmt: skip
    if reading.known == "model" and is_nameless(labels):
        return (f"{there}, and the model's classes have no names ({shown(labels, 3)}): name them in that order with "
                f"--data.task.labels {example}")  # fmt: skip
    if reading.known == "sorted" and row_of(spelling) is not None and all(numeral(name) is None for name in labels):
        return (f"{there}, and numbers are no places of the model's labels, which were sorted as it was trained: say how files "
                f"write {shown(labels, 6)}, in that order, with --data.task.spelt {example}")  # fmt: skip
    otherwise = f", or where files write them in another way, say how, in that order: --data.task.spelt {example}"
    if reading.known in ("model", "sorted", "prompt"):
        who = "task" if reading.known == "prompt" else "model"
        return f"{there}, which the {who} does not know; {which}: mend that line{otherwise}"
    return (
        f"{there}, which the task does not name; {which}: mend that line, name all with --data.task.labels{otherwise}"
    )


def _collide(labels: Sequence[str], spelt: Sequence[str]) -> bool:
    """Whether a word of `spelt` is the name of another class than its own."""
    keys = [bare(name) for name in labels]
    return any(bare(word) in keys[:at] + keys[at + 1 :] for at, word in enumerate(spelt))


def _loosely(words: Sequence[tuple[str, str]]) -> Callable[[str], str | None]:
    """From a spelling to the one name whose word is the same but for case, form and punctuation."""
    tables = []
    for level in (plain, bare):
        counts: dict[str, set[str]] = {}
        for word, name in words:
            counts.setdefault(level(word), set()).add(name)
        tables.append((level, {key: next(iter(names)) for key, names in counts.items() if len(names) == 1}))
    return lambda value: next((table[level(value)] for level, table in tables if level(value) in table), None)


def _of_source(labels: Sequence[str], source: Sequence[str], known: Known) -> dict[str, str]:
    """The labels of classes that a source numbers and calls otherwise: by number where labels are those numbers, in their order
    where a task says so; none where neither is said."""
    if len(labels) != len(source):
        return {}
    rows = [row_of(name) for name in labels]
    if sorted(row for row in rows if row is not None) == list(range(len(labels))) and (
        known == "task" or not is_nameless(labels)
    ):
        return {source[row]: name for row, name in zip(rows, labels, strict=True) if row is not None}
    return dict(zip(source, labels, strict=True)) if known == "task" else {}


def _meanings(labels: Sequence[str]) -> list[int]:
    """For each of two labels whether it means no, 0, or yes, 1; empty where they do not mean one of them each."""
    words = [plain(name).lstrip("#") for name in labels]
    meant = [0 if word in NO else 1 if word in YES else -1 for word in words]
    return meant if sorted(meant) == [0, 1] else []


def _truth(value: str, labels: tuple[str, ...], spelt: Sequence[str]) -> str | None:
    """The name of true or false by its meaning, where the two labels have one or are rows without names."""
    meant: Sequence[int | None] = (
        [row_of(name) for name in labels] if is_nameless(labels) and len(labels) == 2 else _meanings(labels)
    )
    word = TRUTH.get(plain(value))
    if word is None and {plain(name) for name in labels} == set(TRUTH) and row_of(value) in (0, 1):
        word = row_of(value)
    return labels[meant.index(word)] if not spelt and word is not None and word in meant else None


def _refuse_truths(labels: Sequence[str], unread: Sequence[str], where: str) -> None:
    """DataError where true or false may be either of two labels, or 1 and 0 mean the one and are places of the other."""
    if len(labels) != 2 or any(numeral(name) is not None for name in labels):
        return
    if truths := [value for value in unread if plain(value) in TRUTH]:
        value, ways, reason = truths[0], ("false,true", "true,false"), "and nothing says which of them it means"
    elif _meanings(labels) == [1, 0] and (numbers := [value for value in unread if row_of(value) in (0, 1)]):
        value, ways, reason = numbers[0], ("1,0", "0,1"), "by what it means or by its place from 0"
    else:
        return
    raise DataError(f"{where} and others have the label {value}, which may be {labels[0]!r} or {labels[1]!r}, {reason}: say how "
                    f"files write {shown(labels)}, in that order, with --data.task.spelt {ways[0]} or {ways[1]}")  # fmt: skip


def _numbers(labels: tuple[str, ...], there: set[int], where: str) -> tuple[dict[int, str], str, str]:
    """How numbers name labels, what is said about it, and what an error adds; DataError where two ways are open."""
    if any(numeral(name) is not None for name in labels):
        return {}, "", ""
    places = dict(enumerate(labels))
    if is_nameless(labels):
        places = {row: name for name in labels if (row := row_of(name)) is not None}
    inside = {number: name for name in labels if (number := number_inside(name)) is not None}
    inside = inside if len(inside) == len(labels) and not is_nameless(labels) else {}
    count = len(labels)
    from_0, from_1 = ",".join(map(str, range(count))), ",".join(map(str, range(1, count + 1)))

    def either(one: str, other: str) -> str:
        return f"say which with --data.task.spelt {one} or --data.task.spelt {other}"

    as_places, as_named = there <= set(places), bool(inside) and there <= set(inside)
    if as_places and as_named and any(places[n] != inside[n] for n in there):
        n, own = min(there), ",".join(map(str, inside))
        raise DataError(
            f"{where} and others have labels that are numbers ({_some(there)}), and {n} may be {inside[n]!r}, by the number in "
            f"that name, or {places[n]!r}, by its place from 0: {either(own, from_0)}"
        )
    if as_named:
        return inside, "labels that are numbers are read by the number in the names: " + _pairs(inside), ""
    if as_places and 0 not in there and len(there) > 1 and count > 2 and min(there) - 1 in places:
        n = min(there)
        raise DataError(
            f"{where} and others have labels that are numbers ({_some(there)}), none is 0, and {n} may be {places[n]!r}, counted "
            f"from 0, or {places[n - 1]!r}, counted from 1: {either(from_0, from_1)}"
        )
    if as_places:
        return places, "labels that are numbers are read as places from 0: " + _pairs(places), ""
    if inside and 0 not in there:
        return inside, "", "numbers are read by those in the names of the labels"
    counted = f"; if these count from 1, say --data.task.spelt {from_1}" if there <= set(range(1, count + 1)) else ""
    return places, "", f"numbers are places from 0 to {count - 1}{counted}"


def _refuse_from_minus_1(labels: Sequence[str], there: set[int], where: str) -> None:
    """DataError where -1 may be the first class, as in -1, 0, 1, and not a mark of what is not labelled."""
    count = len(labels)
    if (
        count > 2
        and there <= set(range(count - 1))
        and all(numeral(n) is None for n in labels)
        and not is_nameless(labels)
    ):
        from_0, from_minus_1 = (",".join(map(str, range(first, first + count))) for first in (0, -1))
        raise DataError(
            f"{where} and others have labels that are numbers ({_some({-1, *there})}), and -1 may be {labels[0]!r}, or mark what "
            f"is not labelled: say which with --data.task.spelt {from_minus_1} or --data.task.spelt {from_0}"
        )


def _some(numbers: set[int]) -> str:
    return shown([str(number) for number in sorted(numbers)], 8)


def _pairs(read: Mapping, most: int = 6) -> str:
    pairs = [f"{str(spelling)[:60]} is {shown([name])}" for spelling, name in list(read.items())[:most]]
    return ", ".join(pairs) + (", ..." if len(read) > most else "")
