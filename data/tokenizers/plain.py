"""Tokenizers without a library: bytes, characters, and words between white space."""

import json
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.foreign import read_json
from data.tokenizers.frames import Located, located
from data.tokenizers.interface import BERT, SPECIAL_TOKENS, SpecialIds, Template, Tokenizer
from data.tokenizers.words import ALONE, BEGINS, CLOSED, OPEN, WordTable, code_text

FILE = "plain.json"


class PlainTokenizer(Tokenizer):
    """Five special tokens, or none of them, then one id a symbol.

    With special tokens [CLS] and [SEP] go around a text as in BERT; without them nothing does, and what the vocabulary
    lacks is an error, for there is no unknown token.
    """

    kind: str

    def __init__(self, names: Sequence[str], symbols: Sequence[bytes], specials: bool = True):
        self.symbols = list(symbols)  # the text of each ordinary id
        self.special = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4) if specials else SpecialIds()
        self.template = BERT if specials else Template()
        self.first = len(SPECIAL_TOKENS) if specials else 0  # the id of the first symbol
        self.pieces = [*SPECIAL_TOKENS[: self.first], *names]

    @property
    def normalisation(self) -> str:
        return "none"

    @cached_property
    def words(self) -> WordTable:
        codes = [(ALONE, CLOSED)] * self.first + [self._codes(symbol) for symbol in self.symbols]
        return WordTable.of(codes, [b""] * self.first + self.symbols)

    @cached_property
    def byte_counts(self) -> np.ndarray:
        return np.array([0] * self.first + [len(symbol) for symbol in self.symbols], np.int32)

    def save(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        content = {"kind": self.kind, **self._content()}
        if self.kind != "bytes":
            content["specials"] = bool(self.first)
        (Path(folder) / FILE).write_text(json.dumps(content) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: str | Path) -> "PlainTokenizer":
        path = Path(folder) / FILE
        try:
            content = read_json(path, DataError, remedy="copy it again from its run")
            kind, specials = content["kind"], content.get("specials", True)
            known = {
                "bytes": ByteTokenizer,
                "characters": lambda: CharacterTokenizer(content["characters"], specials),
                "words": lambda: WordTokenizer(content["words"], specials),
            }
            return known[kind]()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is damaged ({type(error).__name__}: {error}); copy it again from its run"
            ) from error

    def locate_batch(self, texts: Sequence[str]) -> list[Located]:
        encoded = self.encode_batch(texts)
        return [located(text, ids, *self._places(text)) for text, ids in zip(texts, encoded, strict=True)]

    def _codes(self, symbol: bytes) -> tuple[int, int]:
        return code_text(symbol)

    @abstractmethod
    def _places(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Where each symbol of a text begins and stops."""

    @abstractmethod
    def _content(self) -> dict[str, object]:
        """What its file says besides the kind."""

    def _unknown(self, what: str, name: str) -> DataError:
        return DataError(f"the vocabulary has no {what} {name!r} and no unknown token to put in its place; use the same "
                         "tokenizer with --data.tokenizer.specials True")  # fmt: skip


class ByteTokenizer(PlainTokenizer):
    """Id 5 + b is the byte b of UTF-8.

    >>> ByteTokenizer().encode("Aé").tolist()
    [70, 200, 174]
    """

    kind = "bytes"

    def __init__(self):
        super().__init__([f"<0x{value:02X}>" for value in range(256)], [bytes([value]) for value in range(256)])

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [
            np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int32) + self.first for text in texts
        ]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        parts = (self.symbols[i - self.first] if i >= self.first else self.pieces[i].encode() for i in map(int, ids))
        return b"".join(parts).decode("utf-8", "replace")

    def _places(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        sizes = [len(character.encode("utf-8", "replace")) for character in text]
        starts = np.repeat(np.arange(len(text)), sizes)
        return starts, starts + 1

    def _content(self) -> dict[str, object]:
        return {"characters": None}


class CharacterTokenizer(PlainTokenizer):
    """One id a character, in the order of code points; what is not among `characters` becomes [UNK].

    >>> CharacterTokenizer("abc").encode("cab!").tolist()
    [7, 5, 6, 1]
    >>> CharacterTokenizer("abc", specials=False).encode("cab").tolist()
    [2, 0, 1]
    """

    kind = "characters"

    def __init__(self, characters: str, specials: bool = True):
        super().__init__(list(characters), [c.encode("utf-8", "replace") for c in characters], specials)
        codes = np.array([ord(character) for character in characters], np.int64)
        self._ids = np.full(int(codes.max(initial=0)) + 2, self.special.unk if specials else -1, np.int32)
        self._ids[codes] = np.arange(self.first, self.first + len(characters))

    @staticmethod
    def train(texts: Iterable[str], specials: bool = True) -> "CharacterTokenizer":
        """Every character of the texts."""
        seen: Counter[str] = Counter()
        for text in texts:
            seen.update(text)
        if not seen:
            raise DataError("there is no text to take characters from; name a source that holds some")
        return CharacterTokenizer("".join(sorted(seen)), specials)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        codes = (np.frombuffer(text.encode("utf-32-le", "replace"), "<u4") for text in texts)
        encoded = [self._ids[np.minimum(code, len(self._ids) - 1)] for code in codes]
        if not self.first:
            for ids, text in zip(encoded, texts, strict=True):
                if (ids < 0).any():
                    raise self._unknown("character", text[int(np.argmax(ids < 0))])
        return encoded

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return "".join(self.pieces[int(i)] for i in ids)

    def _places(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(len(text)), np.arange(1, len(text) + 1)

    def _content(self) -> dict[str, object]:
        return {"characters": "".join(self.pieces[self.first :])}


class WordTokenizer(PlainTokenizer):
    """One id a word, words being what white space separates; a word that is not there becomes [UNK].

    Shorter words have the smaller ids, and words of one length the order of their code points, so numbers count up.
    Decoding puts one space between words.

    >>> tokenizer = WordTokenizer.train(["10 / 5 = 2"])
    >>> tokenizer.pieces[5:], tokenizer.decode(tokenizer.encode("2 =  10"))
    (['/', '2', '5', '=', '10'], '2 = 10')
    """

    kind = "words"
    prose = False

    def __init__(self, words: Sequence[str], specials: bool = True):
        super().__init__(words, [word.encode("utf-8", "replace") for word in words], specials)
        self._ids = {word: self.first + number for number, word in enumerate(words)}

    @staticmethod
    def train(texts: Iterable[str], specials: bool = True) -> "WordTokenizer":
        """Every word of the texts."""
        seen: set[str] = set()
        for text in texts:
            seen.update(text.split())
        if not seen:
            raise DataError("there is no text to take words from; name a source that holds some")
        return WordTokenizer(sorted(seen, key=lambda word: (len(word), word)), specials)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        if self.first:
            find, unknown = self._ids.get, self.special.unk
            return [np.array([find(word, unknown) for word in text.split()], np.int32) for text in texts]
        try:
            return [np.array([self._ids[word] for word in text.split()], np.int32) for text in texts]
        except KeyError as error:
            raise self._unknown("word", error.args[0]) from None

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return " ".join(self.pieces[int(i)] for i in ids)

    def _places(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        places = np.array([found.span() for found in re.finditer(r"\S+", text)], np.int32).reshape(-1, 2)
        return places[:, 0], places[:, 1]

    def _codes(self, symbol: bytes) -> tuple[int, int]:
        return BEGINS, OPEN

    def _content(self) -> dict[str, object]:
        return {"words": self.pieces[self.first :]}
