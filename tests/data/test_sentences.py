"""Sentences: cutting loses nothing, and the ends are where words start."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data.sentences import LONGEST_SENTENCE, encode_documents, split_sentences
from data.tokenizers import SentencePiece, WordPiece, train_tokenizer

PIECES = [
    "It works. ",
    "e.g. This ",
    "Dr. No ",
    "Really?! ",
    "今天。明天。",
    "\n\n",
    "- item\n",
    "a.b.c ",
    "\n>>> x\n",
    "3.14 ",
]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_sentences_joined_are_the_text(text):
    assert "".join(split_sentences(text)) == text
    assert all(sentence.strip() for sentence in split_sentences(text)) or not text.strip()


def test_golden_sentences():
    text = 'He said "no." She left, cf. Smith et al. 1999. Really?\n\nlower case\n* one\n* two'
    assert [s.strip() for s in split_sentences(text)] == [
        'He said "no."', "She left, cf. Smith et al. 1999.", "Really?", "lower case", "* one", "* two",
    ]  # fmt: skip


def test_encoding_by_sentences_is_encoding_the_document(python_docs):
    texts = python_docs.valid_texts()[:100]
    for text, encoded in zip(texts, encode_documents(texts, python_docs.tokenizer), strict=True):
        assert np.array_equal(encoded.ids, python_docs.tokenizer.encode(text))
    # SentencePiece weighs ties between two segmentations of a word by what it summed up before it.
    pieces = train_tokenizer(SentencePiece(2_000), python_docs.valid_texts())
    by_sentence, whole = encode_documents(texts, pieces), pieces.encode_batch(texts)
    assert [pieces.decode(encoded.ids) for encoded in by_sentence] == [pieces.decode(ids) for ids in whole]
    assert sum(not np.array_equal(one.ids, two) for one, two in zip(by_sentence, whole, strict=True)) <= 5


def test_sentence_ends_are_where_words_start(python_docs):
    tokenizer = python_docs.tokenizer
    for encoded in encode_documents(python_docs.valid_texts(), tokenizer):
        starts = tokenizer.word_starts(encoded.ids)
        assert encoded.ends[-1] == len(encoded.ids)
        assert (np.diff(encoded.ends, prepend=0) > 0).all()
        assert starts[encoded.ends[:-1]].all()
        assert np.diff(encoded.ends, prepend=0).max() <= LONGEST_SENTENCE + 16  # a word here and there


def test_long_and_lonely_sentences_are_cut_where_words_start():
    tokenizer = train_tokenizer(WordPiece(200), ["word after word"] * 9)
    long, short, tiny = encode_documents(["word after " * 100, "one sentence of words", "word"], tokenizer)
    assert len(long.ends) == -(-len(long.ids) // LONGEST_SENTENCE)
    assert len(short.ends) == 2
    assert len(tiny.ends) in (1, 2)
