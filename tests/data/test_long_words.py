"""Long words are cut where a vocabulary is trained, and nowhere else."""

import random
import re
import string

import pytest

from data.tokenizers import ByteBPE, train_tokenizer
from data.tokenizers.long_words import LONGEST, cut_long_words

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
    pieces = list(cut_long_words([text]))
    assert "".join(pieces) == text
    assert max(len(run) for piece in pieces for run in re.findall(r"\w+|[^\w\s]+|\s+", piece)) <= LONGEST
    tokenizer = train_tokenizer(ByteBPE(400), [text])
    assert tokenizer.decode(tokenizer.encode_batch([text])[0]) == text
    assert train_tokenizer(ByteBPE(400), [text]).fingerprint == tokenizer.fingerprint


def test_texts_without_long_words_are_not_touched():
    words = "x" * (LONGEST - 1) + " " + "7" * (LONGEST - 1) + "!" * (LONGEST - 1) + " é世\u0301 "
    texts = ["", " ", "a", words * 3, "A sentence of words. " * 500]
    assert list(cut_long_words(texts)) == texts
