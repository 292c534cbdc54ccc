"""A source made ready for training: tokenised once, split, and kept in the cache folder under a hash of its making.

    CACHE/prepared/python_docs-1f0c9a2b4d5e6f70/
        meta.json              written last; names every file with its size and checksums, or the folder is not trusted
        tokens-00000.array_record ...   lengths.npy   record_offsets.npy   sentence_ends.npy   sentence_offsets.npy
        held_out.npy           numbers of the held-out documents        held_out.jsonl.gz   their text
        unigram_counts.npy     of the training part                     tokenizer/

Held-out documents are those whose text has the smallest hashes: a choice that no order, seed or file name changes. Of a
source that is split by tails each document is stored as two, its beginning and its held-out end.
"""

import hashlib
import json
import os
import re
import shlex
import time
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data.building import FORMAT, Say, build
from data.cache import Identity, built_whole, cache_folder, identity
from data.checksums import checksums, damaged, note_verified
from data.config import TextData
from data.corpus import Corpus, open_corpora
from data.documents import Layout, Part, StoredDocuments
from data.errors import DataError, NotPrepared
from data.foreign import read_json
from data.held_out import read_texts
from data.packing import PackPlan
from data.segments import Packing
from data.tokenizers import Tokenizer, load_tokenizer, open_tokenizer


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
    try:
        corpora = open_corpora(data.source)
    except NotPrepared as error:  # one source of a mixture, perhaps: the command is to prepare all of it
        raise NotPrepared(error.message, _arguments(data)) from error
    return _open_or_build(data, corpora, say, ask_first=True)


def _open_or_build(data: TextData, corpora: list[Corpus], say: Say, ask_first: bool = False) -> Prepared:
    slug = re.sub(r"[^A-Za-z0-9]+", "_", str(data.source)).strip("_")[:40]
    folder = cache_folder() / "prepared" / f"{slug}-{_key(data, corpora)}"
    judged = identity(folder)
    prepared, fault = _judge(folder)
    if prepared is None:
        if large := next((corpus for corpus in corpora if corpus.large and ask_first), None):
            when = (
                f"must be tokenised again, since {folder} is not used: {fault}"
                if fault
                else "has not been tokenised yet"
            )
            raise NotPrepared(f"{large.word} {when}, which takes a while", _arguments(data))
        if fault:
            say(f"{folder} is not used, as {fault}; it is made again, and then removed")
        prepared = _build(data, corpora, folder, say, judged)
    if prepared.train.tokens < data.row_length:
        raise DataError(f"{data.source} is too small: its {prepared.train.tokens} training tokens do not fill one row of "
                        f"{data.row_length}; use a smaller --data.row_length or more text")  # fmt: skip
    return prepared


def _build(data: TextData, corpora: list[Corpus], folder: Path, say: Say, instead_of: Identity | None) -> Prepared:
    started = time.monotonic()
    with built_whole(folder, instead_of) as building:
        meta = build(building, data, corpora, say)
        for before, after in zip(corpora, open_corpora(data.source), strict=True):
            if before.fingerprint != after.fingerprint:
                raise DataError(
                    f"{before.word} changed while it was read; run the command again once it stays as it is"
                )
        files = {str(p.relative_to(building)): p.stat().st_size for p in sorted(building.rglob("*")) if p.is_file()}
        meta |= {"files": files, "checksums": checksums(building)}
        note_verified(building, files)
        with (building / "meta.json").open("w", encoding="utf-8") as file:
            json.dump(meta | {"meta_checksum": _meta_checksum(meta)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
    prepared, _ = _judge(folder)
    if prepared is None:
        raise DataError(f"{folder} vanished or changed while it was built; run the command again")
    train = prepared.train
    say(f"Prepared {data.source}: {len(train)} documents and {train.tokens} tokens to train on, {len(prepared.valid)} "
        f"documents held out, {time.monotonic() - started:.1f} s; kept in {folder}")  # fmt: skip
    return prepared


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
        data.valid_documents if data.valid_split == "documents" else data.valid_split,
    ]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def _judge(folder: Path) -> tuple[Prepared | None, str]:
    """The prepared folder, if it is there and its files are what they were when it was finished; else why it is not used, empty
    where there is none."""
    if identity(folder) is None:
        return None, ""
    try:
        meta = read_json(folder / "meta.json", DataError)
        stored = meta.pop("meta_checksum", None)
        if stored is None:
            reason = "it was made by an earlier version, without checksums"
        elif stored != _meta_checksum(meta):
            reason = "meta.json is not as it was written"
        else:
            name = damaged(folder, meta["files"], meta["checksums"])
            reason = name and f"{name} is not as it was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it cannot be read: {error}"
    return (None, reason) if reason else (Prepared(folder, meta), "")


def _meta_checksum(meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _arguments(data: TextData) -> tuple[str, ...]:
    return ("--data.source", shlex.quote(str(data.source)))
