"""Tokenised documents with random access, in memory or in the cache folder."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.sentences import Encoded
from data.tokenizers import SpecialIds

RECORD_TOKENS = 4_096  # a long document is stored in records of so many, so that a row of it does not read it whole
CACHE_BYTES = 64 * 2**20  # of records kept by one process


class Part(NamedTuple):
    """A run of documents from one source of a mixture, and its share of the tokens of an epoch."""

    documents: int
    tokens: int
    weight: float


class Piece(NamedTuple):
    """Some tokens of a document: ids[start:stop]."""

    document: int
    start: int
    stop: int


class Documents(ABC):
    """Documents 0 to len - 1 as ids. Planning asks for lengths and sentence ends, filling rows for pieces."""

    special: SpecialIds
    parts: tuple[Part, ...]
    tokens: int
    bytes: int  # of the text itself, UTF-8

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def lengths(self, documents: np.ndarray) -> np.ndarray:
        """Tokens of each of these documents. documents int64[n], result int32[n]."""

    @abstractmethod
    def sentence_ends(self, document: int) -> np.ndarray:
        """Where its sentences end, int32[m]; the last is the document's length."""

    @abstractmethod
    def read(self, pieces: Sequence[Piece]) -> list[np.ndarray]:
        """The ids of each piece, int32[stop - start]; reads all of them together. No piece is empty."""

    def ids(self, document: int) -> np.ndarray:
        """All ids of one document, int32[n]."""
        length = int(self.lengths(np.array([document]))[0])
        return self.read([Piece(document, 0, length)])[0] if length else np.zeros(0, np.int32)


class MemoryDocuments(Documents):
    """Documents held in memory: a held-out split, or a text of one's own."""

    def __init__(self, encoded: Sequence[Encoded], special: SpecialIds, *, size: int = 0):
        self._encoded = list(encoded)
        self.special = special
        self.tokens = sum(len(document.ids) for document in self._encoded)
        self.bytes = size
        self.parts = (Part(len(self._encoded), self.tokens, 1.0),)

    def __len__(self) -> int:
        return len(self._encoded)

    def lengths(self, documents: np.ndarray) -> np.ndarray:
        return np.array([len(self._encoded[i].ids) for i in documents], np.int32)

    def sentence_ends(self, document: int) -> np.ndarray:
        return self._encoded[document].ends

    def read(self, pieces: Sequence[Piece]) -> list[np.ndarray]:
        return [self._encoded[piece.document].ids[piece.start : piece.stop] for piece in pieces]


class Layout(NamedTuple):
    """What `StoredDocuments` needs to know about a prepared folder; part of its meta.json."""

    documents: int
    dtype: str
    shards: list[tuple[str, int]]  # file name, records


class StoredDocuments(Documents):
    """One part, training or held out, of a folder that `data.prepared` wrote.

    Pickles as a path, so that a loader worker opens its own files. Reads go through a small cache of records.
    """

    def __init__(
        self, folder: Path, layout: Layout, part: str, special: SpecialIds, parts: tuple[Part, ...], size: int
    ):
        self.folder, self.layout, self.part = Path(folder), layout, part
        self.special, self.parts = special, parts
        self.tokens, self.bytes = sum(part.tokens for part in parts), size
        self._count = sum(part.documents for part in parts)
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._cached = 0

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        kept = ("folder", "layout", "part", "special", "parts", "tokens", "bytes", "_count")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]):
        vars(self).update(state, _cache=OrderedDict(), _cached=0)

    def lengths(self, documents: np.ndarray) -> np.ndarray:
        return np.asarray(self._lengths[self._places(documents)])

    def sentence_ends(self, document: int) -> np.ndarray:
        place = int(self._places(np.array([document]))[0])
        begin, end = self._sentence_offsets[place : place + 2]
        return np.asarray(self._sentence_ends[begin:end])

    def read(self, pieces: Sequence[Piece]) -> list[np.ndarray]:
        places = self._places(np.array([piece.document for piece in pieces], np.int64))
        bases = self._record_offsets[places].tolist()
        spans = [  # the first record of each piece, and the last
            (base + piece.start // RECORD_TOKENS, base + (piece.stop - 1) // RECORD_TOKENS)
            for base, piece in zip(bases, pieces, strict=True)
        ]
        records = self._records({record for first, last in spans for record in range(first, last + 1)})
        result = []
        for (first, last), piece in zip(spans, pieces, strict=True):
            start = piece.start % RECORD_TOKENS
            whole = records[first] if first == last else np.concatenate([records[r] for r in range(first, last + 1)])
            result.append(whole[start : start + piece.stop - piece.start])
        return result

    def _places(self, documents: np.ndarray) -> np.ndarray:
        """Numbers in the folder, where training and held-out documents lie in the order of the source."""
        if self.part == "valid":
            return self._held_out[documents]
        return documents + np.searchsorted(self._held_out_shifted, documents, side="right")

    def _records(self, wanted: set[int]) -> dict[int, np.ndarray]:
        found = {}
        missing = []
        for record in wanted:
            if record in self._cache:
                self._cache.move_to_end(record)
                found[record] = self._cache[record]
            else:
                missing.append(record)
        missing.sort()
        for shard, reader in enumerate(self._readers):
            low, high = self._shard_starts[shard : shard + 2]
            if here := [record for record in missing if low <= record < high]:
                for record, content in zip(here, reader.read([r - low for r in here]), strict=True):
                    ids = np.frombuffer(content, self.layout.dtype).astype(np.int32)
                    found[record] = self._cache[record] = ids
                    self._cached += ids.nbytes
        while self._cached > CACHE_BYTES:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= dropped.nbytes
        return found

    @cached_property
    def _readers(self) -> list:
        from array_record.python.array_record_module import ArrayRecordReader

        return [ArrayRecordReader(str(self.folder / name), "readahead_buffer_size:0") for name, _ in self.layout.shards]

    @cached_property
    def _shard_starts(self) -> list[int]:
        return np.cumsum([0, *(records for _, records in self.layout.shards)]).tolist()

    @cached_property
    def _held_out(self) -> np.ndarray:
        return np.load(self.folder / "held_out.npy")

    @cached_property
    def _held_out_shifted(self) -> np.ndarray:
        return self._held_out - np.arange(len(self._held_out))

    @cached_property
    def _lengths(self) -> np.ndarray:
        return np.load(self.folder / "lengths.npy", mmap_mode="r")

    @cached_property
    def _record_offsets(self) -> np.ndarray:
        return np.load(self.folder / "record_offsets.npy", mmap_mode="r")

    @cached_property
    def _sentence_offsets(self) -> np.ndarray:
        return np.load(self.folder / "sentence_offsets.npy", mmap_mode="r")

    @cached_property
    def _sentence_ends(self) -> np.ndarray:
        return np.load(self.folder / "sentence_ends.npy", mmap_mode="r")
