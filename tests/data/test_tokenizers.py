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
    ByteBPE,
    Bytes,
    Characters,
    SentencePiece,
    TokenizerJSON,
    WordPiece,
    Words,
    load_tokenizer,
    train_tokenizer,
)
from data.tokenizers.interface import Template

TEXTS = [*read(Synthetic(120)), "世界 hello-World, 今天天气很好。", "naïve café (x + 1) don't"]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TRAINED = [
    WordPiece(600),
    WordPiece(600, lowercase=False),
    SentencePiece(700),
    SentencePiece(700, kind="bpe"),
    SentencePiece(700, sentinels=20),
    ByteBPE(600),
    ByteBPE(600, "roberta"),
    Bytes(),
    Characters(),
    Characters(specials=False),
    Words(),
    Words(specials=False),
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
    special = tokenizer.special.ids - {tokenizer.special.unk}
    if not special:
        return  # nothing but text, in which what is unknown is an error
    for name in (*SPECIAL, "<mask>", "<|endoftext|>", "</s>", "<s>", "<pad>", "<extra_id_0>", "[unused0]"):
        assert not special & set(tokenizer.encode(f"a {name} b{name}").tolist())


def test_ordinary_ids_are_those_that_stand_for_text(tokenizer):
    special = tokenizer.special.ids
    assert not special & set(tokenizer.ordinary.tolist())
    seen = set(np.concatenate(tokenizer.encode_batch(TEXTS)).tolist()) - special
    assert seen <= set(tokenizer.ordinary.tolist())


def test_bytes_of_ids_add_up_to_the_text(tokenizer):
    text = TEXTS[0]
    counted = tokenizer.token_bytes(tokenizer.encode(text)).sum()
    spaces = text.count(" ")
    assert counted in {len(text) - spaces, len(text), len(text) + 1}  # SentencePiece opens with a space of its own
    if type(tokenizer).__name__ in ("ByteTokenizer", "CharacterTokenizer") or tokenizer.special.eos == 599:
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
for choice in (WordPiece(600), SentencePiece(400), SentencePiece(400, kind="bpe"), ByteBPE(600), Words()):
    print(train_tokenizer(choice, read(Synthetic(120))).fingerprint)
"""


def test_training_gives_the_same_vocabulary_in_every_process():
    runs = [
        subprocess.run(
            [sys.executable, "-c", TRAIN_AGAIN], capture_output=True, text=True, check=True, cwd=str(_root())
        ).stdout
        for _ in range(3)
    ]
    assert len(runs[0].split()) == 5
    assert runs[0] == runs[1] == runs[2]


def _root():
    from pathlib import Path

    return Path(__file__).parents[2]


@pytest.mark.parametrize("choice", [Bytes(), Characters(), Characters(specials=False), ByteBPE(300)], ids=str)
@settings(deadline=None, max_examples=50)
@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
def test_bytes_and_characters_and_byte_pairs_are_exact(choice, text):
    tokenizer = train_tokenizer(choice, [text + "a"])
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_go_around_one_text_and_two(tokenizer):
    """[CLS] A [SEP] B [SEP] with BERT's token types, or what the family of the tokenizer has; the texts stay."""
    special, (one, two) = tokenizer.special, tokenizer.encode_batch(TEXTS[:2])
    single, (both, types) = tokenizer.encode(TEXTS[0], special_tokens=True), tokenizer.encode_pair(*TEXTS[:2])
    assert single.dtype == both.dtype == types.dtype == np.int32
    if special.sentinels:
        expected, pair, second = [*one, special.eos], [*one, special.eos, *two, special.eos], len(both)
    elif special.cls is None:
        expected, pair, second = [*one], [*one, *two], len(both)
    elif special.bos is not None and special.bos == special.cls:  # RoBERTa has one token type
        pair = [special.cls, *one, special.sep, special.sep, *two, special.sep]
        expected, second = [special.cls, *one, special.sep], len(both)
    else:
        expected, second = [special.cls, *one, special.sep], len(one) + 2
        pair = [*expected, *two, special.sep]
    assert (single.tolist(), both.tolist()) == (expected, pair)
    if special.cls is not None:
        assert types.tolist() == [0] * second + [1] * (len(both) - second)


def test_a_template_with_a_role_that_is_missing_is_told():
    with pytest.raises(DataError, match=r"no \[EOS\], which its template needs"):
        Template("A eos").fill(train_tokenizer(Bytes(), []).special, np.arange(3))


def test_sentinels_stand_last_in_falling_order():
    tokenizer = train_tokenizer(SentencePiece(700, sentinels=20), TEXTS)
    assert tokenizer.vocab_size == 700
    assert tokenizer.special.sentinels == tuple(range(699, 679, -1))
    assert [tokenizer.token(i) for i in (699, 680)] == ["<extra_id_0>", "<extra_id_19>"]
    assert not set(tokenizer.special.sentinels) & set(tokenizer.ordinary.tolist())
    ids = [*tokenizer.encode("kou"), 699, *tokenizer.encode("nou")]
    assert tokenizer.decode(ids) == "kou <extra_id_0> nou"
    assert tokenizer.word_starts(np.array(ids))[-len(tokenizer.encode("nou")) - 1]


@pytest.mark.parametrize("specials", ["gpt2", "roberta"])
def test_byte_pairs_have_the_order_of_the_published_files(specials):
    tokenizer = train_tokenizer(ByteBPE(600, specials), TEXTS)
    front = [] if specials == "gpt2" else ["<s>", "<pad>", "</s>", "<unk>"]
    assert tokenizer.pieces[: len(front) + 3] == [*front, "!", '"', "#"]
    assert tokenizer.pieces[599] == ("<|endoftext|>" if specials == "gpt2" else "<mask>")
    assert tokenizer.vocab_size == 600
    small = train_tokenizer(ByteBPE(600, specials), ["aaab"])  # supports two merges: the rest is kept free
    assert small.vocab_size == 600 and "[unused0]" in small.pieces
    assert len(small.ordinary) < 262


def test_words_are_what_white_space_separates():
    tokenizer = train_tokenizer(Words(), ["12 / 4 = 3", "1 / 1 = 1"])
    assert tokenizer.pieces == [*SPECIAL, "/", "1", "3", "4", "=", "12"]
    assert tokenizer.encode(" 4\n/ 99").tolist() == [8, 5, 1]
    assert tokenizer.word_starts(np.array([5, 6, 7])).all()
    assert tokenizer.decode([6, 9]) == "1 ="


def test_without_special_tokens_there_are_none_and_the_unknown_is_told(tmp_path):
    for choice, told in ((Characters(specials=False), "character '!'"), (Words(specials=False), "word 'hey!'")):
        tokenizer = train_tokenizer(choice, ["hey you"])
        assert not tokenizer.special.ids
        assert tokenizer.encode("you hey").min() == 0 if choice == Words(specials=False) else tokenizer.vocab_size == 6
        with pytest.raises(DataError, match=f"no {told} and no unknown token"):
            tokenizer.encode("hey!")
    (tmp_path / "plain.json").write_text('{"kind": "words"}')
    with pytest.raises(DataError, match="is damaged"):
        load_tokenizer(tmp_path)


def test_published_byte_pairs_give_published_ids(published):
    tokenizer = train_tokenizer(ByteBPE(path=str(published("tokenizers/gpt2_vocab.json"))), [])
    published("tokenizers/gpt2_merges.txt")
    assert tokenizer.vocab_size == 50_257
    assert tokenizer.special.bos == tokenizer.special.eos == 50_256
    assert tokenizer.encode("Hello world! It's 2019, naïve café\n\n  世界", special_tokens=True).tolist() == [
        15496, 995, 0, 632, 338, 13130, 11, 41492, 40304, 628, 220, 220, 10310, 244, 45911, 234,
    ]  # fmt: skip


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
        (SentencePiece(120, sentinels=100), "is too small for this text"),
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
        (WordPiece(path=str(tmp_path / "vocab.txt")), r"vocab.txt lacks \[PAD\]"),
        (TokenizerJSON(str(tmp_path / "bad.json")), "not a tokenizer.json"),
        (TokenizerJSON(str(tmp_path / "latin.json")), "not UTF-8 at byte 3"),
        (SentencePiece(path=str(tmp_path / "vocab.txt")), "not a sentencepiece model"),
        (TokenizerJSON(str(tmp_path)), "a folder without tokenizer.json"),
        (ByteBPE(path=str(tmp_path)), "a folder without tokenizer.json or vocab.json"),
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
