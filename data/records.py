"""The writing half of a prepared folder: ids into ArrayRecord shards, lengths and sentence ends into .npy arrays."""

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from data.documents import RECORD_TOKENS, Layout
from data.sentences import Encoded

SHARD_TOKENS = 2**27


class DocumentWriter:
    """Appends documents to a folder that `data.documents.StoredDocuments` reads; use it in a `with` statement.

    Ids are little-endian uint16 where the vocabulary allows. Nothing grows with the corpus but the files.
    """

    def __init__(self, folder: Path, vocab_size: int):
        self.folder = folder
        self.dtype = "<u2" if vocab_size <= 2**16 else "<u4"
        self.documents = 0
        self._digest = hashlib.sha256()
        self._shards: list[tuple[str, int]] = []
        self._shard = None
        self._in_shard = self._tokens_in_shard = 0
        self._records = self._sentences = 0
        self._lengths = _GrowingArray(folder / "lengths.npy", np.int32)
        self._sentence_ends = _GrowingArray(folder / "sentence_ends.npy", np.int32)
        self._sentence_offsets = _GrowingArray(folder / "sentence_offsets.npy", np.int64)
        self._record_offsets = _GrowingArray(folder / "record_offsets.npy", np.int64)
        self._arrays = (self._lengths, self._sentence_ends, self._sentence_offsets, self._record_offsets)

    def __enter__(self) -> "DocumentWriter":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:  # the folder is given up, and what cannot be flushed to a full disk with it
            for array in self._arrays:
                array.abandon()
            with suppress(Exception):
                self._close_shard()

    def append(self, document: Encoded) -> None:
        """Write one document."""
        self._lengths.append([len(document.ids)])
        self._sentence_offsets.append([self._sentences])
        self._record_offsets.append([self._records])
        self._sentence_ends.append(document.ends)
        self._sentences += len(document.ends)
        self.documents += 1
        ids = document.ids.astype(self.dtype)
        self._digest.update(len(ids).to_bytes(8, "little") + ids.tobytes() + document.ends.astype("<i4").tobytes())
        for start in range(0, len(ids), RECORD_TOKENS):
            self._write(ids[start : start + RECORD_TOKENS])

    def close(self) -> tuple[Layout, str]:
        """Finish all files; what the reader needs to know, and a hash of all ids and sentence ends."""
        self._close_shard()
        self._sentence_offsets.append([self._sentences])
        self._record_offsets.append([self._records])
        for array in self._arrays:
            array.close()
        return Layout(self.documents, self.dtype, self._shards), self._digest.hexdigest()

    def _write(self, ids: np.ndarray) -> None:
        from array_record.python.array_record_module import ArrayRecordWriter

        if self._shard is None:
            name = f"tokens-{len(self._shards):05d}.array_record"
            # A record alone in its group and uncompressed is read without touching its neighbours.
            self._shard = ArrayRecordWriter(str(self.folder / name), "group_size:1,uncompressed")
            self._shards.append((name, 0))
        self._shard.write(ids.tobytes())
        self._records += 1
        self._in_shard += 1
        self._tokens_in_shard += len(ids)
        self._shards[-1] = (self._shards[-1][0], self._in_shard)
        if self._tokens_in_shard >= SHARD_TOKENS:
            self._close_shard()

    def _close_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
        self._shard, self._in_shard, self._tokens_in_shard = None, 0, 0


class _GrowingArray:
    """A .npy file written from front to back: its header is written again once the length is known."""

    def __init__(self, path: Path, dtype: type):
        self._dtype = np.dtype(dtype)
        self._file = path.open("wb")
        self._count = 0
        self._header()
        self._body = self._file.tell()

    def append(self, values) -> None:
        values = np.asarray(values, self._dtype)
        self._file.write(values.tobytes())
        self._count += len(values)

    def close(self) -> None:
        self._file.seek(0)
        self._header()
        if self._file.tell() != self._body:
            raise AssertionError("numpy changed the length of a header when only the array's length changed")
        self._file.close()

    def abandon(self) -> None:
        with suppress(OSError):
            self._file.close()

    def _header(self) -> None:
        described = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._count,)}
        np.lib.format.write_array_header_1_0(self._file, described)
