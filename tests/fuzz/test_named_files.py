"""Files of others that were hostile in a way that has a name: one line that says what is wrong and where, at once."""

import gzip
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from data.held_out import read_texts
from data.tokenizers import load_tokenizer
from experiments.attack.readers import write_adapter, write_tokenizer
from model.headers import read_header
from model.hub import INDEX, WEIGHTS, Tensors, write_tensors
from model.peft import PeftError
from model.peft.adapters import load_adapter
from model.published import HubError
from model.weights import open_published
from train.record import Record

TWINS = Path(__file__).parents[1] / "twins"


@pytest.fixture(autouse=True)
def in_time_and_in_one_line(request):
    begin = time.process_time()
    yield
    assert time.process_time() - begin < 10


def refused(error, said, call, *arguments):
    with pytest.raises(error) as caught:
        call(*arguments)
    line = str(caught.value)
    assert said in line and len(line) < 1_500 and "\n" not in line and line.isprintable(), line


@pytest.mark.parametrize(
    "twin, fields, said",
    [
        ("gpt2", {"model_type": ["gpt2"]}, "model_type=['gpt2'] is not known"),
        ("gpt2", {"model_type": {"a": 1}}, "is not known"),
        ("gpt2", {"n_embd": 2**63}, "n_embd=9223372036854775808 should lie between 0 and 2147483647"),
        ("gpt2", {"n_embd": 2**31 - 4, "n_inner": 48}, "of another model than the files beside it"),
        ("gpt2", {"n_layer": 10**9}, "n_layer=1000000000 should lie between 0 and 4096"),
        ("gpt2", {"n_layer": 4_000}, "4,000 layers"),
        ("gpt2", {"n_layer": -1}, "n_layer=-1 should lie between 0"),
        ("gpt2", {"n_head": 0}, "num_heads=0 must be at least 1"),
        ("gpt2", {"vocab_size": 10**9}, "vocab_size is 1,000,000,000, and the longest axis there"),
        ("gpt2", {"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon=nan should be finite"),
        ("gpt2", {"activation_function": ["gelu"]}, "activation_function=['gelu'] should be a str"),
        ("gpt2", {"x" * 5_000: "\x1b[31m"}, "knows no field xxx"),
        ("llama2", {"head_dim": -1}, "head_dim=-1 should lie between 0"),
        ("llama2", {"head_dim": 0}, "head_size=0 must be at least 1"),
        ("llama2", {"num_hidden_layers": 10**6}, "num_hidden_layers=1000000 should lie between"),
        ("llama2", {"rope_parameters": {"rope_type": ["yarn"]}}, "rope_type must be a word"),
        (
            "llama2",
            {"rope_parameters": {"rope_type": "yarn", "factor": [2]}},
            "factor must be a word, true or false, or else",
        ),
        ("llama2", {"rope_parameters": {"rope_type": "default", "rope_theta": float("inf")}}, "a positive number"),
        ("qwen2", {"layer_types": [["full_attention"], 2]}, "layer_types=[['full_attention'], 2]"),
        ("qwen2", {"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000 should lie between"),
        ("bert", {"architectures": [1, None]}, ""),
        ("vit", {"image_size": 2**31 - 1, "patch_size": 1}, "of another model than the files beside it"),
    ],
)
def test_fields_of_a_config(tmp_path, twin, fields, said):
    folder = tmp_path / "model"
    shutil.copytree(TWINS / twin, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    if said:
        refused(HubError, said, open_published, folder)
    else:
        open_published(folder)


@pytest.mark.parametrize(
    "content, said",
    [(b"[" * 10**6, "deep in each other"), (b'{"n_embd": ' + b"9" * 9_000 + b"}", "9,000 char"), (b"[]", "object")],
)
def test_a_config_that_is_no_config(tmp_path, content, said):
    shutil.copytree(TWINS / "gpt2", tmp_path / "model")
    (tmp_path / "model/config.json").write_bytes(content)
    refused(HubError, said, open_published, tmp_path / "model")


def file_of(header: dict, numbers: bytes = b"\0" * 16) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


GOOD = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "shorter than the header"),
        ((2**63).to_bytes(8, "little") + b"{}", "shorter than the header"),
        (file_of({"a": GOOD})[:-1], "past the end of the file"),
        (file_of({"a": GOOD}, b"\0" * 17), "1 bytes at its end belong to no tensor"),
        (file_of({"a": GOOD | {"data_offsets": [16, 0]}}), "past the end"),
        (file_of({"a": GOOD | {"data_offsets": [-16, 16]}}), "a lacks dtype, shape or data_offsets"),
        (file_of({"a": GOOD, "b": GOOD}), "b begins at byte 0 of the numbers"),
        (file_of({"a": GOOD | {"shape": [2**40, 2**40]}}), "which are not shape"),
        (file_of({"a": GOOD | {"shape": [2, -2]}}), "a lacks dtype"),
        (file_of({"a": GOOD | {"shape": [True, 4]}}), "a lacks dtype"),
        (file_of({"a": GOOD | {"dtype": "I64"}}), "which are not shape"),
        (file_of({"a": GOOD | {"dtype": ["F32"]}}), "a lacks dtype"),
        (file_of({"a": GOOD | {"shape": [2, 2] + [1] * 900}}), "has 902 axes"),
        (file_of({"\x1b[2J" + "a" * 5_000: GOOD | {"dtype": "F128"}}), "\\x1b[2Jaaa"),
        (b"\x02" + b"\0" * 7 + b"[]", "its header is no object"),
    ],
)  # fmt: skip
def test_headers_that_lie(tmp_path, content, said):
    (tmp_path / "a.safetensors").write_bytes(content)
    refused(HubError, said, read_header, tmp_path / "a.safetensors")


def test_a_header_is_what_the_library_reads(tmp_path):
    tensors = {"a": np.ones((2, 3), np.float32), "b": np.zeros((0, 4), np.float16), "c": np.ones((1,), np.float64)}
    write_tensors(tmp_path, tensors.items())
    found = {name: (entry.kind, entry.shape) for name, entry in read_header(tmp_path / WEIGHTS).items()}
    assert found == {"a": ("F32", (2, 3)), "b": ("F16", (0, 4)), "c": ("F64", (1,))}


@pytest.mark.parametrize(
    "file",
    [
        "../b/x.safetensors",
        "/etc/x.safetensors",
        "C:\\x.safetensors",
        "a/x.safetensors",
        "x.bin",
        "",
        "x\0.safetensors",
    ],
)
def test_an_index_names_files_beside_it_only(tmp_path, file):
    (tmp_path / "b").mkdir()
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": file}}))
    refused(HubError, "only names of .safetensors files beside it", Tensors, tmp_path)


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"peft_type": ["LORA"]}, "peft_type=['LORA'] is not known"),
        ({"modules_to_save": 7}, "modules_to_save=7 should be a list of names"),
        ({"r": 10**12}, "r=1000000000000 should lie between"),
        ({"r": True}, "r=True should be a int"),
        ({"lora_alpha": -0.0}, "alpha=-0.0 must be positive"),
        ({"lora_alpha": "8"}, "lora_alpha='8' should be a float"),
        ({"lora_alpha": float("nan")}, "lora_alpha=nan should lie between"),
        ({"alpha_pattern": {"(a+)+$": 8, "(x*)*y": "9"}}, "'9', which should be a positive number"),
        ({"alpha_pattern": {r"(?=a)\1": 8}}, "asks with (? for more than a group"),
        ({"alpha_pattern": [1]}, "alpha_pattern=[1] should be a dict"),
    ],
)
def test_fields_of_an_adapter(tmp_path, fields, said):
    from experiments.attack.readers import base

    write_adapter(tmp_path / "adapter")
    path = tmp_path / "adapter/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    refused(PeftError, said, load_adapter, base(), tmp_path / "adapter")


def test_an_expression_that_takes_for_ever_elsewhere(tmp_path):
    from experiments.attack.readers import base

    write_adapter(tmp_path / "adapter")
    path = tmp_path / "adapter/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alpha_pattern": {r"((\w+)+\.?)+!": 8}, "r": 4_000}))
    load_adapter(base(), tmp_path / "adapter")


def edited(path: Path, **changes) -> None:
    """A JSON file with other values, those of None taken out."""
    content = json.loads(path.read_text())
    for name, value in changes.items():
        at, (*parents, last) = content, name.split("__")
        for parent in parents:
            at = at[parent]
        at.pop(last, None)
        if value is not None:
            at[last] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "kind, file, changes, said",
    [
        ("words", "tokenizer.json", {"model__vocab__far": 2**32 - 2}, "a token of id 4,294,967,294"),
        ("merges", "vocab.json", {"far": 10**12}, "is not a vocabulary"),
        ("merges", "vocab.json", {"far": [1]}, "is not a vocabulary"),
        ("words", "tokenizer.json", {"model__vocab__[UNK]": None, "added_tokens": []}, "needs the token [UNK]"),
        ("words", "tokenizer.json", {"model": "\x1b[2J" + "x" * 5_000}, "is not a tokenizer.json"),
        (
            "bytes",
            "tokenizer_config.json",
            {"added_tokens_decoder": {"-5": {"content": "a"}}},
            "an added token of id -5",
        ),
        ("pieces", "tokenizer_config.json", {"extra_ids": 10**9}, "extra_ids=1000000000 should be a number up to"),
        ("pieces", "tokenizer_config.json", {"extra_ids": "many"}, "extra_ids='many' should be a number"),
        (
            "pieces",
            "tokenizer_config.json",
            {"added_tokens_decoder": {"999999999": {"content": "a"}}},
            "one of id 999,999,999",
        ),
        ("words", "tokenizer_config.json", {"do_lower_case": "x"}, "do_lower_case='x' should be true or false"),
        ("characters", "plain.json", {"kind": ["characters"]}, "is damaged"),
    ],
)
def test_tokenizers(tmp_path, kind, file, changes, said):
    write_tokenizer(kind, tmp_path)
    edited(tmp_path / file, **changes)
    refused(DataError, said, lambda: load_tokenizer(tmp_path).encode("語 a \U0001f642", special_tokens=True))


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 5_000])
def test_a_model_that_is_none(tmp_path, content):
    write_tokenizer("pieces", tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(content)
    refused(DataError, "is not a sentencepiece model", load_tokenizer, tmp_path)


def test_a_piece_that_is_no_byte(tmp_path):
    write_tokenizer("words", tmp_path)
    edited(tmp_path / "tokenizer.json", **{"model__vocab__<0xZZ>": 90})
    assert load_tokenizer(tmp_path).byte_counts[90] == 6


def test_held_out_text(tmp_path):
    path = tmp_path / "held_out.jsonl.gz"
    good = gzip.compress(json.dumps({"text": "a"}).encode() + b"\n", mtime=0)
    path.write_bytes(good)
    assert read_texts(tmp_path) == ["a"]
    lines = [b"[" * 99_999, b"[1]", b"7", b"{}", b'{"text": 1' + b"0" * 9_000 + b"}"]
    for content in [good[:-9], good[:12] + bytes([good[12] ^ 16]) + good[13:], b"text", *map(gzip.compress, lines)]:
        path.write_bytes(content)
        refused(DataError, "held_out.jsonl.gz is damaged", read_texts, tmp_path)
    path.write_bytes(gzip.compress(b" " * (300 << 20), compresslevel=1))
    refused(DataError, "holds more than 268,435,456 bytes", read_texts, tmp_path)


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", "7", "[" * 99_999, '{"a": ' + "1" * 9_999 + "}", "\xff", '{"experiment": ["x"], "floors": 3}'],
)
def test_a_record_is_read_without_complaint(tmp_path, content):
    from train.report import render
    from train.run import RunFolder

    names = ("run", "base", "config", "environment", "scores", "samples", "predictions", "data")
    for name in names:
        (tmp_path / f"{name}.json").write_text(content, encoding="latin-1")
    lines = [
        content,
        '{"step": 1, "loss": [1]}',
        '{"step": 2, "loss": 1e999}',
        '{"step": -3, "loss": 1}',
        '{"step": true}',
    ]
    (tmp_path / "metrics.jsonl").write_text(
        "\n".join([*lines, '{"step": 2, "event": {"a": 1}}', ""]), encoding="latin-1"
    )
    assert render(Record.read(tmp_path)).startswith("<!")
    with pytest.raises(ValueError) as caught:
        RunFolder(tmp_path).experiment()
    assert hasattr(caught.value, "exit_code") and len(str(caught.value)) < 1_500
