"""Which of its choices the label of an example means: by `spelt`, by what the source calls them, by their text, by letters, or by
numbers from 0. One way for all examples; what can be read in two ways is refused.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from data.errors import DataError
from data.tasks.label_names import plain, row_of
from data.tasks.missing import MissingValue


class Asked(NamedTuple):
    """The choices of an example, what the source calls them, if it does, how it spells the right one, its place, and what the
    source calls its classes in all examples."""

    choices: list[str]
    called: list[str]
    label: str
    place: str
    classes: Sequence[str] = ()


Way = Callable[[Asked], int | None]


def by_text(one: Asked) -> int | None:
    """The choice whose text the label is."""
    for level in (str, plain):
        found = [number for number, text in enumerate(one.choices) if level(text) == level(one.label)]
        if len(found) == 1:
            return found[0]
    return None


def by_letter(one: Asked) -> int | None:
    """A, B, C, ... of either case, also as (A) or A.

    >>> by_letter(Asked(["x", "y"], [], "(b)", "")), by_letter(Asked(["x", "y"], [], "C", ""))
    (1, None)
    """
    found = re.fullmatch(r"[(\[]?([A-Za-z])[)\].:]?", unicodedata.normalize("NFKC", one.label).strip())
    number = ord(found[1].upper()) - ord("A") if found else len(one.choices)
    return number if number < len(one.choices) else None


def from_0(one: Asked) -> int | None:
    """The place of the choice from 0."""
    number = row_of(one.label)
    return number if number is not None and number < len(one.choices) else None


def from_1(one: Asked) -> int | None:
    """The place of the choice from 1."""
    number = row_of(one.label)
    return number - 1 if number is not None and 1 <= number <= len(one.choices) else None


WAYS: dict[str, Way] = {
    "by their text": by_text,
    "as letters: A is the first choice": by_letter,
    "as places from 0: 0 is the first choice": from_0,
    "as places from 1: 1 is the first choice": from_1,
}
TEXT, LETTERS, ZERO, ONE = WAYS


def read_choices(asked: Sequence[Asked], spelt: Sequence[str] = ()) -> tuple[list[int | DataError], str]:
    """The number of the right choice of each example, or the error that it is, and how labels are read.

    DataError where they can be read in two ways.

    >>> read_choices([Asked(["x", "y"], [], "B", "line 1")])
    ([1], 'labels of choices are read as letters: A is the first choice')
    """
    named = [_named(one, spelt) for one in asked]
    rest = [one for one, number in zip(asked, named, strict=True) if number is None and one.label != "-1"]
    if not rest or spelt:
        return [_error(one, spelt) if n is None else n for one, n in zip(asked, named, strict=True)], ""
    read = {name: [way(one) for one in rest] for name, way in WAYS.items()}
    whole = [name for name, numbers in read.items() if None not in numbers]
    if ONE in whole and ZERO in whole and len({one.label for one in rest}) == 1:
        whole.remove(ONE)  # one number says nothing about where counting begins
    for other in whole[1:]:
        if read[other] != read[whole[0]]:
            raise DataError(_ambiguous(rest, read, whole[0], other))
    usable = [name for name in whole if name != ONE]
    chosen = (
        usable[0] if usable else max((TEXT, LETTERS, ZERO), key=lambda name: sum(n is not None for n in read[name]))
    )
    counted = max(len(one.choices) for one in rest) if whole == [ONE] else 0
    way, found = WAYS[chosen], []
    for one, number in zip(asked, named, strict=True):
        number = way(one) if number is None else number
        found.append(_error(one, spelt, counted) if number is None else number)
    return found, f"labels of choices are read {chosen}" if usable else ""


def _named(one: Asked, spelt: Sequence[str]) -> int | None:
    spelt, classes = spelt[: len(one.choices)], one.classes[: len(one.choices)]
    others = [plain(name) for name in one.called]
    if any(plain(word) in others[:at] + others[at + 1 :] for at, word in enumerate(spelt)):
        return _place_in(spelt, one.label)
    return next((at for names in (spelt, one.called, classes) if (at := _place_in(names, one.label)) is not None), None)


def _place_in(names: Sequence[str], label: str) -> int | None:
    for level in (str, plain):
        levelled = [level(name) for name in names]
        if levelled.count(level(label)) == 1:
            return levelled.index(level(label))
    return None


def _error(one: Asked, spelt: Sequence[str], counted: int = 0) -> DataError:
    if one.label == "-1":
        line = f"{one.place} has the label -1, which marks parts of a source that are not labelled; name a labelled one"
        return MissingValue(line, "the label -1")
    there = f"{one.place} has the label {one.label[:80]!r}, which is none of its {len(one.choices)} choices"
    if spelt:
        return DataError(f"{there}, spelt {', '.join(spelt[:20])}: mend that line, or --data.task.spelt")
    words = ",".join(map(str, range(1, (counted or len(one.choices)) + 1)))
    if counted:
        return DataError(f"{there}, counted from 0; if labels count from 1, say --data.task.spelt {words}")
    ways = "by text, by a letter (A is the first) or by a number (0 is the first)"
    return DataError(f"{there}, {ways}: mend that line, or say how files write the first, the second, ... with --data.task.spelt "
                     f"{words}")  # fmt: skip


def _ambiguous(rest: Sequence[Asked], read: dict[str, list[Any]], one: str, other: str) -> str:
    place = next(number for number, pair in enumerate(zip(read[one], read[other], strict=True)) if len(set(pair)) == 2)
    example, most = rest[place], max(len(asked.choices) for asked in rest)
    words = {
        LETTERS: ",".join(chr(ord("A") + number) for number in range(most)),
        ZERO: ",".join(map(str, range(most))),
        ONE: ",".join(map(str, range(1, most + 1))),
    }
    remedies = " or ".join(f"--data.task.spelt {words[way]}" for way in (one, other) if way in words)
    first, second = (example.choices[read[way][place]][:40] for way in (one, other))
    return (f"{example.place} has the label {example.label!r}, which is the choice {first!r} if labels are read {one}, and "
            f"{second!r} if {other}; all examples can be read so: say which with {remedies}")  # fmt: skip
