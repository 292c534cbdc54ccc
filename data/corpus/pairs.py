"""Local pairs of texts: parallel files, two columns, or two fields. Whatever is wrong with one is told with its line."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from data.cache import user_path
from data.corpus import files
from data.corpus.lines import lines
from data.errors import DataError
from data.sentences import PAIR
from data.sources import Pairs


def find(source: Pairs) -> list[Path]:
    """The one or two files of a source; one that is not there is an error."""
    paths = [user_path(name) for name in source.files.split("|")]
    for path in paths:
        if not path.is_file():
            kind = "a folder, not a file" if path.is_dir() else "not there"
            raise DataError(f"{path} of {source} is {kind}; it was looked for from {Path.cwd()}")
    return paths


def fingerprint(paths: list[Path], source: Pairs) -> str:
    """A hash of what the files hold; of their names only the ending matters."""
    return f"pairs {files.digest(paths, source.fields if files.is_jsonl(paths[0]) else 'lines')}"


def read(paths: list[Path], source: Pairs) -> Iterator[str]:
    """The pairs in the order of the files, with PAIR between source and target."""
    empty = True
    for place, sides in _numbered(paths, source):
        first, second = (side.replace(PAIR, " ").strip() for side in sides)
        if not first or not second:
            which = "source" if not first else "target"
            raise DataError(f"{place} has an empty {which}; remove that pair from the file")
        empty = False
        yield first + PAIR + second
    if empty:
        raise DataError(f"{source} holds no pairs; name a file that does")


def _numbered(paths: list[Path], source: Pairs) -> Iterator[tuple[str, list[str]]]:
    """Pairs, each with the place that an error names."""
    if len(paths) == 2:
        yield from _parallel(*paths)
    elif files.is_jsonl(paths[0]):
        for number, sides in files.objects(paths[0], source.fields.split(">")):
            yield f"{paths[0]} line {number}", sides
    else:
        for number, line in lines(paths[0]):
            columns = line.split("\t")
            if len(columns) != 2:
                raise DataError(f"{paths[0]} line {number} has {len(columns)} columns, not a source and a target; separate "
                                "the two by one tab")  # fmt: skip
            yield f"{paths[0]} line {number}", columns


def _parallel(first: Path, second: Path) -> Iterator[tuple[str, list[str]]]:
    number = 0
    for one, two in zip_longest(lines(first), lines(second)):
        if one is None or two is None:
            more = sum(1 for _ in lines(second if one is None else first))
            lengths = (number, more) if one is None else (more, number)
            raise DataError(f"{first} has {lengths[0]} lines and {second} has {lengths[1]}; parallel files have one text a "
                            "line, equally many")  # fmt: skip
        number = one[0]
        yield f"line {number} of {first if not one[1].strip() else second}", [one[1], two[1]]
