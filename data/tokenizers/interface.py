"""The interface that every tokenizer keeps."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.errors import DataError
from data.tokenizers.words import WordTable

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # in the order of BERT's published vocabularies


class SpecialIds(NamedTuple):
    """Ids with a role of their own; None where the vocabulary has no token for the role."""

    pad: int | None = None
    unk: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    bos: int | None = None
    eos: int | None = None

    def need(self, *roles: str, purpose: str) -> tuple[int, ...]:
        """The ids of these roles, or an error that names the ones that are missing."""
        missing = [role for role in roles if getattr(self, role) is None]
        if missing:
            names = ", ".join(f"[{role.upper()}]" for role in missing)
            raise DataError(f"the tokenizer has no {names}, which {purpose} needs; choose --data.tokenizer.name wordpiece "
                            "or sentence_piece, or add the token to the file")  # fmt: skip
        return tuple(getattr(self, role) for role in roles)


class Tokenizer(ABC):
    """Text to ids and back.

    `encode` adds no special tokens and never produces one: text that spells "[MASK]" is text.
    """

    special: SpecialIds
    pieces: list[str]  # what each id is called, V of them

    @property
    def vocab_size(self) -> int:
        """V, all ids counted: special, unused and ordinary ones."""
        return len(self.pieces)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what each id is and of how text is normalised: equal if and only if ids mean the same."""
        lines = [type(self).__name__, self.normalisation, repr(tuple(self.special)), *self.pieces]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    @abstractmethod
    def normalisation(self) -> str:
        """Everything besides the pieces that decides how text becomes ids, as one line."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text, int32[n], without special tokens."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of ids; special tokens are spelt out."""

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the files that `load_tokenizer(folder)` opens, on any machine."""

    @cached_property
    @abstractmethod
    def words(self) -> WordTable:
        """The table that tells where words start."""

    @cached_property
    @abstractmethod
    def byte_counts(self) -> np.ndarray:
        """Bytes of text that each id stands for, int32[V]; 0 for special tokens and for the unknown token."""

    @cached_property
    def ordinary(self) -> np.ndarray:
        """Ids that stand for text, int32[m]: what a random replacement is drawn from."""
        return np.flatnonzero(self.byte_counts > 0).astype(np.int32)

    def encode(self, text: str) -> np.ndarray:
        """Ids of one text, int32[n], without special tokens."""
        return self.encode_batch([text])[0]

    def token(self, index: int) -> str:
        """What this id is called, marks such as ## and the low line of SentencePiece included."""
        return self.pieces[int(index)]

    def word_starts(self, ids: np.ndarray) -> np.ndarray:
        """True where a word starts, bool[n]; see `data.tokenizers.words` for what a word is."""
        return self.words.starts(np.asarray(ids))

    def token_bytes(self, ids: np.ndarray) -> np.ndarray:
        """Bytes of text that each of these ids stands for, int32[n], as far as the vocabulary can tell.

        Exact for bytes, characters and byte-level BPE. WordPiece drops white space, and SentencePiece normalises it:
        for nats per byte divide by the bytes of the text itself, which `Prepared.describe()` counts.
        """
        return self.byte_counts[np.asarray(ids)]
