"""Which answer of a question in words is right: labels read by the rule that tasks with a head have, once for all examples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from data.errors import DataError
from data.tasks.choice_reading import Asked, read_choices
from data.tasks.example_parts import spelling
from data.tasks.label_names import numeral, plain
from data.tasks.label_reading import read_labels

Columns = Mapping[str, Any]
Say = Callable[[str], None]


def class_numbers(
    examples: Sequence[Columns],
    among: Sequence[Columns],
    column: str,
    labels: Sequence[str],
    *,
    spelt: Sequence[str] = (),
    published: Sequence[str] = (),
    say: Say = print,
) -> list[int]:
    """The number of the right class of each example, of those that all have.

    Args:
        examples: those that are asked.
        among: other examples, by which it is judged, too, how labels are to be read.
        column: where the label stands.
        labels: what the classes are called, in order.
        spelt: how files write them, as the user says.
        published: how published files write them where that is by numbers; taken where all numbers are of these.
        say: is told how labels are read, where that is not by their names.

    Raises:
        DataError: no label, one that is unknown, or labels that can be read in two ways.
    """
    labels = tuple(labels)
    values = [spelling(example[column]) for example in (*examples, *among) if column in example]
    numbers = {plain(value) for value in values if numeral(value) is not None}
    if not spelt and numbers and numbers <= {plain(word) for word in published}:
        spelt = published
        say(
            "labels that are numbers are read as published: "
            + ", ".join(map(" is ".join, zip(spelt, labels, strict=True)))
        )
    where = next(map(named, examples), "the source")
    reading = read_labels(labels, filter(None, values), spelt=spelt, known="prompt", where=where)
    for note in reading.notes:
        say(note)
    return [labels.index(reading.name(label_of(example, column), named(example))) for example in examples]


def choice_numbers(
    examples: Sequence[Columns],
    among: Sequence[Columns],
    column: str,
    choices: Callable[[Columns], tuple[Sequence[str], Sequence[str]]],
    *,
    spelt: Sequence[str] = (),
    say: Say = print,
) -> list[int]:
    """The number of the right one of the choices of each example; `choices` gives its texts, and what they are called.

    Raises:
        DataError: as `class_numbers` does.
    """

    def asked(example: Columns) -> Asked:
        texts, called = choices(example)
        return Asked(list(texts), list(called), label_of(example, column), named(example))

    own = [asked(example) for example in examples]
    read, note = read_choices([*own, *map(asked, among)], spelt)
    if note:
        say(note)
    numbers = []
    for number in read[: len(own)]:
        if isinstance(number, DataError):
            raise number
        numbers.append(number)
    return numbers


def label_of(example: Columns, column: str) -> str:
    """The label of an example as it is spelt; DataError where it has none."""
    if column not in example:
        raise DataError(f"{place(example)}there is no column {column!r}; there are {columns(example)}")
    found = example[column]
    if isinstance(found, list | tuple | dict):
        raise DataError(
            f"{named(example)} has the label {str(found)[:60]}, a list, where one answer is right; write that one"
        )
    if not (spelt := spelling(found)):
        raise DataError(f"{named(example)} has no label; write it, or remove that line")
    return spelt


def named(example: Columns) -> str:
    """What an example is called in messages."""
    return example.get("__place__", "an example")


def place(example: Columns) -> str:
    """Where an example stands, for messages."""
    return f"{example['__place__']}: " if "__place__" in example else ""


def columns(example: Columns) -> str:
    """The columns of an example, for messages."""
    return ", ".join(name for name in example if not name.startswith("__")) or "none"
