"""Local files as records: the columns of one example, and the place that an error names."""

import csv
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from data.corpus import files
from data.corpus.lines import lines, parse_json
from data.errors import DataError
from data.foreign import NotJSON
from data.tasks.nested import squad_records
from data.tasks.word_columns import tagged_sentences

csv.field_size_limit(2**31 - 1)  # a cell may be a book; the module's own limit is 131,072 characters
KINDS = ".tsv, .csv, .jsonl, .json, .conll, .bio or .txt"


class Record(NamedTuple):
    """One example as a source has it."""

    columns: dict[str, Any]
    place: str  # "train.tsv line 3"
    lacking: str = ""  # what is said of a row with too few cells


class Table(NamedTuple):
    """The records of a part of a source, and the names of classes where the source itself numbers them."""

    records: list[Record]
    classes: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def read_table(word: str, columns: Sequence[str] = (), *, tagged: bool = False) -> Table:
    """The files of one part: a path, a glob, or parallel files joined by +. `tagged`: .txt has a word and its tag a line."""
    if "+" in word and not os.path.isfile(word):
        return Table(list(_parallel([files.match(part) for part in word.split("+")], columns)))
    records: list[Record] = []
    for path in files.match(word):
        found = [Record(*record) for record in _read(path, tuple(columns), tagged)]
        if not found:
            raise DataError(f"{path} holds no example; name a file that does")
        records += found
    return Table(records)


def _read(path: Path, columns: tuple[str, ...], tagged: bool) -> Iterator[tuple]:
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    match suffix:
        case ".tsv":
            return _rows(path, _tab_separated(path), columns)
        case ".csv":
            return _rows(path, _comma_separated(path), columns)
        case ".jsonl" | ".ndjson":
            return _objects(path)
        case ".json":
            return _document(path)
        case ".conll" | ".bio" | ".iob" | ".bioes" | ".bmes":
            return tagged_sentences(path, columns)
        case ".txt":
            return tagged_sentences(path, columns) if tagged else _lines(path, columns)
    raise DataError(
        f"{path} ends in {suffix or 'nothing'}, which says no form; name it {KINDS}, or join parallel files by +"
    )


def _rows(path: Path, lines: Iterator[tuple[int, list[str]]], columns: tuple[str, ...]) -> Iterator[tuple]:
    """Rows of cells under a header, or under the columns that the source names; one with too few says what it lacks."""
    header = columns
    for index, (number, cells) in enumerate(lines):
        if index == 0 and not columns:
            header = tuple(cell.strip() for cell in cells)
            if len(set(header)) < len(header):
                raise DataError(f"{path} line {number} names a column twice ({', '.join(header)}); if it is no header, name "
                                f"the columns: files:{path}#label,text")  # fmt: skip
            continue
        if index == 0 and _is_header(cells, columns):
            continue
        place, lacking = f"{path} line {number}", ""
        if len(cells) != len(header):
            lacking = (f"{place} has {_count(len(cells), 'column')}, not {len(header)} ({', '.join(header)}); mend that line, or "
                       f"name the columns: files:{path}#label,text")  # fmt: skip
            if len(cells) > len(header):
                raise DataError(lacking)
        yield {name: cell for name, cell in zip(header, cells, strict=False) if name != "_"}, place, lacking


def _is_header(cells: list[str], columns: Sequence[str]) -> bool:
    """Whether a first line is a header after all, although the source names the columns."""
    if len(cells) != len(columns):
        return False
    return all(name in ("_", cell) or _folded(cell) == _folded(name) for cell, name in zip(cells, columns, strict=True))


def _folded(name: str) -> str:
    """The name of a column without case, Unicode's form and spaces around it."""
    return unicodedata.normalize("NFC", name.strip()).casefold()


def _tab_separated(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Cells between tabs; quotation marks are text like any other."""
    return ((number, line.split("\t")) for number, line in lines(path) if line.strip())


def _comma_separated(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Cells between commas, quoted where they hold commas, line ends or doubled quotation marks."""
    last = 0

    def counted() -> Iterator[str]:
        nonlocal last
        for number, line in lines(path, ends=True):
            last = number
            yield line

    reader, begin = csv.reader(counted(), strict=True), 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path} line {begin} has a quotation mark without its fellow ({error} at line {last}); double "
                            "those inside a quoted cell, or write a .tsv, which knows no quoting") from error  # fmt: skip
        if cells and any(cell.strip() for cell in cells):
            yield begin, cells
        begin = last + 1


def _objects(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    for number, line in lines(path):
        if not line.strip():
            continue
        content = parse_json(line, f"{path} line {number}", "a .jsonl file has one object a line", unique=True)
        if not isinstance(content, dict):
            raise DataError(f"{path} line {number} is no object; a .jsonl file has one object a line")
        yield content, f"{path} line {number}"


def _document(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """One JSON document: articles of SQuAD's form, or a list of objects."""
    text = "".join(line for _, line in lines(path, ends=True))
    try:
        content = parse_json(text, str(path), "mend it there", numbered=True, unique=True)
    except NotJSON:  # extra data: an object a line, under the name of the whole
        return _objects(path)
    listed = content.get("data") if isinstance(content, dict) else content
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise DataError(f"{path} is neither of SQuAD's form nor a list of objects; write one object a line, as .jsonl")
    if any("paragraphs" in item for item in listed):
        return squad_records(path, listed, text)
    return ((item, f"{path} item {number}") for number, item in enumerate(listed, start=1))


def _lines(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], str]]:
    """A text a line, or what a pattern with names in braces finds in it; blank lines are none."""
    pattern = columns[0] if columns else "{text}"
    if "{" not in pattern:
        pattern = f"{{{pattern}}}"
    parts = re.split(r"\{(\w+)\}", pattern)
    compiled = re.compile("".join(f"(?P<{p}>.+?)" if number % 2 else re.escape(p) for number, p in enumerate(parts)))
    for number, line in lines(path):
        if line.strip():
            found = compiled.fullmatch(line)
            if found is None:
                raise DataError(
                    f"{path} line {number} is not of the form {pattern!r}; mend that line, or write another form"
                )
            yield found.groupdict(), f"{path} line {number}"


def _parallel(parts: list[list[Path]], columns: Sequence[str]) -> Iterator[Record]:
    """Files with a text a line; line n of each is a column of example n."""
    names = list(columns) or ["source", "target"]
    if len(names) != len(parts):
        raise DataError(f"{len(parts)} parallel files have {_count(len(names), 'column')} ({', '.join(names)}); name one each, "
                        "as in files:a.en+a.de#source,target")  # fmt: skip
    if len({len(part) for part in parts}) > 1:
        raise DataError("parallel globs match different numbers of files; name the files one by one")
    for paths in zip(*parts, strict=True):
        for row in zip_longest(*(lines(path) for path in paths)):
            if None in row:
                sizes = ", ".join(f"{path} {sum(1 for _ in lines(path))}" for path in paths)
                raise DataError(f"parallel files differ in their lines ({sizes}); line n of each belongs together")
            yield Record(
                {name: line for name, (_, line) in zip(names, row, strict=True)}, f"{paths[0]} line {row[0][0]}"
            )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
