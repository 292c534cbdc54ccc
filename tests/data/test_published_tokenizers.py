"""Published folders of every family give the ids that the published implementation gives.

Folders and ids were made once with transformers, by published/make.py beside this file.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from data.tokenizers import load_tokenizer

FOLDERS = Path(__file__).parent / "published"
GOLDEN = json.loads((FOLDERS / "golden.json").read_text(encoding="utf-8"))
TEXTS = GOLDEN.pop("texts")


@pytest.mark.parametrize("name", GOLDEN)
def test_ids_are_the_published_ones(name):
    tokenizer, golden = load_tokenizer(FOLDERS / name), GOLDEN[name]
    assert tokenizer.vocab_size == golden["size"]
    assert {role: getattr(tokenizer.special, role) for role in golden["roles"]} == golden["roles"]
    for text, expected in zip(TEXTS, golden["ids"], strict=True):
        assert tokenizer.encode(text, special_tokens=True).tolist() == expected, text
    pairs = list(zip(TEXTS[1:], TEXTS, strict=False))
    for number, ((first, second), expected) in enumerate(zip(pairs, golden["pairs"], strict=True)):
        ids, types = tokenizer.encode_pair(first, second)
        assert ids.tolist() == expected, (first, second)
        assert golden["types"] is None or types.tolist() == golden["types"][number]


@pytest.mark.parametrize("name", GOLDEN)
def test_what_was_saved_is_the_same_in_ids_and_in_meaning(name, tmp_path):
    tokenizer = load_tokenizer(FOLDERS / name)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert (again.fingerprint, again.special) == (tokenizer.fingerprint, tokenizer.special)
    for text in TEXTS:
        assert np.array_equal(again.encode(text, special_tokens=True), tokenizer.encode(text, special_tokens=True))


@pytest.mark.parametrize("name", GOLDEN)
def test_text_cannot_produce_special_ids_here_either(name):
    tokenizer = load_tokenizer(FOLDERS / name)
    special = tokenizer.special.ids - {tokenizer.special.unk}
    for index in special:
        text = f"a {tokenizer.token(index)} b{tokenizer.token(index)}"
        assert not special & set(tokenizer.encode(text).tolist()), text
        assert not special & set(tokenizer.encode_pair(text, text)[0][1:-1].tolist()) - {
            tokenizer.special.sep,
            tokenizer.special.eos,
            tokenizer.special.bos,
        }
    assert not special & set(tokenizer.ordinary.tolist())


def test_marked_text_means_its_special_tokens():
    for name, text, expected in (
        ("bert", "the [MASK] fox", "the [MASK] fox"),
        ("xlm_r", "fox <mask> dog", "fox <mask> dog"),
        ("roberta", "fox <mask> dog", "fox<mask> dog"),
        ("t5", "fox <extra_id_0> dog</s>", "fox <extra_id_0> dog </s>"),
        ("t5_json", "fox <extra_id_0> dog</s>", "fox<extra_id_0> dog</s>"),
        ("gpt2", "fox<|endoftext|>dog", "fox<|endoftext|>dog"),
    ):
        tokenizer = load_tokenizer(FOLDERS / name)
        ids = tokenizer.encode_marked(text)
        assert len(set(ids.tolist()) & (tokenizer.special.ids - {tokenizer.special.unk})) == len(
            re.findall(r"\[MASK\]|<[^ ]+?>", text)
        )
        assert tokenizer.decode(ids) == expected
        assert np.array_equal(tokenizer.encode_marked("fox"), tokenizer.encode("fox"))
        around = tokenizer.encode_marked("fox", special_tokens=True)
        assert np.array_equal(around, tokenizer.encode("fox", special_tokens=True))


def test_sentinels_of_t5_are_the_published_ids():
    for name in ("t5", "t5_json"):
        special = load_tokenizer(FOLDERS / name).special
        assert special.sentinels == tuple(range(264, 164, -1))
        assert special[:7] == (0, 2, None, None, None, None, 1)


def test_roles_are_those_that_the_folder_names(tmp_path):
    folder = tmp_path / "gpt2"
    shutil.copytree(FOLDERS / "gpt2", folder)
    tokens = {"bos_token": None, "eos_token": "<|endoftext|>", "pad_token": {"content": "!", "lstrip": False}}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
    special = load_tokenizer(folder).special
    assert (special.bos, special.eos, special.pad) == (None, 299, 0)
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<|endoftext|>"}))
    assert load_tokenizer(folder).special.pad == 299  # tokenizer_config.json comes first


def test_added_tokens_stand_behind_the_model(tmp_path):
    folder = tmp_path / "llama"
    shutil.copytree(FOLDERS / "llama", folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    added = {"0": {"content": "<unk>"}, "1": {"content": "<s>"}, "401": {"content": "<pad>"}}
    config |= {"pad_token": "<pad>", "add_eos_token": True, "added_tokens_decoder": added}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.vocab_size == 402
    assert tokenizer.special.pad == 401
    assert tokenizer.encode("fox", special_tokens=True)[[0, -1]].tolist() == [1, 2]
    assert not {400, 401} & set(tokenizer.ordinary.tolist())
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize(
    ("name", "file", "content", "told"),
    [
        ("t5", "spiece.model", b"no model", "not a sentencepiece model"),
        ("t5", "spiece.model", None, "holds no tokenizer: none of tokenizer.json, vocab.txt"),
        ("t5_json", "tokenizer.json", b'{"version": "1.0"', "is not a tokenizer.json"),
        ("t5_json", "tokenizer_config.json", b"{", "tokenizer_config.json is not JSON"),
        ("t5_json", "tokenizer_config.json", b"[]", "is not a JSON object"),
        ("bert", "vocab.txt", b"the\nfox\n", r"vocab.txt lacks \[PAD\]"),
        ("bert", "vocab.txt", b"caf\xe9\n", "not UTF-8 at byte 3"),
        ("gpt2", "vocab.json", b'{"a": 0', "vocab.json is not JSON"),
        ("gpt2", "vocab.json", b'{"a": "b"}', "one object from each piece to its number"),
        ("gpt2", "vocab.json", b'{"a": 0, "<|endoftext|>": 1}', "do not belong together"),
        ("gpt2", "merges.txt", b"#version: 0.2\na b c\n", "line 2 is not two pieces"),
        ("gpt2", "merges.txt", None, "holds no tokenizer"),
        (
            "gpt2",
            "tokenizer_config.json",
            b'{"tokenizer_class": "Qwen2Tokenizer"}',
            "open a folder with its tokenizer.json",
        ),
        ("gpt2", "tokenizer_config.json", b'{"eos_token": 7}', "names a special token that is no text: 7"),
        ("gpt2", "added_tokens.json", b'{"<x>": "y"}', "lists added tokens without a number"),
        ("xlm_r", "tokenizer_config.json", b'{"tokenizer_class": "CamembertTokenizer"}', "in a way of its own"),
    ],
)
def test_a_damaged_folder_is_told_in_one_line(tmp_path, name, file, content, told):
    folder = tmp_path / name
    shutil.copytree(FOLDERS / name, folder)
    (folder / file).unlink(missing_ok=True) if content is None else (folder / file).write_bytes(content)
    with pytest.raises(DataError, match=told) as caught:
        load_tokenizer(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
