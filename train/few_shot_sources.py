"""Where the examples of tasks in words come from, each a dict of columns with its place under `__place__`.

Sources are those of data/tasks/sources.py, files:TRAIN|VALID and tfds:glue/sst2 among them; of a single file shots are drawn from
the very part that is asked, never the question itself. And `library`, made of the running Python's documentation: which
sentence follows? It needs no download.
"""

import hashlib
from typing import Any

import numpy as np

from data.corpus import library
from data.errors import DataError
from data.sentences import split_sentences
from data.tasks.choices import Classification
from data.tasks.reading import read_source
from data.tasks.sources import parse_task_source

CHOICES, MOST_DOCSTRINGS = 4, 2_000
Examples = list[dict[str, Any]]


def open_examples(word: str) -> tuple[Examples | None, Examples]:
    """The examples to draw shots from, None where there is one part only, and those to be asked.

    Raises:
        DataError: whatever is wrong with the source, in one line with the remedy.
    """
    if word == "library":
        return library_examples()
    parts = read_source(parse_task_source(word), Classification())
    if short := next((record.lacking for part in parts if part for record in part.records if record.lacking), ""):
        raise DataError(short)
    train, valid = (
        part and [{**record.columns, "__place__": record.place} for record in part.records] for part in parts
    )
    assert train is not None
    return (None, train) if valid is None else (train, valid)


def library_examples() -> tuple[Examples, Examples]:
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


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
