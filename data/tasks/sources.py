"""Where the examples of a task come from: one small choice a source, and the one word that names it.

    library_parts                        the embedded one: which part of the standard library a docstring is from
    tfds:glue/sst2                       any data set of TFDS: its splits `train` and `validation`
    tfds:glue/mnli|validation_mismatched the held-out split by name; `tfds:NAME|TRAIN|VALID` names both
    files:train.tsv|dev.tsv              local files, one to train on and one held out
    files:all.jsonl                      one file: a part is held out by a hash of its text
    files:a.tsv|b.tsv#source,label,_,sentence   columns in their order, for files without a header; _ is not read
    files:a.tsv|b.csv#text,label|label,_,text   the same, each file with its own
    files:a.txt|b.txt#IN: {source} OUT: {target}  lines of a form, with the names of columns in braces
    files:train.en+train.de|val.en+val.de#source,target   parallel files, a text a line

The suffix says what a file is: .tsv (never quoted), .csv (quoted), .jsonl, .json (of SQuAD's form, or a list of objects),
.conll, .bio or .txt (a word and its tag a line, for tagging; else a text a line), .gz of all. A name may be a glob: its
files follow each other.
"""

import difflib
import re
from dataclasses import dataclass
from typing import TypeAlias

from data.errors import DataError

EXAMPLES = "library_parts, tfds:glue/sst2 or files:train.tsv|dev.tsv"


@dataclass(frozen=True)
class LibraryParts:
    """Docstrings of the running Python's standard library, to be told from which part they are. No download."""

    def __str__(self) -> str:
        return "library_parts"


@dataclass(frozen=True)
class TaskTFDS:
    """A data set of TensorFlow Datasets, read without TensorFlow; `dataset` is NAME[/CONFIG][:VERSION]."""

    dataset: str = "glue/sst2"
    train: str = "train"
    valid: str | None = "validation"
    """The held-out split; None: a part of the training split, by a hash of its text."""

    def __post_init__(self):
        if not re.fullmatch(r"[\w.-]+(/[\w.+-]+)?(:\d+\.\d+\.\d+)?", self.dataset):
            raise DataError(f"tfds:{self.dataset} is not a data set name; write tfds:NAME or tfds:NAME/CONFIG, such as "
                            "tfds:glue/sst2")  # fmt: skip

    def __str__(self) -> str:
        if self.valid is None:
            return f"tfds:{self.dataset}|{self.train}|"
        named = (self.train, self.valid)
        if named == ("train", "validation"):
            return f"tfds:{self.dataset}"
        return f"tfds:{self.dataset}|" + (self.valid if self.train == "train" else "|".join(named))


@dataclass(frozen=True)
class TaskFiles:
    """Local files: see the head of this module for how they are read."""

    train: str = "train.tsv"
    valid: str | None = None
    """The held-out file or files; None: a part of the training file, by a hash of its text."""
    columns: tuple[str, ...] = ()
    """Names of the columns of files without a header, in their order; _ for what is not read. Or the form of a line."""
    valid_columns: tuple[str, ...] = ()
    """Those of the held-out file where they differ."""

    def __post_init__(self):
        if not self.train:
            raise DataError(
                "files: names no file; write files:TRAIN or files:TRAIN|VALID, such as files:train.tsv|dev.tsv"
            )
        for columns in (self.columns, self.valid_columns):
            named = [name for name in columns if name != "_"]
            if columns and (not named or len(set(named)) < len(named) or not all(columns)):
                raise DataError(
                    f"columns {','.join(columns)} repeat a name or name none; write #label,_,sentence, each name once"
                )

    def __str__(self) -> str:
        word = f"files:{self.train}" + ("" if self.valid is None else f"|{self.valid}")
        columns = ",".join(self.columns) + (f"|{','.join(self.valid_columns)}" if self.valid_columns else "")
        return f"{word}#{columns}" if columns else word


TaskSource: TypeAlias = LibraryParts | TaskTFDS | TaskFiles


def parse_task_source(word: str) -> TaskSource:
    """The source that one word names: the inverse of `str(source)`.

    >>> parse_task_source("files:a.tsv|b.tsv#label,_,text")
    TaskFiles(train='a.tsv', valid='b.tsv', columns=('label', '_', 'text'), valid_columns=())
    >>> str(parse_task_source("tfds:glue/mnli|validation_mismatched"))
    'tfds:glue/mnli|validation_mismatched'
    >>> parse_task_source("library_part")
    Traceback (most recent call last):
    data.errors.DataError: unknown source of a task 'library_part'; did you mean library_parts?
    """
    word = word.strip()
    kind, colon, rest = word.partition(":")
    match kind, bool(colon):
        case "library_parts", False:
            return LibraryParts()
        case "tfds", True:
            return _parse_tfds(rest)
        case "files", True:
            return _parse_files(rest)
    near = difflib.get_close_matches(kind + colon, ("library_parts", "tfds:", "files:"), n=1)
    raise DataError(
        f"unknown source of a task '{word}'; " + (f"did you mean {near[0]}?" if near else f"use {EXAMPLES}")
    )


def _parse_tfds(rest: str) -> TaskTFDS:
    match rest.split("|"):
        case [name]:
            return TaskTFDS(name)
        case [name, valid]:
            return TaskTFDS(name, valid=valid or None)
        case [name, train, valid]:
            return TaskTFDS(name, train or "train", valid or None)
    raise DataError(f"tfds:{rest} names too many splits; write tfds:NAME|TRAIN|VALID")


def _parse_files(rest: str) -> TaskFiles:
    names, _, columns = rest.partition("#")
    paths, lists = names.split("|"), columns.split("|") if columns else []
    if len(paths) > 2 or len(lists) > 2:
        raise DataError(
            f"files:{rest} names more than a file to train on and one held out; write files:TRAIN|VALID#COLUMNS"
        )
    named = [(part,) if "{" in part else tuple(name.strip() for name in part.split(",")) for part in lists]
    return TaskFiles(
        paths[0],
        paths[1] if len(paths) > 1 and paths[1] else None,
        named[0] if named else (),
        named[1] if len(named) > 1 else (),
    )
