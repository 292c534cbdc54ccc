"""Files with a word and its tag a line, and a blank line between sentences, as those of CoNLL-2003."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.corpus.lines import lines
from data.errors import DataError

BLANK = " \t"


def tagged_sentences(path: Path, columns: tuple[str, ...] = ()) -> Iterator[tuple[dict[str, Any], str]]:
    """Sentences as lists of their columns, with the place where each begins; its words lie on lines that follow.

    Columns stand apart by tabs, or by spaces where a line has none; any other white space, as one that does not break, is part of
    a word. Without names the first is the words and the last the
    tags. Lines with -DOCSTART- are left out.
    """
    sentence: list[list[str]] = []
    begin = width = 0
    for number, line in lines(path):
        line = line.strip(BLANK) if "\t" not in line else line
        cells = line.split("\t") if "\t" in line else re.split(" +", line)
        if not line.strip(BLANK) or cells[0] == "-DOCSTART-":
            if sentence:
                yield _columns(sentence, columns), f"{path} line {begin}"
            sentence = []
            continue
        cells = [cell.strip(BLANK) for cell in cells]
        width = width or len(columns) or max(len(cells), 2)
        if len(cells) != width or not all(cells):
            empty = "has an empty column" if len(cells) == width else f"has {len(cells)} of {width} columns"
            raise DataError(f"{path} line {number} {empty} ({' '.join(cells)[:60]!r}); write a word and its tag a line, and "
                            "a blank line between sentences")  # fmt: skip
        begin = begin if sentence else number
        sentence.append(cells)
    if sentence:
        yield _columns(sentence, columns), f"{path} line {begin}"


def _columns(sentence: list[list[str]], columns: tuple[str, ...]) -> dict[str, Any]:
    if columns:
        return {name: [row[place] for row in sentence] for place, name in enumerate(columns) if name != "_"}
    return {"tokens": [row[0] for row in sentence], "tags": [row[-1] for row in sentence]}
