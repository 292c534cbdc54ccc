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

    Trained on the source, or read from `path`, a published .model file. `sentinels` of the `vocab_size` ids are kept for
    T5's <extra_id_0>, <extra_id_1>, ... (arXiv:1910.10683), which stand last, in falling order; T5 has 100. A published
    file without them gets so many more.
    """

    vocab_size: int = 8_192
    kind: Literal["unigram", "bpe"] = "unigram"
    sentinels: int = 0
    path: str | None = None

    def __post_init__(self):
        _check_size(self.vocab_size)
        if not 0 <= self.sentinels <= self.vocab_size - 16:
            raise DataError(f"sentinels={self.sentinels} is out of range; use 0 to {self.vocab_size - 16}, such as 100")


@dataclass(frozen=True)
class ByteBPE:
    """Byte pairs over the bytes of UTF-8, as published for GPT-2 (Radford et al. 2019): nothing is unknown.

    Trained on the source, or read from `path`: a folder with vocab.json and merges.txt, that vocab.json, or a
    tokenizer.json. `specials` are those of GPT-2, <|endoftext|> alone, which opens and closes a text and stands last; or
    of RoBERTa (arXiv:1907.11692), <s> <pad> </s> <unk> first and <mask> last. A tokenizer.json has its own.
    """

    vocab_size: int = 8_192
    specials: Literal["gpt2", "roberta"] = "gpt2"
    path: str | None = None

    def __post_init__(self):
        _check_size(self.vocab_size)
        if self.path is None and self.vocab_size < 270:
            raise DataError(f"vocab_size={self.vocab_size} cannot hold the 256 bytes and the special tokens; "
                            "use 270 or more, such as 8192")  # fmt: skip


@dataclass(frozen=True)
class TokenizerJSON:
    """Any `tokenizer.json` of the `tokenizers` library, used as it is, but without the padding or truncation in it."""

    path: str = "tokenizer.json"


@dataclass(frozen=True)
class Bytes:
    """One token a byte of UTF-8, and five special tokens: nothing to train, nothing unknown."""


@dataclass(frozen=True)
class Characters:
    """One token a character of the source; characters that it lacks are unknown.

    Without `specials` there are no ids but those of characters, as in nanoGPT's character models.
    """

    specials: bool = True


@dataclass(frozen=True)
class Words:
    """One token a word of the source, words being what white space separates; for tasks whose symbols are words.

    Without `specials` there are no ids but those of words.
    """

    specials: bool = True


TokenizerChoice: TypeAlias = WordPiece | SentencePiece | ByteBPE | TokenizerJSON | Bytes | Characters | Words


def _check_size(vocab_size: int):
    if not 16 <= vocab_size <= 1_000_000:
        raise DataError(f"vocab_size={vocab_size} is out of range; use 16 to 1000000, such as 8192")
