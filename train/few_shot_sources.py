"""Where the examples of tasks in words come from, each a dict of columns.

files:TRAIN|VALID            local files: .jsonl, .csv (quoted), .tsv (never quoted), .gz of each
files:VALID                  one file: shots are drawn from it too, never the question itself
files:a.tsv|b.tsv#label,_,sentence   columns in their order, for files without a header; _ is not read
tfds:glue/sst2               a prepared data set of TFDS: its splits train and validation (else test)
library                      made of the running Python's documentation: which sentence follows?
"""

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.corpus import files, library, tfds_examples
from data.errors import DataError
from data.sentences import split_sentences

CHOICES, MOST_DOCSTRINGS = 4, 2_000


def open_examples(word: str) -> tuple[list[dict[str, Any]] | None, list[dict[str, Any]]]:
    """The examples to draw shots from, None where there is one part only, and those to be asked.

    Raises:
        DataError: whatever is wrong with the source, in one line with the remedy.
    """
    kind, colon, rest = word.partition(":")
    if kind == "library" and not colon:
        return library_examples()
    if kind == "tfds" and rest:
        return tfds_examples.read(rest)
    if kind != "files" or not rest:
        raise DataError(f"unknown source of examples {word!r}; use files:TRAIN|VALID, tfds:glue/sst2 or library")
    names, _, columns = rest.partition("#")
    paths = names.split("|")
    if len(paths) > 2:
        raise DataError(f"{word} names {len(paths)} files; write files:TRAIN|VALID")
    parts = [[example for path in files.match(name) for example in read_file(path, columns)] for name in paths]
    for name, examples in zip(paths, parts, strict=True):
        if not examples:
            raise DataError(f"{name} holds no example; name another file")
    return (parts[0], parts[1]) if len(parts) == 2 else (None, parts[0])


def read_file(path: Path, columns: str = "") -> Iterator[dict[str, Any]]:
    """The examples of a file, each with its place under `__place__`; `columns` for a file without a header."""
    name = path.name.removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson")):
        for number, line in files.lines(path):
            if line.strip():
                yield {**_object(path, number, line), "__place__": f"{path}, line {number}"}
        return
    if not name.endswith((".tsv", ".csv")):
        raise DataError(
            f"{path} is of no known kind; examples are read from .jsonl, .tsv and .csv files, and .gz of them"
        )
    numbered = _quoted(path) if name.endswith(".csv") else ((n, line.split("\t")) for n, line in files.lines(path))
    header = [column.strip() for column in columns.split(",")] if columns else None
    for number, cells in numbered:
        if header is None:
            header = [cell.strip() for cell in cells]
            continue
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise DataError(f"{path}, line {number} has {len(cells)} columns and not {len(header)} "
                            f"({', '.join(header)}); mend it, or name the columns with #")  # fmt: skip
        row = {column: cell for column, cell in zip(header, cells, strict=True) if column != "_"}
        yield {**row, "__place__": f"{path}, line {number}"}


def library_examples() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Docstrings of the running Python, cut after a sentence: the next one is to be told from three of other docstrings.

    A tenth of the docstrings is asked, by a hash of their names; shots come from the rest. A model that was trained on this very
    documentation has read the answers. Distractors are drawn by a hash too: one Python gives the same task each time.
    """
    named: dict[str, tuple[str, str]] = {}
    for name, text in library.documentation():
        sentences = [" ".join(part.split()) for part in split_sentences(text)]
        if len(sentences) > 1 and all(20 <= len(part) <= 200 for part in sentences[:2]):
            named.setdefault(name, (sentences[0], sentences[1]))  # of a name that is defined twice, the first
    pairs = sorted(((name, *texts) for name, texts in named.items()), key=lambda pair: _hash(pair[0]))[:MOST_DOCSTRINGS]
    train, valid = [], []
    for number, (name, first, second) in enumerate(pairs):
        draw = np.random.default_rng(_hash(name))
        others = dict.fromkeys(
            pairs[at][2] for at in draw.permutation(len(pairs))[:40]
        )  # some sentences stand in several
        wrong = [text for text in others if text != second][: CHOICES - 1]
        gold = int(draw.integers(CHOICES))
        example = {"text": first, "choices": [*wrong[:gold], second, *wrong[gold:]], "label": gold, "__place__": name}
        (valid if number % 10 == 0 else train).append(example)
    return train, valid


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}, line {number} is not JSON ({error}); mend it") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}, line {number} is not a JSON object; write one example a line")
    return found


def _quoted(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line for _, line in files.lines(path, ends=True)), strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num} is no CSV ({error}); close its quotation marks") from error


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
