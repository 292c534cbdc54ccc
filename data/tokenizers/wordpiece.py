"""WordPiece as published for BERT: trained on the source, or read from a vocab.txt.

The training of the library numbers the continuing letters (##a, ##b, ...) in the order of a hash map, which differs
from run to run and breaks ties differently each time. Here they are handed over in sorted order, which makes the
vocabulary a function of the text; a test trains twice in two processes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.tokenizers.choices import WordPiece
from data.tokenizers.interface import SPECIAL_TOKENS
from data.tokenizers.library import LibraryTokenizer, read_utf8
from data.tokenizers.long_words import BERT, cut_long_words
from data.tokenizers.settings import Settings
from data.tokenizers.words import stands_alone


def wordpiece_from_vocabulary(
    pieces: Sequence[str], *, lowercase: bool, settings: Settings = Settings(), named: str = "the vocabulary"
) -> LibraryTokenizer:
    """BERT's tokenizer around a vocabulary, in the order of its ids; `settings` may refine how text is cleaned."""
    from tokenizers import AddedToken, decoders, models

    missing = [name for name in SPECIAL_TOKENS if name not in set(pieces)]
    if missing:
        raise DataError(f"{named} lacks {', '.join(missing)}; a vocab.txt of BERT has one piece a line, "
                        "these among them")  # fmt: skip
    tokenizer = _bert_basics(lowercase, settings.options)
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL_TOKENS])
    return LibraryTokenizer(tokenizer.to_str(), settings=settings)


def read_vocabulary(path: Path, *, lowercase: bool, settings: Settings = Settings()) -> LibraryTokenizer:
    """BERT's tokenizer around a published vocab.txt."""
    pieces = [line.rstrip("\r") for line in read_utf8(path).split("\n")]
    while pieces and not pieces[-1]:
        pieces.pop()
    return wordpiece_from_vocabulary(pieces, lowercase=lowercase, settings=settings, named=str(path))


def train_wordpiece(choice: WordPiece, texts: Iterable[str]) -> LibraryTokenizer:
    """Train a vocabulary as published for BERT: special tokens first, pieces by the order in which they were merged.

    Where the text supports fewer pieces than asked for, the rest are [unused0], [unused1], ... as in BERT's own files,
    so that the model's size is what the experiment says.
    """
    from tokenizers import models, trainers

    tokenizer = _bert_basics(choice.lowercase)
    alphabet: dict[str, int] = {}

    def counted() -> Iterator[str]:
        for text in texts:
            normalised = tokenizer.normalizer.normalize_str(text)
            for character in normalised:
                alphabet[character] = alphabet.get(character, 0) + 1
            yield normalised  # what is normalised again stays as it is

    kept = list(cut_long_words(counted(), BERT))
    if not alphabet:
        raise DataError("there is no text to train a vocabulary on; name a source that holds some")
    letters, inside = _letters(alphabet, choice.vocab_size // 2)
    tokenizer.model = models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100)
    trainer = trainers.WordPieceTrainer(
        vocab_size=choice.vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *(f"##{letter}" for letter in inside)],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    tokenizer.train_from_iterator(kept, trainer=trainer)
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    if len(pieces) > choice.vocab_size:
        raise DataError(f"vocab_size={choice.vocab_size} cannot hold the letters of this text, each at the start of a word "
                        f"and inside one; use --data.tokenizer.vocab_size {2 * len(pieces)} or more")  # fmt: skip
    unused = (f"[unused{number}]" for number in range(choice.vocab_size - len(pieces)))
    return wordpiece_from_vocabulary([*pieces, *unused], lowercase=choice.lowercase)


def _letters(counts: dict[str, int], most: int) -> tuple[list[str], list[str]]:
    """The commonest letters, and those of them that occur inside words, so many together; each sorted.

    A Chinese character or a punctuation mark is a word by itself, so it never follows ##.
    """
    letters: list[str] = []
    inside: list[str] = []
    for letter in sorted(counts, key=lambda letter: (-counts[letter], letter)):
        if len(letters) + len(inside) + 2 > most:
            break
        if not letter.isspace():
            letters.append(letter)
            inside += [] if stands_alone(letter) else [letter]
    return sorted(letters), sorted(inside)


def _bert_basics(lowercase: bool, options: Mapping[str, Any] = {}):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=options.get("tokenize_chinese_chars", True),
        strip_accents=options.get("strip_accents", lowercase),
        lowercase=lowercase,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
