"""The interface that every tokenizer keeps."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import count, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.errors import DataError
from data.tokenizers.frames import Frame, Located
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
    sentinels: tuple[int, ...] = ()  # <extra_id_0>, <extra_id_1>, ... in this order (T5, arXiv:1910.10683)

    @property
    def ids(self) -> frozenset[int]:
        """Every id that has a role.

        >>> sorted(SpecialIds(pad=0, eos=1, sentinels=(9, 8)).ids)
        [0, 1, 8, 9]
        """
        *roles, sentinels = self
        return frozenset(index for index in roles if index is not None) | frozenset(sentinels)

    def need(self, *roles: str, purpose: str) -> tuple[int, ...]:
        """The ids of these roles, or an error that names the ones that are missing."""
        missing = [role for role in roles if getattr(self, role) is None]
        if missing:
            names = ", ".join(f"[{role.upper()}]" for role in missing)
            fits = "sentence_piece" if {"bos", "eos"} & set(missing) else "wordpiece or sentence_piece"
            raise DataError(f"the tokenizer has no {names}, which {purpose} needs; choose --data.tokenizer.name {fits}, "
                            "or add the token to the file")  # fmt: skip
        return tuple(getattr(self, role) for role in roles)


def sentinel_ids(vocabulary: Mapping[str, int]) -> tuple[int, ...]:
    """The ids of <extra_id_0>, <extra_id_1>, ... as far as a vocabulary has them.

    >>> sentinel_ids({"<extra_id_1>": 7, "<extra_id_0>": 8, "<extra_id_5>": 2})
    (8, 7)
    """
    names = takewhile(vocabulary.__contains__, (f"<extra_id_{number}>" for number in count()))
    return tuple(vocabulary[name] for name in names)


class Template(NamedTuple):
    """What is put around one text, and around two: roles of `SpecialIds` with A and B for the texts.

    A colon and a number give the token type, which is 0 without one. The default puts nothing around.
    """

    one: str = "A"
    two: str = "A B"

    def fill(self, special: SpecialIds, *texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids and token types, int32[n] each, of one text or two.

        >>> BERT.fill(SpecialIds(cls=101, sep=102), np.array([7, 8]), np.array([9]))[0].tolist()
        [101, 7, 8, 102, 9, 102]
        >>> BERT.fill(SpecialIds(cls=101, sep=102), np.array([7, 8]), np.array([9]))[1].tolist()
        [0, 0, 0, 0, 1, 1]
        """
        named = dict(zip("AB", texts, strict=False))
        ids, types = [], []
        for word in (self.one if len(texts) == 1 else self.two).split():
            name, _, kind = word.partition(":")
            ids.append(named[name] if name in named else np.array(special.need(name, purpose="its template")))
            types.append(np.full(len(ids[-1]), int(kind or 0)))
        return np.concatenate(ids).astype(np.int32), np.concatenate(types).astype(np.int32)


BERT = Template("cls A sep", "cls A sep B:1 sep:1")  # arXiv:1810.04805
ROBERTA = Template("cls A sep", "cls A sep sep B sep")  # arXiv:1907.11692, one token type


class Tokenizer(ABC):
    """Text to ids and back.

    `encode` adds no special tokens unless asked to, and text never produces one: text that spells "[MASK]" is text.
    """

    special: SpecialIds
    template: Template = Template()  # the special tokens that the published tokenizer of this kind adds
    prose: bool = True  # texts have sentences; False: they are symbols, and have none
    pieces: list[str]  # what each id is called, V of them
    lag: int = 0  # how many tokens at the end of a text may yet be spelt otherwise, when others follow

    @property
    def vocab_size(self) -> int:
        """V, all ids counted: special, unused and ordinary ones."""
        return len(self.pieces)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what each id is and of how text is normalised: equal if and only if ids mean the same."""
        *roles, sentinels = self.special
        lines = [type(self).__name__, self.normalisation, repr((*roles, *sentinels)), *self.pieces]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    @abstractmethod
    def normalisation(self) -> str:
        """Everything besides the pieces that decides how text becomes ids, as one line."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text, int32[n], without special tokens."""

    @abstractmethod
    def locate_batch(self, texts: Sequence[str]) -> list[Located]:
        """The ids that `encode_batch` gives, each with the characters of the text that it stands for."""

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

    def encode(self, text: str, special_tokens: bool = False) -> np.ndarray:
        """Ids of one text, int32[n]; with `special_tokens` also those that the published tokenizer puts around it."""
        ids = self.encode_batch([text])[0]
        return self.template.fill(self.special, ids)[0] if special_tokens else ids

    def encode_marked(self, text: str, special_tokens: bool = False) -> np.ndarray:
        """As `encode`, but special tokens that the text spells are what it means: for prompts, "The [MASK] sat"."""
        names = sorted({self.pieces[index] for index in self.special.ids}, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, names))})", text) if names else [text]
        marks = {self.pieces[index]: index for index in self.special.ids}
        encoded = self.encode_batch([parts[0], *map(self._after_special, parts[2::2])])
        ids = [encoded[0]]
        for mark, piece in zip(parts[1::2], encoded[1:], strict=True):
            ids += [np.array([marks[mark]]), piece]
        joined = np.concatenate(ids).astype(np.int32)
        return self.template.fill(self.special, joined)[0] if special_tokens else joined

    def encode_pair(self, first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids and token types, int32[n] each, of two texts with the special tokens that belong around them."""
        return self.template.fill(self.special, *self.encode_batch([first, second]))

    def encode_with_offsets(self, text: str) -> Located:
        """Ids of one text, int32[n], and where in it each begins and stops, in characters of the text as it was given."""
        return self.locate_batch([text])[0]

    def frame(self, texts: int) -> Frame:
        """What belongs around one text or two, apart from the texts."""
        words = (self.template.one if texts == 1 else self.template.two).split()
        ids: list[list[int]] = [[]]
        kinds: list[list[int]] = [[]]
        types = []
        for word in words:
            name, _, kind = word.partition(":")
            if name in "AB":
                types.append(int(kind or 0))
                ids.append([])
                kinds.append([])
            else:
                ids[-1] += self.special.need(name, purpose="its template")
                kinds[-1].append(int(kind or 0))
        return Frame(
            tuple(np.array(x, np.int32) for x in ids), tuple(np.array(x, np.int32) for x in kinds), tuple(types)
        )

    def continuing(self, text: str) -> str:
        """A text that goes on after others, as it is to be encoded by itself."""
        return self._after_special(text)

    def _after_special(self, text: str) -> str:
        """The text that follows a special token, as it is to be encoded by itself."""
        return text

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
