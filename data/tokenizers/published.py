"""Folders as they are published: which file holds the vocabulary, and what stands around it.

tokenizer.json            any tokenizer of the `tokenizers` library; asked first, for it says everything itself
vocab.txt                 WordPiece, cleaned as do_lower_case, strip_accents and tokenize_chinese_chars say
vocab.json + merges.txt   byte-level BPE of GPT-2, or of RoBERTa where the vocabulary has <s> and <mask>
spiece.model, sentencepiece.bpe.model, tokenizer.model    T5, XLM-R, Llama 2: see `data.tokenizers.sentence_piece`
"""

from pathlib import Path

from data.errors import DataError
from data.tokenizers import byte_pairs, library, sentence_piece, wordpiece
from data.tokenizers.interface import Tokenizer
from data.tokenizers.settings import Settings

BYTE_PAIRS = ("GPT2", "Roberta", "PreTrained", "TokenizersBackend")  # what vocab.json and merges.txt alone describe


def open_published(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder that was published or saved, None where it has none of these files."""
    settings = Settings.read(folder)
    if (path := folder / "tokenizer.json").is_file():
        return library.read_tokenizer_json(path, settings)
    if (path := folder / "vocab.txt").is_file():
        lowercase = settings.options.get("do_lower_case", True)  # as published for BERT where nothing is said
        return wordpiece.read_vocabulary(path, lowercase=lowercase, settings=settings)
    if (path := folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _byte_pairs(path, settings)
    for name in (sentence_piece.T5_FILE, sentence_piece.XLM_R_FILE, sentence_piece.FILE):
        if (path := folder / name).is_file():
            return sentence_piece.SentencePieceTokenizer(
                sentence_piece.model_bytes(path), name, settings, named=str(path)
            )
    return None


def _byte_pairs(path: Path, settings: Settings) -> Tokenizer:
    if settings.kind and not settings.kind.startswith(BYTE_PAIRS):
        raise DataError(f"{settings.kind} cuts text into words in a way that {path} does not say; open a folder with its "
                        "tokenizer.json, which transformers writes with save_pretrained")  # fmt: skip
    vocabulary, merges = byte_pairs.read_vocabulary_and_merges(path)
    for index, piece in sorted(settings.added.items()):
        vocabulary.setdefault(piece, index)
    specials = "roberta" if {*byte_pairs.FRONT["roberta"], *byte_pairs.BACK["roberta"]} <= set(vocabulary) else "gpt2"
    return byte_pairs.byte_pairs(vocabulary, merges, specials, settings=settings, named=str(path))
