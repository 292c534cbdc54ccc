"""The making of a prepared folder: survey the source, choose what is held out, train the tokenizer, tokenise.

The source is read three times, once for each of these, and never held in memory.
"""

import hashlib
import heapq
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.config import TextData
from data.corpus import Corpus
from data.documents import Part
from data.errors import DataError
from data.held_out import write_texts
from data.records import DocumentWriter
from data.sentences import Encoded, encode_documents, text_bytes, texts_of
from data.tokenizers import Tokenizer, open_tokenizer, train_tokenizer

FORMAT = 1
SAMPLE_BYTES = 256 * 2**20  # of text to train a tokenizer on
ENCODE_TOGETHER = 512  # documents
TELL_SECONDS = 10

Say = Callable[[str], None]
Split = Callable[
    [Iterator[str]], Iterator[tuple[str, bool]]
]  # documents to documents, each with whether it is held out


def build(folder: Path, data: TextData, corpora: list[Corpus], say: Say) -> dict[str, Any]:
    """Fill `folder`; what its meta.json says about it."""
    say(f"Preparing {data.source}: reading")
    surveys = [_survey(corpus, data.valid_documents) for corpus in corpora]
    splits = _splits(data, corpora, surveys)
    size = sum(survey.bytes for survey in surveys)
    tokenizer = open_tokenizer(data.tokenizer)
    if tokenizer is None:
        say(f"Preparing {data.source}: training a {type(data.tokenizer).__name__} tokenizer on {size / 1e6:.1f} MB")
        tokenizer = train_tokenizer(data.tokenizer, _sample(corpora, splits, size))
    tokenizer.save(folder / "tokenizer")
    say(f"Preparing {data.source}: tokenising {sum(survey.documents for survey in surveys)} documents")
    return _write(folder, data, corpora, tokenizer, splits, say)


class _Tally:
    """What is counted about one part, training or held out, while it is written."""

    def __init__(self):
        self.bytes = self.documents = self.tokens = 0
        self.parts: list[Part] = []

    def add(self, text: str, encoded: Encoded) -> None:
        self.bytes += text_bytes(text)
        self.documents += 1
        self.tokens += len(encoded.ids)

    def end_source(self, weight: float) -> None:
        self.parts.append(Part(self.documents, self.tokens, weight))
        self.documents = self.tokens = 0

    def meta(self) -> dict[str, Any]:
        return {"bytes": self.bytes, "parts": [part._asdict() for part in self.parts]}


def _write(
    folder: Path, data: TextData, corpora: list[Corpus], tokenizer: Tokenizer, splits: list[Split], say: Say
) -> dict[str, Any]:
    train, valid = _Tally(), _Tally()
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    numbers: list[int] = []
    texts: list[str] = []
    told = time.monotonic()
    with DocumentWriter(folder, tokenizer.vocab_size) as writer:
        for corpus, split in zip(corpora, splits, strict=True):
            for text, held_out, encoded in _encoded(split(corpus.texts()), tokenizer):
                if held_out:
                    valid.add(text, encoded)
                    numbers.append(writer.documents)
                    texts.append(text)
                else:
                    train.add(text, encoded)
                    np.add.at(counts, encoded.ids, 1)
                writer.append(encoded)
                if time.monotonic() - told > TELL_SECONDS:
                    told = time.monotonic()
                    say(f"Preparing {data.source}: {writer.documents} documents tokenised")
            train.end_source(corpus.weight)
            valid.end_source(corpus.weight)
        layout, digest = writer.close()
    np.save(folder / "held_out.npy", np.array(numbers, np.int64))
    np.save(folder / "unigram_counts.npy", counts)
    write_texts(folder, texts)
    made_of = [FORMAT, [[c.fingerprint, c.weight] for c in corpora], tokenizer.fingerprint, digest, numbers]
    return {
        "format": FORMAT,
        "source": str(data.source),
        "tokenizer": tokenizer.fingerprint,
        "vocab_size": tokenizer.vocab_size,
        "fingerprint": hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32],
        **layout._asdict(),
        "train": train.meta(),
        "valid": valid.meta(),
    }


def _encoded(parts: Iterator[tuple[str, bool]], tokenizer: Tokenizer) -> Iterator[tuple[str, bool, Encoded]]:
    """Documents with their sides, tokenised in batches."""
    while batch := list(islice(parts, ENCODE_TOGETHER)):
        encoded = encode_documents([text for text, _ in batch], tokenizer)
        yield from ((text, held_out, ids) for (text, held_out), ids in zip(batch, encoded, strict=True))


class _Survey(NamedTuple):
    documents: int
    bytes: int
    smallest: list[int]  # numbers of the documents with the smallest hashes, smallest first


def _survey(corpus: Corpus, most: int) -> _Survey:
    """Read a corpus once: how large it is, and which of its documents would be held out first."""
    heap: list[tuple[int, int]] = []  # the `most` smallest hashes, negated, so that the largest of them is on top
    documents = size = 0
    for text in corpus.texts():
        content = text.encode("utf-8", "replace")
        entry = (-_hash(content, b"held out"), -documents)
        if len(heap) < most:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
        documents += 1
        size += len(content)
    return _Survey(documents, size, [-number for _, number in sorted(heap, reverse=True)])


def _splits(data: TextData, corpora: list[Corpus], surveys: list[_Survey]) -> list[Split]:
    """How each corpus is divided into training and held-out documents."""
    if data.valid_split == "tail":
        for corpus in corpora:
            if corpus.pairs:
                raise DataError(f"{corpus.word} holds pairs of texts, which have no tail to hold out; use "
                                "--data.valid_split documents")  # fmt: skip
        return [partial(_tails, keep=1.0 - data.valid_fraction)] * len(corpora)
    fraction = min(data.valid_fraction, data.valid_documents / max(1, sum(s.documents for s in surveys)))
    splits = []
    for corpus, survey in zip(corpora, surveys, strict=True):
        if survey.documents < 2:
            raise DataError(f"{corpus.word} has {survey.documents} document{'' if survey.documents == 1 else 's'}, too few to "
                            "hold one out and train on another; separate documents by blank lines, add some, or use "
                            "--data.valid_split tail")  # fmt: skip
        least = 2 if survey.documents >= 8 else 1  # two make pairs of sentences from different documents
        held_out = set(survey.smallest[: max(least, round(fraction * survey.documents))])
        splits.append(partial(_documents, held_out=held_out))
    return splits


def _documents(texts: Iterator[str], held_out: set[int]) -> Iterator[tuple[str, bool]]:
    """Whole documents, those of these numbers held out."""
    return ((text, number in held_out) for number, text in enumerate(texts))


def _tails(texts: Iterator[str], keep: float) -> Iterator[tuple[str, bool]]:
    """Of each document the first int(n keep) of its n characters, and the others, held out."""
    for text in texts:
        cut = int(len(text) * keep)
        yield from ((part, held_out) for part, held_out in ((text[:cut], False), (text[cut:], True)) if part)


def _sample(corpora: list[Corpus], splits: list[Split], size: int) -> Iterator[str]:
    """Training documents for a tokenizer: all of them, or of a huge source those with the smallest hashes."""
    limit = 2**64 if size <= SAMPLE_BYTES else int(2**64 * SAMPLE_BYTES / size)
    for corpus, split in zip(corpora, splits, strict=True):
        for text, held_out in split(corpus.texts()):
            if not held_out and _hash(text.encode("utf-8", "replace"), b"tokenizer") < limit:
                yield from texts_of(text)


def _hash(content: bytes, purpose: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, key=purpose).digest(), "little")
