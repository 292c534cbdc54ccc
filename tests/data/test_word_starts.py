"""Where words start: for every kind of tokenizer what BERT's own basic tokenizer calls a word."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import BertPreTokenizer

from data.tokenizers import Bytes, Characters, SentencePiece, TokenizerJSON, WordPiece, train_tokenizer
from data.tokenizers.wordpiece import wordpiece_from_vocabulary
from data.tokenizers.words import code_text

ALPHABET = "abcdeéß19 \n-.,'(日本語今天気世界。"
WORDS = [
    "ab",
    "abba",
    "deed",
    "beaded",
    "a1",
    "19",
    "dé",
    "(ab)",
    "d'accord",
    "deaf-end",
    "世界",
    "今天",
    "日本語",
    "c.",
]
TEXTS = [" ".join(WORDS[i % 14 - j] for j in range(1 + i % 9)) + f"\n{ALPHABET}" for i in range(200)]


@pytest.fixture(scope="module")
def byte_pairs(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer=trainer)
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    tokenizer.save(str(path))
    return TokenizerJSON(str(path))


CHOICES = [WordPiece(120), SentencePiece(50), SentencePiece(90, kind="bpe"), Bytes(), Characters(), "byte_pairs"]


@pytest.fixture(scope="module", params=CHOICES, ids=lambda choice: str(choice)[:40])
def tokenizer(request, byte_pairs):
    return train_tokenizer(byte_pairs if request.param == "byte_pairs" else request.param, TEXTS)


def reference_starts(text: str) -> set[int]:
    """Byte offsets, white space not counted, at which words of BERT's basic tokenizer start."""
    starts, at = set(), 0
    spaced = "".join(f" {c} " if "\u4e00" <= c <= "\u9fff" else c for c in text)
    for word, _ in BertPreTokenizer().pre_tokenize_str(spaced):
        starts.add(at)
        at += len(word.encode())
    return starts


@settings(deadline=None, max_examples=150)
@given(text=st.text(st.sampled_from(ALPHABET), max_size=30))
def test_word_starts_are_those_of_the_basic_tokenizer(tokenizer, text):
    ids = tokenizer.encode(text)
    if tokenizer.special.unk is not None and tokenizer.special.unk in ids:
        return  # an unknown token hides how long it is
    lowered = type(tokenizer).__name__ == "LibraryTokenizer" and tokenizer.special.mask is not None
    reference = reference_starts(text.lower().replace("é", "e") if lowered else text)
    flagged = tokenizer.word_starts(ids)
    at, where = 0, {}
    for index, starts in zip(ids.tolist(), flagged.tolist(), strict=True):
        surface = _surface(tokenizer, index)
        visible = len(surface.translate(None, b" \n"))
        # White space by itself is flagged, and so is its word: together they start once.
        where[at] = where.get(at, False) or (starts and bool(visible or surface == b" "))
        at += visible
    where.pop(at, None)  # what comes after the last visible byte is no word
    assert {place for place, starts in where.items() if starts} == reference & where.keys()


def _surface(tokenizer, index: int) -> bytes:
    if hasattr(tokenizer, "_surface"):
        return tokenizer._surface(index)
    return tokenizer.symbols[index - 5]


def test_golden_words_of_wordpiece():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##believ", "##able", "news", "!", "世", "界"]
    tokenizer = wordpiece_from_vocabulary(pieces, lowercase=True)
    ids = tokenizer.encode("Unbelievable news! 世界 zzz")
    assert [tokenizer.token(i) for i in ids] == ["un", "##believ", "##able", "news", "!", "世", "界", "[UNK]"]
    assert tokenizer.word_starts(ids).tolist() == [True, False, False, True, True, True, True, True]


def test_golden_words_of_gpt2(published, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    files = [str(published(f"tokenizers/gpt2_{name}")) for name in ("vocab.json", "merges.txt")]
    library = Tokenizer(models.BPE.from_file(*files))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = train_tokenizer(TokenizerJSON(str(tmp_path / "tokenizer.json")), [])
    ids = tokenizer.encode("Unbelievableness, café 世界 isn't")
    assert [tokenizer.token(i) for i in ids] == [
        "Un", "bel", "iev", "abl", "eness", ",", "ĠcafÃ©", "Ġ", "ä¸", "ĸ", "çķ", "Į", "Ġisn", "'t",  # noqa: RUF001
    ]  # fmt: skip
    starts = np.flatnonzero(tokenizer.word_starts(ids)).tolist()
    # The space before 世 stands alone, as GPT-2 cuts it; each ideograph starts a word, its second half does not.
    assert starts == [0, 5, 6, 7, 8, 10, 12, 13]


@pytest.mark.parametrize(
    ("surface", "first", "last"),
    [
        (b" a", 0, 0),
        (b"a", 2, 0),
        (b",", 1, 1),
        (b"\n", 0, 1),
        ("世".encode(), 1, 1),
        ("世".encode()[1:], 3, 2),
        (b"\xc3", 4, 4),
    ],
)
def test_codes_of_a_surface(surface, first, last):
    assert code_text(surface) == (first, last)
