"""Tokenizers without a library: bytes and characters."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.tokenizers.interface import SPECIAL_TOKENS, SpecialIds, Tokenizer
from data.tokenizers.words import ALONE, CLOSED, WordTable, code_text

_SPECIAL = len(SPECIAL_TOKENS)


class PlainTokenizer(Tokenizer):
    """Five special tokens, then one id a symbol."""

    special = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)
    kind: str
    symbols: list[bytes]  # the text of each ordinary id

    @property
    def normalisation(self) -> str:
        return "none"

    @cached_property
    def words(self) -> WordTable:
        codes = [(ALONE, CLOSED)] * _SPECIAL + [code_text(symbol) for symbol in self.symbols]
        return WordTable.of(codes, [b""] * _SPECIAL + self.symbols)

    @cached_property
    def byte_counts(self) -> np.ndarray:
        return np.array([0] * _SPECIAL + [len(symbol) for symbol in self.symbols], np.int32)

    def save(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        content = {
            "kind": self.kind,
            "characters": "".join(self.pieces[_SPECIAL:]) if self.kind == "characters" else None,
        }
        (Path(folder) / "plain.json").write_text(json.dumps(content) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: str | Path) -> "PlainTokenizer":
        content = json.loads((Path(folder) / "plain.json").read_text(encoding="utf-8"))
        return ByteTokenizer() if content["kind"] == "bytes" else CharacterTokenizer(content["characters"])


class ByteTokenizer(PlainTokenizer):
    """Id 5 + b is the byte b of UTF-8.

    >>> ByteTokenizer().encode("Aé").tolist()
    [70, 200, 174]
    """

    kind = "bytes"

    def __init__(self):
        self.symbols = [bytes([value]) for value in range(256)]
        self.pieces = [*SPECIAL_TOKENS, *(f"<0x{value:02X}>" for value in range(256))]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int32) + _SPECIAL for text in texts]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        parts = (self.symbols[i - _SPECIAL] if i >= _SPECIAL else self.pieces[i].encode() for i in map(int, ids))
        return b"".join(parts).decode("utf-8", "replace")


class CharacterTokenizer(PlainTokenizer):
    """One id a character, in the order of code points; what is not among `characters` becomes [UNK].

    >>> CharacterTokenizer("abc").encode("cab!").tolist()
    [7, 5, 6, 1]
    """

    kind = "characters"

    def __init__(self, characters: str):
        self.symbols = [character.encode("utf-8", "replace") for character in characters]
        self.pieces = [*SPECIAL_TOKENS, *characters]
        codes = np.array([ord(character) for character in characters], np.int64)
        self._ids = np.full(int(codes.max(initial=0)) + 2, self.special.unk, np.int32)
        self._ids[codes] = np.arange(_SPECIAL, _SPECIAL + len(characters))

    @staticmethod
    def train(texts: Iterable[str]) -> "CharacterTokenizer":
        seen: Counter[str] = Counter()
        for text in texts:
            seen.update(text)
        if not seen:
            raise DataError("there is no text to take characters from; name a source that holds some")
        return CharacterTokenizer("".join(sorted(seen)))

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        codes = (np.frombuffer(text.encode("utf-32-le", "replace"), "<u4") for text in texts)
        return [self._ids[np.minimum(code, len(self._ids) - 1)] for code in codes]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return "".join(self.pieces[int(i)] for i in ids)
