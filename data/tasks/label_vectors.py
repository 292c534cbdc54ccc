"""Several labels as a vector of zeros and ones, a place for each label in order: found where it is meant, read or refused."""

import re
from collections import Counter
from collections.abc import Sequence

from data.errors import DataError
from data.tasks.label_names import numeral, plain, shown

BITS = {"#0": 0, "#1": 1, "false": 0, "true": 1}
RUN = re.compile(r"[01]{3,}")
SPACES = re.compile(r"[\s;|/]+")


def bits(labels: Sequence[str]) -> list[int] | None:
    """Labels as zeros and ones, None where one is something else; a text of three or more digits is read as one of its own.

    >>> bits(["1", "0.0", "true"]), bits(["011"]), bits(["1. 0.0"]), bits(["1", "2"])
    ([1, 0, 1], [0, 1, 1], [1, 0], None)
    """
    if len(labels) == 1 and RUN.fullmatch(labels[0]):
        labels = list(labels[0])
    elif len(labels) == 1:
        labels = [word.removesuffix(".") for word in SPACES.split(labels[0].strip())]
    found = [BITS.get(plain(label)) for label in labels]
    return None if None in found else [bit for bit in found if bit is not None]


def vectors(listed: Sequence[Sequence[str]], places: Sequence[str]) -> list[list[int]] | None:
    """All label lists as vectors of zeros and ones, or None where they are names: as names, a list has none of them twice.

    DataError for a vector of another length than the rest, and for vectors of shares.

    >>> vectors([["1", "0", "1"], ["0", "0", "1"]], ["line 1", "line 2"]), vectors([["0"], ["0", "1"]], ["line 1", "line 2"])
    ([[1, 0, 1], [0, 0, 1]], None)
    """
    made = [bits(labels) for labels in listed]
    _refuse_shares(listed, places)
    known = [one for one in made if one]
    if len(known) < len(made):
        if any(len(one) > len(set(one)) for one in known) and len(known) > len(made) // 2:
            at = next(number for number, one in enumerate(made) if not one)
            raise DataError(f"{places[at]} has the labels {shown(listed[at]) or '[]'} where other examples have vectors of zeros "
                            "and ones; mend that line")  # fmt: skip
        return None
    sizes = Counter(len(one) for one in known)
    repeated = any(len(one) > len(set(one)) for one in known)
    if not known or not (repeated or set(sizes) == {2}):
        return None
    usual = sizes.most_common(1)[0][0]
    for one, place in zip(known, places, strict=True):
        if len(one) != usual:
            raise DataError(
                f"{place} has a vector of {len(one)} zeros and ones, other examples one of {usual}; mend that line"
            )
    return known


def names_of(vector: Sequence[int], labels: Sequence[str]) -> list[str]:
    """The labels whose places have a one.

    >>> names_of([1, 0, 1], ("red", "green", "blue"))
    ['red', 'blue']
    """
    return [label for bit, label in zip(vector, labels, strict=True) if bit]


def check_length(labels: Sequence[str] | None, length: int, place: str) -> None:
    """DataError where vectors have no names for their places, or another number of them."""
    if labels is not None and len(labels) == length:
        return
    names = ",".join(f"NAME{number}" for number in range(1, min(length, 4) + 1)) + (",..." if length > 4 else "")
    have = "the task names no labels" if labels is None else f"the task names {len(labels)} labels ({shown(labels, 6)})"
    raise DataError(
        f"{place} and all others have {length} zeros and ones as labels, and {have}: if these are places, name the {length} "
        f"labels in order with --data.task.labels {names}; if labels are called 0 and 1, write each once in a list"
    )


def _refuse_shares(listed: Sequence[Sequence[str]], places: Sequence[str]) -> None:
    if len({len(labels) for labels in listed}) != 1 or not listed or len(listed[0]) < 2:
        return
    values = [[numeral(label) for label in labels] for labels in listed]
    flat = [value for several in values for value in several]
    if all(value is not None and 0 <= value <= 1 for value in flat):
        for labels, several, place in zip(listed, values, places, strict=True):
            if any(value != int(value) for value in several if value is not None):
                raise DataError(f"{place} has the labels {shown(labels, 4)}, which are shares and no names; write 1 for those "
                                "that it has and 0 for the others, or a list of names")  # fmt: skip
