"""Tokenizers behind one small interface; the one door to `sentencepiece` and `tokenizers`.

Train one with `train_tokenizer(choice, texts)`, open a saved or published one with `load_tokenizer(folder)`.
"""

from collections.abc import Iterable
from pathlib import Path

from data.cache import user_path
from data.errors import DataError
from data.tokenizers.choices import (
    ByteBPE,
    Bytes,
    Characters,
    SentencePiece,
    TokenizerChoice,
    TokenizerJSON,
    WordPiece,
    Words,
)
from data.tokenizers.interface import SPECIAL_TOKENS, SpecialIds, Tokenizer
from data.tokenizers.words import WordTable

__all__ = [
    "SPECIAL_TOKENS",
    "ByteBPE",
    "Bytes",
    "Characters",
    "SentencePiece",
    "SpecialIds",
    "Tokenizer",
    "TokenizerChoice",
    "TokenizerJSON",
    "WordPiece",
    "WordTable",
    "Words",
    "load_tokenizer",
    "open_tokenizer",
    "train_tokenizer",
]


def train_tokenizer(choice: TokenizerChoice, texts: Iterable[str]) -> Tokenizer:
    """The tokenizer of this choice: trained on `texts` where it has to be, otherwise opened."""
    from data.tokenizers import byte_pairs, plain, sentence_piece, wordpiece

    if (opened := open_tokenizer(choice)) is not None:
        return opened
    match choice:
        case WordPiece():
            return wordpiece.train_wordpiece(choice, texts)
        case SentencePiece():
            return sentence_piece.train_sentencepiece(choice, texts)
        case ByteBPE():
            return byte_pairs.train_byte_pairs(choice, texts)
        case Characters():
            return plain.CharacterTokenizer.train(texts, choice.specials)
        case Words():
            return plain.WordTokenizer.train(texts, choice.specials)
    raise TypeError(f"{choice!r} is not a choice of tokenizer")


def open_tokenizer(choice: TokenizerChoice) -> Tokenizer | None:
    """The tokenizer of a choice that needs no training, or None where it does."""
    from data.tokenizers import byte_pairs, library, plain, sentence_piece, wordpiece

    match choice:
        case Bytes():
            return plain.ByteTokenizer()
        case TokenizerJSON(path):
            return library.read_tokenizer_json(_existing(path, "tokenizer.json"))
        case WordPiece(path=str(path)):
            return wordpiece.read_vocabulary(_existing(path, "vocab.txt"), lowercase=choice.lowercase)
        case SentencePiece(path=str(path)):
            model = _existing(path, sentence_piece.FILE, sentence_piece.T5_FILE)
            return sentence_piece.read_model(model, sentinels=choice.sentinels)
        case ByteBPE(path=str(path)):
            return byte_pairs.read_byte_pairs(_existing(path, "tokenizer.json", "vocab.json"), choice.specials)
    return None


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Open what `tokenizer.save(folder)` wrote, or a published folder: see `data.tokenizers.published`."""
    from data.tokenizers import plain, published

    folder = Path(folder)
    if (folder / plain.FILE).is_file():
        return plain.PlainTokenizer.load(folder)
    if (opened := published.open_published(folder)) is not None:
        return opened
    raise DataError(f"{folder} holds no tokenizer: none of tokenizer.json, vocab.txt, vocab.json with merges.txt, "
                    f"tokenizer.model, spiece.model, {plain.FILE} is there; name a run's or a published folder")  # fmt: skip


def _existing(path: str, *usual: str) -> Path:
    """The file that a choice names, or the first of the usual names inside the folder that it names."""
    found = user_path(path, "name an existing file with --data.tokenizer.path")
    if found.is_dir():
        for name in usual:
            if (found / name).is_file():
                return found / name
        raise DataError(f"{path} is a folder without {' or '.join(usual)}; name the tokenizer's file itself")
    if not found.is_file():
        raise DataError(f"there is no tokenizer file {path}; name an existing {usual[0]} with --data.tokenizer.path")
    return found
