"""Vocabularies that are damaged, or made to harm: one line with the file, in bounded time and memory."""

import json
import random
import resource
import shutil
from pathlib import Path

import pytest

from data.errors import DataError
from data.tokenizers import load_tokenizer

FOLDERS = Path(__file__).parent / "published"


@pytest.fixture
def copy(tmp_path):
    """copy(name) -> a published folder that may be spoilt."""
    return lambda name: Path(shutil.copytree(FOLDERS / name, tmp_path / name))


def refused(folder: Path) -> str:
    """What is said of a folder: one line that names it."""
    with pytest.raises(DataError) as caught:
        load_tokenizer(folder).encode("a \u0378 word", special_tokens=True)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value) and len(str(caught.value)) < 1_500
    return str(caught.value)


def change(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def template(*pieces: dict, **special) -> dict:
    return {"type": "TemplateProcessing", "single": list(pieces), "pair": list(pieces), "special_tokens": special}


TEXT, MARK = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}}
WORDPIECE = {
    "type": "WordPiece",
    "unk_token": "[UNK]",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 9,
}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model": WORDPIECE | {"vocab": {"a": 0, "b": 1}}}, r"needs the token \[UNK\], which the vocabulary lacks"),
        (
            {"model": {"type": "WordLevel", "unk_token": "?", "vocab": {"a": 2**31}}},
            "a token of id 2,147,483,648",
        ),
        ({"model": {"type": "WordLevel", "unk_token": "?", "vocab": {"a": 10**40}}}, "a token of id 10,000,000"),
        ({"model": {"type": "WordLevel", "unk_token": "?", "vocab": {"a": -1}}}, "the id -1, which is no number"),
        ({"model": {"type": "Unigram", "unk_id": 99, "vocab": [["a", 0.0]]}}, "not a tokenizer.json"),
        ({"model": ["BPE"]}, "it is no object with a model"),
        ({"added_tokens": [{"id": 2**32 - 2, "content": "<x>"}]}, "a token of id 4,294,967,294"),
        ({"added_tokens": [{"content": "<x>"}]}, "the id None, which is no number"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////w=="}}, "rules is cut off"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}}, "not a tokenizer.json"),
        ({"post_processor": template(TEXT, MARK)}, "not a tokenizer.json"),
        ({"post_processor": template(TEXT, {"Sequence": {"id": "B", "type_id": 0}})}, "index out of bounds"),  # a panic
        (
            {"post_processor": template(TEXT, MARK, **{"<s>": {"id": "<s>", "ids": [10**6], "tokens": ["<s>"]}})},
            "the id 1,000,000",
        ),
        (
            {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}},
            "not a tok",
        ),
    ],
)
def test_a_tokenizer_json_that_cannot_be_is_one_line(copy, capfd, fields, told):
    folder = copy("llama_json")
    change(folder / "tokenizer.json", **fields)
    said = refused(folder)
    assert told.replace("\\", "") in said, said
    assert capfd.readouterr().err == ""  # a panic of a library writes there by itself


def test_a_panic_of_the_library_is_one_line(copy, capfd, monkeypatch):
    """Whatever it is that panics: the exception is none of Exception's."""
    from data.tokenizers import boundary

    class Panic(BaseException):
        pass

    def panic(text):
        raise Panic("index out of bounds")

    monkeypatch.setattr(boundary, "decode_json", panic)
    assert "(index out of bounds)" in refused(copy("llama_json"))


@pytest.mark.parametrize(
    ("file", "fields", "told"),
    [
        (
            "tokenizer_config.json",
            {"extra_ids": 10**9},
            "extra_ids=1000000000 should be a number up to 100,000",
        ),
        ("tokenizer_config.json", {"extra_ids": "many"}, "extra_ids='many' should be a number"),
        ("tokenizer_config.json", {"add_bos_token": "false"}, "add_bos_token='false' should be true or false"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"4000000000": {"content": "<x>"}}}, "of id 4000000000"),
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {"4000000": {"content": "<x>"}}},
            "add one of id 4,000,000",
        ),
        ("tokenizer_config.json", {"added_tokens_decoder": {"-3": {"content": "<x>"}}}, "an added token of id -3"),
        ("spiece.model", b"", "it is empty"),
        ("spiece.model", b"\x00" * 100, "is not a sentencepiece model"),
        ("spiece.model", b"no model", "is not a sentencepiece model"),
    ],
)
def test_settings_and_models_that_cannot_be_are_one_line(copy, file, fields, told):
    folder = copy("t5")
    path = folder / file
    if isinstance(fields, bytes):
        path.write_bytes(fields)
    else:
        path.write_text(json.dumps(fields))
    assert told in refused(folder)


@pytest.mark.parametrize("name", ["t5", "llama", "xlm_r", "llama_json", "gpt2", "bert"])
def test_flipped_bytes_are_refused_or_read_and_never_harm(name, copy, capfd):
    """Every damaged file is either one line, or a tokenizer that works; memory does not grow."""
    folder, drawn = copy(name), random.Random(0)
    path = next(folder / file for file in ("tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
                                           "vocab.json", "vocab.txt") if (folder / file).is_file())  # fmt: skip
    whole, before = path.read_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(40):
        spoilt = bytearray(whole)
        for _ in range(drawn.choice([1, 3, 20])):
            spoilt[drawn.randrange(len(spoilt))] = drawn.randrange(256)
        path.write_bytes(spoilt[: drawn.choice([len(spoilt), drawn.randrange(len(spoilt))])])
        try:
            tokenizer = load_tokenizer(folder)
            tokenizer.decode(tokenizer.encode("a word of text", special_tokens=True))
        except ValueError as error:
            assert "\n" not in str(error), error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # KiB
    assert "panicked" not in capfd.readouterr().err
