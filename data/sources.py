"""Where text comes from: one small choice a source, and the one word that names it on a command line.

    python_docs                          the documentation of the running Python (needs no download)
    python_source                        its source code
    tfds:wikipedia/20230601.en[:1.0.0]   any data set of TFDS; `#field` at the end names a feature other than `text`
    files:my/*.txt                       local .txt and .jsonl files, also .gz; `#field` works for .jsonl, `#whole` makes
                                         a .txt file one document, kept to the character
    pairs:train.de|train.en              pairs of texts: two files with a text a line, or a .tsv with two columns, or a
                                         .jsonl with two fields, as in pairs:my.jsonl#de>en; also .gz
    tfds:wmt14_translate/de-en#de>en     pairs of texts of TFDS: two features, source and target
    synthetic:500                        seeded nonsense for tests, 500 documents of it
    task:modular                         small worlds made by a seed: see data.synthetic_tasks
    mix:python_docs=0.7,files:my/*.txt=0.3   several of them, with the share of tokens that each contributes

`str(source)` gives the word and `parse_source(word)` the source back. What reads them is in `data.corpus`.
"""

import difflib
import math
import re
from dataclasses import dataclass
from typing import TypeAlias

from data.errors import DataError
from data.synthetic_tasks import CopyTask, ModularArithmetic, RepeatedBlocks, parse_task

WORDS = ("python_docs", "python_source", "tfds:", "files:", "pairs:", "synthetic", "task:", "mix:")
EXAMPLES = (
    "python_docs, python_source, tfds:wikipedia/20230601.en, files:my/*.txt, pairs:my.de|my.en, synthetic:500, "
    "task:modular or mix:A=0.7,B=0.3"
)
MOST_DOCUMENTS = 2**40


@dataclass(frozen=True)
class PythonDocs:
    """The documentation of the running Python: its topics and the docstrings of its standard library, English prose."""

    def __str__(self) -> str:
        return "python_docs"


@dataclass(frozen=True)
class PythonSource:
    """The source code of the running Python's standard library, for language models of code."""

    def __str__(self) -> str:
        return "python_source"


@dataclass(frozen=True)
class TFDS:
    """A data set of TensorFlow Datasets, read without TensorFlow; `dataset` is NAME[/CONFIG][:VERSION].

    `field` is the feature that holds the text, or two of them, `de>en`, for pairs of a source and a target.
    """

    dataset: str = "wikipedia/20230601.en"
    field: str = "text"
    split: str = "train"

    def __post_init__(self):
        if not re.fullmatch(r"[\w.-]+(/[\w.+-]+)?(:\d+\.\d+\.\d+)?", self.dataset):
            raise DataError(f"tfds:{self.dataset} is not a data set name; write tfds:NAME, tfds:NAME/CONFIG or "
                            "tfds:NAME/CONFIG:1.0.0, such as tfds:wikipedia/20230601.en")  # fmt: skip

    def __str__(self) -> str:
        return f"tfds:{self.dataset}" + ("" if self.field == "text" else f"#{self.field}")


@dataclass(frozen=True)
class Files:
    """Local files. `.txt`: one document a file, or several with blank lines between, as `blank_lines` says; `.jsonl`:
    one object a line, its text in `field`; `.gz` of both. `glob` may name one file or match many, `**` included.
    """

    glob: str = "*.txt"
    field: str = "text"
    blank_lines: bool = True  # a blank line ends a document; False: a .txt file is one document, every character of it

    def __str__(self) -> str:
        if not self.blank_lines:
            return f"files:{self.glob}#whole"
        return f"files:{self.glob}" + ("" if self.field == "text" else f"#{self.field}")


@dataclass(frozen=True)
class Pairs:
    """Local pairs of texts, each a document: a source and its target, as for translation.

    `files` names two parallel files, one text a line, with | between; or one .tsv with two columns and no header; or one
    .jsonl, whose `fields` are the source's and the target's. `.gz` of each.
    """

    files: str = "train.de|train.en"
    fields: str = "source>target"

    def __post_init__(self):
        if not re.fullmatch(r"[^|]+\|[^|]+|[^|]+\.(tsv|jsonl|ndjson)(\.gz)?", self.files):
            raise DataError(f"pairs:{self.files} is neither two files nor one .tsv or .jsonl; write pairs:my.de|my.en, "
                            "pairs:my.tsv or pairs:my.jsonl#de>en")  # fmt: skip
        if not re.fullmatch(r"[^>]+>[^>]+", self.fields):
            raise DataError(f"fields={self.fields} does not name two fields; write SOURCE>TARGET, such as de>en")

    def __str__(self) -> str:
        return f"pairs:{self.files}" + ("" if self.fields == "source>target" else f"#{self.fields}")


@dataclass(frozen=True)
class Synthetic:
    """Seeded nonsense with the shape of prose, for tests: nothing to read, nothing to download."""

    documents: int = 500
    seed: int = 0

    def __post_init__(self):
        if self.documents < 1:
            raise DataError(f"synthetic:{self.documents} has no documents; write synthetic:500")
        if self.documents > MOST_DOCUMENTS:
            raise DataError(
                f"synthetic:{self.documents} is more documents than are numbered; use {MOST_DOCUMENTS} at most"
            )

    def __str__(self) -> str:
        return f"synthetic:{self.documents}"


@dataclass(frozen=True)
class Mixture:
    """Several sources, named by their words; `weights` are the shares of tokens that they contribute to an epoch."""

    sources: tuple[str, ...] = ("python_docs", "python_source")
    weights: tuple[float, ...] = (0.5, 0.5)

    def __post_init__(self):
        if len(self.sources) != len(self.weights) or not self.sources:
            raise DataError(f"a mixture needs one weight a source: it has {len(self.sources)} sources "
                            f"and {len(self.weights)} weights")  # fmt: skip
        if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
            raise DataError(f"mixture weights must be positive numbers, not {', '.join(map(str, self.weights))}")
        for word in self.sources:
            if isinstance(parse_source(word), Mixture):
                raise DataError(f"a mixture cannot hold another mixture ({word}); name its sources directly")

    def __str__(self) -> str:
        return "mix:" + ",".join(f"{word}={weight:g}" for word, weight in zip(self.sources, self.weights, strict=True))


Source: TypeAlias = (
    PythonDocs
    | PythonSource
    | TFDS
    | Files
    | Pairs
    | Synthetic
    | ModularArithmetic
    | RepeatedBlocks
    | CopyTask
    | Mixture
)


def parse_source(word: str) -> Source:
    """The source that one word names: the inverse of `str(source)`.

    >>> parse_source("tfds:wikipedia/20230601.en:1.0.0")
    TFDS(dataset='wikipedia/20230601.en:1.0.0', field='text', split='train')
    >>> str(parse_source("mix:python_docs=0.7,files:my/*.txt=0.3"))
    'mix:python_docs=0.7,files:my/*.txt=0.3'
    >>> parse_source("pyton_docs")
    Traceback (most recent call last):
    data.errors.DataError: unknown source 'pyton_docs'; did you mean python_docs?
    """
    word = word.strip()
    kind, colon, rest = word.partition(":")
    match kind, bool(colon):
        case "python_docs", False:
            return PythonDocs()
        case "python_source", False:
            return PythonSource()
        case "synthetic", False:
            return Synthetic()
        case "synthetic", True:
            if not rest.isdecimal():
                raise DataError(f"synthetic:{rest} needs a number of documents, such as synthetic:500")
            return Synthetic(documents=int(rest))
        case "tfds", True:
            name, _, field = rest.partition("#")
            return TFDS(name, field or "text")
        case "files", True if rest:
            named = re.fullmatch(r"(.+\.jsonl(?:\.gz)?)#(\w+)", rest)
            if not named and rest.endswith("#whole"):
                return Files(rest.removesuffix("#whole"), blank_lines=False)
            return Files(named[1], named[2]) if named else Files(rest)
        case "pairs", True:
            named = re.fullmatch(r"(.+)#([^#/|>]+>[^#/|>]+)", rest)
            return Pairs(named[1], named[2]) if named else Pairs(rest)
        case "task", True:
            return parse_task(word)
        case "mix", True:
            return _parse_mixture(word, rest)
    if word == "files:":
        raise DataError("files: names no file; write files:PATH or files:GLOB, such as 'files:my/*.txt'")
    near = difflib.get_close_matches(kind + colon, WORDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"use {EXAMPLES}"
    raise DataError(f"unknown source '{word}'; {hint}")


def _parse_mixture(word: str, rest: str) -> Mixture:
    # A glob may hold commas and equal signs, so a part ends only where "=number" is followed by a comma or the end.
    parts = re.findall(r"(.+?)=([-+0-9.e]+)(?:,|$)", rest)
    if not parts or ",".join(f"{name}={weight}" for name, weight in parts) != rest:
        raise DataError(f"cannot read the mixture '{word}'; write mix:SOURCE=WEIGHT,SOURCE=WEIGHT, "
                        "such as mix:python_docs=0.7,files:my/*.txt=0.3")  # fmt: skip
    try:
        weights = tuple(float(weight) for _, weight in parts)
    except ValueError:
        raise DataError(f"the mixture '{word}' has a weight that is not a number") from None
    return Mixture(tuple(name for name, _ in parts), weights)
