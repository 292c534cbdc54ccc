"""Tokenizers behind one small interface; the one door to `sentencepiece` and `tokenizers`.

Train one with `train_tokenizer(choice, texts)`, open a saved or published one with `load_tokenizer(folder)`.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from data.errors import DataError
from data.tokenizers.choices import Bytes, Characters, SentencePiece, TokenizerChoice, TokenizerJSON, WordPiece
from data.tokenizers.interface import SPECIAL_TOKENS, SpecialIds, Tokenizer
from data.tokenizers.words import WordTable

__all__ = [
    "SPECIAL_TOKENS",
    "Bytes",
    "Characters",
    "SentencePiece",
    "SpecialIds",
    "Tokenizer",
    "TokenizerChoice",
    "TokenizerJSON",
    "WordPiece",
    "WordTable",
    "load_tokenizer",
    "open_tokenizer",
    "train_tokenizer",
]


def train_tokenizer(choice: TokenizerChoice, texts: Iterable[str]) -> Tokenizer:
    """The tokenizer of this choice: trained on `texts` where it has to be, otherwise opened."""
    from data.tokenizers import library, plain, sentence_piece

    if (opened := open_tokenizer(choice)) is not None:
        return opened
    match choice:
        case WordPiece():
            return library.train_wordpiece(choice, texts)
        case SentencePiece():
            return sentence_piece.train_sentencepiece(choice, texts)
        case Characters():
            return plain.CharacterTokenizer.train(texts)
    raise TypeError(f"{choice!r} is not a choice of tokenizer")


def open_tokenizer(choice: TokenizerChoice) -> Tokenizer | None:
    """The tokenizer of a choice that needs no training, or None where it does."""
    from data.tokenizers import library, plain, sentence_piece

    match choice:
        case Bytes():
            return plain.ByteTokenizer()
        case TokenizerJSON(path):
            return library.read_tokenizer_json(_existing(path, "tokenizer.json"))
        case WordPiece(path=str(path)):
            return library.read_vocabulary(_existing(path, "vocab.txt"), lowercase=choice.lowercase)
        case SentencePiece(path=str(path)):
            return sentence_piece.SentencePieceTokenizer.load(_existing(path, "tokenizer.model"))
    return None


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Open what `tokenizer.save(folder)` wrote; published folders with one of these files open too."""
    from data.tokenizers import library, plain, sentence_piece

    folder = Path(folder)
    if (folder / "tokenizer.json").is_file():
        return library.read_tokenizer_json(folder / "tokenizer.json")
    for name in (sentence_piece.FILE, "spiece.model", "sentencepiece.bpe.model"):
        if (folder / name).is_file():
            return sentence_piece.SentencePieceTokenizer.load(folder / name)
    if (folder / "plain.json").is_file():
        return plain.PlainTokenizer.load(folder)
    raise DataError(f"{folder} holds no tokenizer: none of tokenizer.json, {sentence_piece.FILE}, plain.json is there; "
                    "name the tokenizer folder of a run")  # fmt: skip


def _existing(path: str, example: str) -> Path:
    """The file, or the file of the usual name inside the folder, that a choice names."""
    found = Path(os.path.expanduser(path))
    if found.is_dir() and (found / example).is_file():
        return found / example
    if found.is_dir():
        raise DataError(f"{path} is a folder without {example}; name the tokenizer's file itself")
    if not found.is_file():
        raise DataError(f"there is no tokenizer file {path}; name an existing {example} with --data.tokenizer.path")
    return found
