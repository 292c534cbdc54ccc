"""Long words are cut where a vocabulary is trained, and nowhere else."""

import random
import re
import string

import pytest

from data.errors import DataError
from data.tokenizers import ByteBPE, SentencePiece, WordPiece, byte_pairs, train_tokenizer, wordpiece
from data.tokenizers.long_words import BERT, GPT2, LONGEST, cut_long_words

RANDOM = random.Random(2)
LONG = {
    "letters": "".join(random.Random(0).choices(string.ascii_lowercase, k=60_000)),
    "blanks": " " * 60_000,
    "marks": "-=" * 30_000,
    "no spaces": "".join(chr(random.Random(1).randint(0x4E00, 0x4FFF)) for _ in range(60_000)),
    "between words": "a word " * 99 + "x" * 60_000 + " and more words\n" * 99,
}


@pytest.mark.parametrize("name", LONG)
def test_long_words_are_cut_for_training_and_encoded_whole(name):
    text = LONG[name]
    pieces = list(cut_long_words([text], GPT2))
    assert "".join(pieces) == text
    assert max(len(run) for piece in pieces for run in re.findall(r"\w+|[^\w\s]+|\s+", piece)) <= LONGEST
    tokenizer = train_tokenizer(ByteBPE(400), [text])
    assert tokenizer.decode(tokenizer.encode_batch([text])[0]) == text
    assert train_tokenizer(ByteBPE(400), [text]).fingerprint == tokenizer.fingerprint


def test_texts_without_long_words_are_not_touched():
    words = "x" * (LONGEST - 1) + " " + "7" * (LONGEST - 1) + "!" * (LONGEST - 1) + " é世\u0301 "
    texts = ["", " ", "a", words * 3, "A sentence of words. " * 500]
    assert list(cut_long_words(texts, GPT2)) == list(cut_long_words(texts, BERT)) == texts


# Runs of these are one word: letters and digits, vowel signs, symbols, what BERT's normaliser takes out of them.
MIXED = {
    "hexadecimal": "0123456789abcdef",
    "Hindi": "नमसतेहि",
    "numbers": "12½²③",
    "emoji": "a😀😡",
    "soft hyphens": "abc\u00ad\u200b\0\x0c",
}


@pytest.mark.parametrize("name", MIXED)
def test_no_tokenizer_is_trained_on_a_longer_word_than_the_longest(name, monkeypatch):
    """Words by the library's own rules, in what its trainers are handed."""
    from tokenizers import normalizers, pre_tokenizers

    text = "".join(RANDOM.choices(MIXED[name], k=3 * LONGEST))
    same, bert = normalizers.Sequence([]), normalizers.BertNormalizer()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for module, choice, cleaned, words in (
        (byte_pairs, ByteBPE(400), same, byte_level),
        (wordpiece, WordPiece(400), bert, pre_tokenizers.BertPreTokenizer()),
    ):
        pieces = []
        monkeypatch.setattr(
            module, "cut_long_words", lambda *given, kept=pieces: kept.extend(cut_long_words(*given)) or kept
        )
        train_tokenizer(choice, [text])
        assert "".join(pieces) == cleaned.normalize_str(text)
        spans = [span for piece in pieces for _, span in words.pre_tokenize_str(cleaned.normalize_str(piece))]
        assert max(end - start for start, end in spans) <= LONGEST


def test_white_space_alone_is_no_text_to_train_on():
    for choice in (SentencePiece(400), SentencePiece(400, kind="bpe")):
        with pytest.raises(DataError, match="there is no text to train a vocabulary on"):
            train_tokenizer(choice, [" \n", "\t"])
