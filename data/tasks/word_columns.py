"""Files with a word and its tag a line, and a blank line between sentences, as those of CoNLL-2003."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.corpus.lines import lines
from data.errors import DataError

BLANK = " \t"


COMMENT = re.compile(r"# |#(?:begin|end) document\b")


def tagged_sentences(path: Path, columns: tuple[str, ...] = ()) -> Iterator[tuple[dict[str, Any], str]]:
    """Sentences as lists of their columns, with the place where each begins; its words lie on lines that follow.

    Columns stand apart by tabs, or by spaces where a line has none; any other white space, as one that does not break, is part of
    a word. Without names the first is the words and the last the tags. Lines with -DOCSTART- are left out, and before a sentence
    those that begin with "# " and have other columns than the words, as the comments of CoNLL-U.
    """
    rows = [(number, _cells(line), "\t" in line, COMMENT.match(line) is not None) for number, line in lines(path)]
    words = [row for row in rows if row[1] and not row[3]]
    tabs, tags = bool(words) and words[0][2], {"O", *(cells[-1] for _, cells, _, _ in words)}
    width = len(columns) or max(len(words[0][1]) if words else 0, 2)
    sentence: list[list[str]] = []
    begin = 0
    for number, cells, tabbed, comment in rows:
        if not cells or cells[0] == "-DOCSTART-":
            if sentence:
                yield _columns(sentence, columns), f"{path} line {begin}"
            sentence = []
            continue
        if comment and not sentence:
            if words and (len(cells) != width or tabs > tabbed):
                continue
            if cells[-1] not in tags and cells[-1] != cells[0]:
                raise DataError(f"{path} line {number} ({' '.join(cells)[:60]!r}) may be a comment, or the word # with a tag "
                                "that no other word has; remove that line, or write tabs between words and tags")  # fmt: skip
        if len(cells) != width or not all(cells):
            empty = "has an empty column" if len(cells) == width else f"has {len(cells)} of {width} columns"
            raise DataError(f"{path} line {number} {empty} ({' '.join(cells)[:60]!r}); write a word and its tag a line, and "
                            "a blank line between sentences")  # fmt: skip
        begin = begin if sentence else number
        sentence.append(cells)
    if sentence:
        yield _columns(sentence, columns), f"{path} line {begin}"


def _cells(line: str) -> list[str]:
    """The columns of a line; none of a blank one."""
    if "\t" in line:
        return [cell.strip(BLANK) for cell in line.split("\t")] if line.strip(BLANK) else []
    line = line.strip(BLANK)
    return re.split(" +", line) if line else []


def _columns(sentence: list[list[str]], columns: tuple[str, ...]) -> dict[str, Any]:
    if columns:
        return {name: [row[place] for row in sentence] for place, name in enumerate(columns) if name != "_"}
    return {"tokens": [row[0] for row in sentence], "tags": [row[-1] for row in sentence]}
