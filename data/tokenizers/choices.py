"""Which tokenizer to train or to open: one frozen choice each."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from data.errors import DataError


@dataclass(frozen=True)
class WordPiece:
    """BERT's tokenizer: trained on the source, or read from `path`, a published vocab.txt (arXiv:1810.04805)."""

    vocab_size: int = 8_192
    lowercase: bool = True  # lower-cases and strips accents, as the uncased models do
    path: str | None = None

    def __post_init__(self):
        _check_size(self.vocab_size)


@dataclass(frozen=True)
class SentencePiece:
    """Sub-words over raw text: unigram language model (arXiv:1804.10959) or byte pairs (arXiv:1508.07909).

    Trained on the source, or read from `path`, a published .model file.
    """

    vocab_size: int = 8_192
    kind: Literal["unigram", "bpe"] = "unigram"
    path: str | None = None

    def __post_init__(self):
        _check_size(self.vocab_size)


@dataclass(frozen=True)
class TokenizerJSON:
    """Any `tokenizer.json` of the `tokenizers` library, used as it is, but without the padding or truncation in it."""

    path: str = "tokenizer.json"


@dataclass(frozen=True)
class Bytes:
    """One token a byte of UTF-8, and five special tokens: nothing to train, nothing unknown."""


@dataclass(frozen=True)
class Characters:
    """One token a character of the source; characters that it lacks are unknown."""


TokenizerChoice: TypeAlias = WordPiece | SentencePiece | TokenizerJSON | Bytes | Characters


def _check_size(vocab_size: int):
    if not 16 <= vocab_size <= 1_000_000:
        raise DataError(f"vocab_size={vocab_size} is out of range; use 16 to 1000000, such as 8192")
