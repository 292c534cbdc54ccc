"""A source made ready for training: tokenised once, split, and kept in the cache folder under a hash of its making.

    CACHE/prepared/python_docs-1f0c9a2b4d5e6f70/
        meta.json              written last; names every file with its size, or the folder is not trusted
        tokens-00000.array_record ...   lengths.npy   record_offsets.npy   sentence_ends.npy   sentence_offsets.npy
        held_out.npy           numbers of the held-out documents        held_out.jsonl.gz   their text
        unigram_counts.npy     of the training part                     tokenizer/

Held-out documents are those whose text has the smallest hashes: a choice that no order, seed or file name changes.
"""

import hashlib
import heapq
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.cache import built_whole, cache_folder
from data.config import TextData
from data.corpus import Corpus, open_corpora
from data.documents import Layout, Part, StoredDocuments
from data.errors import DataError, NotPrepared
from data.held_out import read_texts, write_texts
from data.packing import Packing, PackPlan
from data.records import DocumentWriter
from data.sentences import encode_documents
from data.tokenizers import Tokenizer, load_tokenizer, open_tokenizer, train_tokenizer

FORMAT = 1
SAMPLE_BYTES = 256 * 2**20  # of text to train a tokenizer on
ENCODE_TOGETHER = 512  # documents

Say = Callable[[str], None]


class Prepared:
    """A prepared source: its tokenizer, its training and held-out documents, and what is known about them."""

    def __init__(self, folder: Path, meta: dict[str, Any]):
        self.folder, self.meta = folder, meta
        self.fingerprint: str = meta["fingerprint"]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the documents were encoded with."""
        return load_tokenizer(self.folder / "tokenizer")

    @cached_property
    def train(self) -> StoredDocuments:
        """The training documents."""
        return self._documents("train")

    @cached_property
    def valid(self) -> StoredDocuments:
        """The held-out documents."""
        return self._documents("valid")

    @cached_property
    def unigram_counts(self) -> np.ndarray:
        """How often each id occurs in the training documents, int64[V]."""
        return np.load(self.folder / "unigram_counts.npy")

    def valid_texts(self) -> list[str]:
        """The text of the held-out documents."""
        return read_texts(self.folder)

    def describe(self, data: TextData | None = None, packing: Packing | None = None) -> dict[str, Any]:
        """What a report says about the data: documents, tokens and bytes of each part.

        With the shape of a row and the packing also `packing_density`, the share of a row's places that hold tokens:
        a loss per row means little without it.
        """
        parts = {name: self._documents(name) for name in ("train", "valid")}
        sizes = {n: {"documents": len(part), "tokens": part.tokens, "bytes": part.bytes} for n, part in parts.items()}
        kept = ("source", "tokenizer", "vocab_size", "fingerprint")
        described = {name: self.meta[name] for name in kept} | sizes
        if data is not None and packing is not None:
            plan = PackPlan(self.train, packing, row_length=data.row_length, window=data.window, seed=0)
            described["packing_density"] = round(plan.density(), 4)
        return described

    def _documents(self, part: str) -> StoredDocuments:
        stored = self.meta[part]
        layout = Layout(self.meta["documents"], self.meta["dtype"], [tuple(shard) for shard in self.meta["shards"]])
        parts = tuple(Part(**entry) for entry in stored["parts"])
        return StoredDocuments(self.folder, layout, part, self.tokenizer.special, parts, stored["bytes"])


def prepare(data: TextData, *, say: Say = print) -> Prepared:
    """Open a source from the cache, or build it there, downloads of TFDS included; what `train.prepare` runs."""
    return _open_or_build(data, open_corpora(data.source, fetch=True, say=say), say)


def open_prepared(data: TextData, *, say: Say = print) -> Prepared:
    """Open a source from the cache; small ones are built on first use, large ones raise `NotPrepared`."""
    return _open_or_build(data, open_corpora(data.source), say, ask_first=True)


def _open_or_build(data: TextData, corpora: list[Corpus], say: Say, ask_first: bool = False) -> Prepared:
    slug = re.sub(r"[^A-Za-z0-9]+", "_", str(data.source)).strip("_")[:40]
    folder = cache_folder() / "prepared" / f"{slug}-{_key(data, corpora)}"
    prepared = _trusted(folder)
    if prepared is None:
        if large := next((corpus for corpus in corpora if corpus.large and ask_first), None):
            raise NotPrepared(f"{large.word} has not been tokenised yet, which takes a while", _arguments(data))
        prepared = _build(data, corpora, folder, say)
    if prepared.train.tokens < data.row_length:
        raise DataError(f"{data.source} is too small: its {prepared.train.tokens} training tokens do not fill one row of "
                        f"{data.row_length}; use a smaller --data.row_length or more text")  # fmt: skip
    return prepared


def _build(data: TextData, corpora: list[Corpus], folder: Path, say: Say) -> Prepared:
    started = time.monotonic()
    say(f"Preparing {data.source}: reading")
    surveys = [_survey(corpus, data.valid_documents) for corpus in corpora]
    documents, size = sum(s.documents for s in surveys), sum(s.bytes for s in surveys)
    held_out = _choose_held_out(data, corpora, surveys)
    tokenizer = open_tokenizer(data.tokenizer)
    if tokenizer is None:
        say(f"Preparing {data.source}: training a {type(data.tokenizer).__name__} tokenizer on {size / 1e6:.1f} MB")
        tokenizer = train_tokenizer(data.tokenizer, _sample(corpora, held_out, size))
    say(f"Preparing {data.source}: tokenising {documents} documents")
    with built_whole(folder) as building:
        meta = _write(building, data, corpora, tokenizer, held_out, say)
        files = {str(p.relative_to(building)): p.stat().st_size for p in sorted(building.rglob("*")) if p.is_file()}
        with (building / "meta.json").open("w", encoding="utf-8") as file:
            json.dump(meta | {"files": files}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
    prepared = _trusted(folder)
    if prepared is None:
        raise DataError(f"{folder} vanished or changed while it was built; run the command again")
    train = prepared.train
    say(f"Prepared {data.source}: {len(train)} documents and {train.tokens} tokens to train on, {len(prepared.valid)} "
        f"documents held out, {time.monotonic() - started:.1f} s; kept in {folder}")  # fmt: skip
    return prepared


def _write(
    folder: Path, data: TextData, corpora: list[Corpus], tokenizer: Tokenizer, held_out: list[set[int]], say: Say
):
    """Tokenise everything into `folder`; what meta.json says about it."""
    writer = DocumentWriter(folder, tokenizer.vocab_size)
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    parts: dict[str, list[Part]] = {"train": [], "valid": []}
    sizes = {"train": 0, "valid": 0}
    numbers: list[int] = []
    texts: list[str] = []
    told = time.monotonic()
    for corpus, held in zip(corpora, held_out, strict=True):
        tally = {"train": [0, 0], "valid": [0, 0]}
        for number, text, encoded in _encoded(corpus, tokenizer):
            part = "valid" if number in held else "train"
            tally[part][0] += 1
            tally[part][1] += len(encoded.ids)
            sizes[part] += len(text.encode("utf-8", "replace"))
            if part == "valid":
                numbers.append(writer.documents)
                texts.append(text)
            else:
                np.add.at(counts, encoded.ids, 1)
            writer.append(encoded)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                say(f"Preparing {data.source}: {writer.documents} documents so far")
        for part, (documents, tokens) in tally.items():
            parts[part].append(Part(documents, tokens, corpus.weight))
    layout, digest = writer.close()
    np.save(folder / "held_out.npy", np.array(numbers, np.int64))
    np.save(folder / "unigram_counts.npy", counts)
    write_texts(folder, texts)
    tokenizer.save(folder / "tokenizer")
    made_of = [FORMAT, [[c.fingerprint, c.weight] for c in corpora], tokenizer.fingerprint, digest, numbers]
    return {
        "format": FORMAT,
        "source": str(data.source),
        "tokenizer": tokenizer.fingerprint,
        "vocab_size": tokenizer.vocab_size,
        "fingerprint": hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32],
        "documents": layout.documents,
        "dtype": layout.dtype,
        "shards": layout.shards,
    } | {part: {"bytes": sizes[part], "parts": [p._asdict() for p in parts[part]]} for part in parts}


def _encoded(corpus: Corpus, tokenizer: Tokenizer) -> Iterator[tuple]:
    """Number, text and ids of each document of a corpus, tokenised in batches."""
    batch: list[str] = []
    number = 0

    def flush() -> Iterator[tuple]:
        nonlocal number
        for text, encoded in zip(batch, encode_documents(batch, tokenizer), strict=True):
            yield number, text, encoded
            number += 1
        batch.clear()

    for text in corpus.texts():
        batch.append(text)
        if len(batch) == ENCODE_TOGETHER:
            yield from flush()
    yield from flush()


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


def _key(data: TextData, corpora: list[Corpus]) -> str:
    """A hash of everything that decides what a prepared folder holds."""
    tokenizer = {"choice": type(data.tokenizer).__name__} | asdict(data.tokenizer)
    if (opened := open_tokenizer(data.tokenizer)) is not None:
        tokenizer = {"choice": type(data.tokenizer).__name__, "fingerprint": opened.fingerprint}
    made_of = [
        FORMAT,
        [[c.fingerprint, c.weight] for c in corpora],
        tokenizer,
        data.valid_fraction,
        data.valid_documents,
    ]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def _trusted(folder: Path) -> Prepared | None:
    """The prepared folder, if it is there and each of its files is as long as it was when it was finished."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in meta["files"].items())
    except (OSError, ValueError, KeyError):
        whole = False
    if whole:
        return Prepared(folder, meta)
    if folder.exists():  # damaged after it was built: out of the way, so that it can be built again
        folder.rename(folder.with_name(f".building-{folder.name}-damaged-{os.getpid()}"))
    return None


def _arguments(data: TextData) -> tuple[str, ...]:
    import shlex

    return ("--data.source", shlex.quote(str(data.source)))
