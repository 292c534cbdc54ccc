"""The making of a prepared folder: survey the source, choose what is held out, train the tokenizer, tokenise.

The source is read three times, once for each of these, and never held in memory.
"""

import hashlib
import heapq
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.config import TextData
from data.corpus import Corpus
from data.documents import Part
from data.errors import DataError
from data.held_out import write_texts
from data.records import DocumentWriter
from data.sentences import Encoded, encode_documents
from data.tokenizers import Tokenizer, open_tokenizer, train_tokenizer

FORMAT = 1
SAMPLE_BYTES = 256 * 2**20  # of text to train a tokenizer on
ENCODE_TOGETHER = 512  # documents
TELL_SECONDS = 10

Say = Callable[[str], None]


def build(folder: Path, data: TextData, corpora: list[Corpus], say: Say) -> dict[str, Any]:
    """Fill `folder`; what its meta.json says about it."""
    say(f"Preparing {data.source}: reading")
    surveys = [_survey(corpus, data.valid_documents) for corpus in corpora]
    held_out = _choose_held_out(data, corpora, surveys)
    size = sum(survey.bytes for survey in surveys)
    tokenizer = open_tokenizer(data.tokenizer)
    if tokenizer is None:
        say(f"Preparing {data.source}: training a {type(data.tokenizer).__name__} tokenizer on {size / 1e6:.1f} MB")
        tokenizer = train_tokenizer(data.tokenizer, _sample(corpora, held_out, size))
    tokenizer.save(folder / "tokenizer")
    say(f"Preparing {data.source}: tokenising {sum(survey.documents for survey in surveys)} documents")
    return _write(folder, data, corpora, tokenizer, held_out, say)


class _Tally:
    """What is counted about one part, training or held out, while it is written."""

    def __init__(self):
        self.bytes = self.documents = self.tokens = 0
        self.parts: list[Part] = []

    def add(self, text: str, encoded: Encoded) -> None:
        self.bytes += len(text.encode("utf-8", "replace"))
        self.documents += 1
        self.tokens += len(encoded.ids)

    def end_source(self, weight: float) -> None:
        self.parts.append(Part(self.documents, self.tokens, weight))
        self.documents = self.tokens = 0

    def meta(self) -> dict[str, Any]:
        return {"bytes": self.bytes, "parts": [part._asdict() for part in self.parts]}


def _write(
    folder: Path, data: TextData, corpora: list[Corpus], tokenizer: Tokenizer, held_out: list[set[int]], say: Say
) -> dict[str, Any]:
    train, valid = _Tally(), _Tally()
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    numbers: list[int] = []
    texts: list[str] = []
    told = time.monotonic()
    with DocumentWriter(folder, tokenizer.vocab_size) as writer:
        for corpus, held in zip(corpora, held_out, strict=True):
            for number, (text, encoded) in enumerate(_encoded(corpus, tokenizer)):
                if number in held:
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


def _encoded(corpus: Corpus, tokenizer: Tokenizer) -> Iterator[tuple[str, Encoded]]:
    """The documents of a corpus, tokenised in batches."""
    batch: list[str] = []
    for text in corpus.texts():
        batch.append(text)
        if len(batch) == ENCODE_TOGETHER:
            yield from zip(batch, encode_documents(batch, tokenizer), strict=True)
            batch = []
    yield from zip(batch, encode_documents(batch, tokenizer), strict=True)


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


def _choose_held_out(data: TextData, corpora: list[Corpus], surveys: list[_Survey]) -> list[set[int]]:
    fraction = min(data.valid_fraction, data.valid_documents / max(1, sum(s.documents for s in surveys)))
    chosen = []
    for corpus, survey in zip(corpora, surveys, strict=True):
        if survey.documents < 2:
            raise DataError(f"{corpus.word} has {survey.documents} document{'' if survey.documents == 1 else 's'}, too few to "
                            "hold one out and train on another; separate documents by blank lines or add some")  # fmt: skip
        least = 2 if survey.documents >= 8 else 1  # two make pairs of sentences from different documents
        chosen.append(set(survey.smallest[: max(least, round(fraction * survey.documents))]))
    return chosen


def _sample(corpora: list[Corpus], held_out: list[set[int]], size: int) -> Iterator[str]:
    """Training documents for a tokenizer: all of them, or of a huge source those with the smallest hashes."""
    limit = 2**64 if size <= SAMPLE_BYTES else int(2**64 * SAMPLE_BYTES / size)
    for corpus, held in zip(corpora, held_out, strict=True):
        for number, text in enumerate(corpus.texts()):
            if number not in held and _hash(text.encode("utf-8", "replace"), b"tokenizer") < limit:
                yield text


def _hash(content: bytes, purpose: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, key=purpose).digest(), "little")
