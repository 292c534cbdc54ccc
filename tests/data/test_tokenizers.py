"""Tokenizers: there and back, the same vocabulary every time, special ids that text cannot produce."""

import json
import pickle
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.corpus.synthetic import read
from data.errors import DataError
from data.sources import Synthetic
from data.tokenizers import (
    Bytes,
    Characters,
    SentencePiece,
    TokenizerJSON,
    WordPiece,
    load_tokenizer,
    train_tokenizer,
)

TEXTS = [*read(Synthetic(120)), "世界 hello-World, 今天天气很好。", "naïve café (x + 1) don't"]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TRAINED = [
    WordPiece(600),
    WordPiece(600, lowercase=False),
    SentencePiece(700),
    SentencePiece(700, kind="bpe"),
    Bytes(),
    Characters(),
]


@pytest.fixture(scope="module")
def byte_pairs(tmp_path_factory):
    """A byte-level BPE as GPT-2's, trained here with the library, with padding and truncation stored in its file."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer=trainer)
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(8)
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    tokenizer.save(str(path))
    return TokenizerJSON(str(path))


@pytest.fixture(scope="module", params=[*TRAINED, "byte_pairs"], ids=lambda choice: str(choice)[:40])
def tokenizer(request, byte_pairs):
    return train_tokenizer(byte_pairs if request.param == "byte_pairs" else request.param, iter(TEXTS))


def plain(text: str) -> str:
    """What is left of a text when case, accents and white space are taken away."""
    letters = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in letters if not c.isspace() and not unicodedata.combining(c))


def test_decoding_gives_the_text_back(tokenizer):
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int32
        assert 0 <= ids.min() <= ids.max() < tokenizer.vocab_size
        if tokenizer.special.unk is None or tokenizer.special.unk not in ids:
            assert plain(tokenizer.decode(ids)) == plain(text)


def test_a_batch_is_its_texts_one_by_one(tokenizer):
    for ids, text in zip(tokenizer.encode_batch(TEXTS), TEXTS, strict=True):
        assert np.array_equal(ids, tokenizer.encode(text))
    assert len(tokenizer.encode("")) == 0


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    for other in (load_tokenizer(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert other.fingerprint == tokenizer.fingerprint
        assert other.special == tokenizer.special
        assert np.array_equal(other.encode(TEXTS[-2]), tokenizer.encode(TEXTS[-2]))


def test_text_cannot_produce_special_ids(tokenizer):
    special = {index for index in tokenizer.special if index is not None} - {tokenizer.special.unk}
    for name in (*SPECIAL, "<mask>", "<|endoftext|>", "</s>", "<s>", "<pad>"):
        assert not special & set(tokenizer.encode(f"a {name} b{name}").tolist())


def test_ordinary_ids_are_those_that_stand_for_text(tokenizer):
    special = {index for index in tokenizer.special if index is not None}
    assert not special & set(tokenizer.ordinary.tolist())
    seen = set(np.concatenate(tokenizer.encode_batch(TEXTS)).tolist()) - special
    assert seen <= set(tokenizer.ordinary.tolist())


def test_bytes_of_ids_add_up_to_the_text(tokenizer):
    text = TEXTS[0]
    counted = tokenizer.token_bytes(tokenizer.encode(text)).sum()
    spaces = text.count(" ")
    assert counted in {len(text) - spaces, len(text), len(text) + 1}  # SentencePiece opens with a space of its own
    if type(tokenizer).__name__ in ("ByteTokenizer", "CharacterTokenizer"):
        assert all(tokenizer.token_bytes(tokenizer.encode(t)).sum() == len(t.encode()) for t in TEXTS)


def test_wordpiece_is_as_bert_published_it(tmp_path):
    tokenizer = train_tokenizer(WordPiece(600), TEXTS)
    assert tokenizer.pieces[:5] == list(SPECIAL)
    assert tokenizer.vocab_size == 600  # what the text does not fill is [unused0], [unused1], ...
    assert tokenizer.decode(tokenizer.encode("CAFÉ")) == "cafe"
    assert [tokenizer.token(i) for i in tokenizer.encode("世界")] == ["世", "界"]
    tokenizer.save(tmp_path)
    assert (tmp_path / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1] == tokenizer.pieces
    again = train_tokenizer(WordPiece(path=str(tmp_path / "vocab.txt")), [])
    assert again.fingerprint == tokenizer.fingerprint


TRAIN_AGAIN = """
from data.corpus.synthetic import read
from data.sources import Synthetic
from data.tokenizers import *
for choice in (WordPiece(600), SentencePiece(400), SentencePiece(400, kind="bpe")):
    print(train_tokenizer(choice, read(Synthetic(120))).fingerprint)
"""


def test_training_gives_the_same_vocabulary_in_every_process():
    runs = [
        subprocess.run(
            [sys.executable, "-c", TRAIN_AGAIN], capture_output=True, text=True, check=True, cwd=str(_root())
        ).stdout
        for _ in range(3)
    ]
    assert len(runs[0].split()) == 3
    assert runs[0] == runs[1] == runs[2]


def _root():
    from pathlib import Path

    return Path(__file__).parents[2]


@pytest.mark.parametrize("choice", [Bytes(), Characters()], ids=str)
@settings(deadline=None, max_examples=50)
@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
def test_bytes_and_characters_are_exact(choice, text):
    tokenizer = train_tokenizer(choice, [text + "a"])
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_published_vocabularies_give_published_ids(published):
    tokenizer = train_tokenizer(WordPiece(path=str(published("tokenizers/bert_uncased_vocab.txt"))), [])
    assert tokenizer.special[:5] == (0, 100, 101, 102, 103)
    assert tokenizer.encode("Hello, world! Unbelievably naïve.").tolist() == [
        7592, 1010, 2088, 999, 4895, 8671, 2666, 3567, 6321, 15743, 1012,
    ]  # fmt: skip
    chinese = train_tokenizer(WordPiece(path=str(published("tokenizers/bert_chinese_vocab.txt"))), [])
    assert [chinese.token(i) for i in chinese.encode("今天天气 OK")] == ["今", "天", "天", "气", "ok"]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (SentencePiece(30_000), "use --data.tokenizer.vocab_size"),
        (SentencePiece(30_000, kind="bpe"), "use --data.tokenizer.vocab_size"),
        (SentencePiece(16), "is too small for this text"),
        (WordPiece(path="/no/such/vocab.txt"), "there is no tokenizer file /no/such/vocab.txt"),
        (TokenizerJSON("/no/such/tokenizer.json"), "there is no tokenizer file"),
    ],
    ids=str,
)
def test_a_choice_that_cannot_be_is_told_in_one_line(choice, told):
    with pytest.raises(DataError, match=told) as caught:
        train_tokenizer(choice, TEXTS)
    assert "\n" not in str(caught.value)


def test_the_remedy_for_a_vocabulary_too_large_works():
    with pytest.raises(DataError, match=r"use --data.tokenizer.vocab_size (\d+)") as caught:
        train_tokenizer(SentencePiece(30_000), TEXTS)
    limit = int(str(caught.value).split("vocab_size ")[1].split(",")[0])
    assert train_tokenizer(SentencePiece(limit), TEXTS).vocab_size == limit


def test_files_that_are_no_tokenizers(tmp_path):
    (tmp_path / "vocab.txt").write_text("just\nwords\n")
    (tmp_path / "bad.json").write_text(json.dumps({"not": "a tokenizer"}))
    (tmp_path / "latin.json").write_bytes(b"caf\xe9")
    for choice, told in [
        (WordPiece(path=str(tmp_path / "vocab.txt")), r"the vocabulary lacks \[PAD\]"),
        (TokenizerJSON(str(tmp_path / "bad.json")), "not a tokenizer.json"),
        (TokenizerJSON(str(tmp_path / "latin.json")), "not UTF-8 at byte 3"),
        (SentencePiece(path=str(tmp_path / "vocab.txt")), "not a sentencepiece model"),
        (TokenizerJSON(str(tmp_path)), "a folder without tokenizer.json"),
    ]:
        with pytest.raises(DataError, match=told):
            train_tokenizer(choice, [])
    with pytest.raises(DataError, match="holds no tokenizer"):
        load_tokenizer(tmp_path / "nowhere")


def test_chinese_characters_take_one_place_each():
    text = "今天天气很好。明天天气不好，世界很大！"  # noqa: RUF001
    tokenizer = train_tokenizer(WordPiece(60), [text, "abc cab"])
    assert not [piece for piece in tokenizer.pieces if piece.startswith("##") and ord(piece[2]) > 127]
    assert tokenizer.special.unk not in tokenizer.encode(text)
    assert len(tokenizer.encode(text)) == len(text)
    assert tokenizer.word_starts(tokenizer.encode(text)).all()
