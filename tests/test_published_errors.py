"""Published folders that are not as they should be: one line that says what, where, and what to do; and large ones in parts."""

import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from data.errors import DataError
from data.tokenizers import load_tokenizer
from model.hub import INDEX, WEIGHTS
from model.published import HubError
from model.publishing import architecture_of, express, write_model
from train.pretrained import load, save
from train.sharding import MeshShape, make_mesh
from train.state import split_model

TWINS = Path(__file__).parent / "twins"
PUBLISHED_TOKENIZERS = Path(__file__).parent / "data/published"


@pytest.fixture
def twin(tmp_path):
    """A factory: a copy of a twin, with fields of its config.json and tensors changed (None takes one away)."""

    def make(name: str, fields: dict | None = None, tensors: dict | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        values = json.loads((TWINS / name / "config.json").read_text()) | (fields or {})
        (folder / "config.json").write_text(json.dumps(values))
        arrays = load_file(TWINS / name / WEIGHTS) | (tensors or {})
        save_file({key: value for key, value in arrays.items() if value is not None}, folder / WEIGHTS)
        return folder

    return make


def refused(folder: Path, **options) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises((HubError, DataError)) as caught:
        load(folder, **options)
    said = str(caught.value)
    assert "\n" not in said and (isinstance(caught.value, DataError) or caught.value.exit_code == 2)
    return said


ZEROS = np.zeros((3, 3), np.float32)
MISSING = "transformer.h.1.mlp.c_fc.bias"
WRONG = [  # twin, fields, tensors, what is said
    ("gpt2", {}, {MISSING: None}, f"does not fit gpt2: no tensor {MISSING}, which its config.json asks for"),
    ("gpt2", {}, {"transformer.ln_f.weight": ZEROS}, "transformer.ln_f.weight has shape (3, 3), not (32,)"),
    ("gpt2", {}, {"transformer.ln_f.weight": np.zeros(32, np.int32)}, "transformer.ln_f.weight is of type I32, not F64, F32"),
    ("bert", {"model_type": "bort"}, {}, "model_type='bort' is not known; known are bert, roberta"),
    ("bert", {"model_type": None}, {}, "model_type=None is not known"),
    ("bert", {"memory_size": 4}, {}, "bert knows no field memory_size=4; if it does not change what is computed, pass ignore="),
    ("bert", {"position_embedding_type": "relative_key"}, {}, "position_embedding_type='relative_key' changes the computation"),
    ("bert", {"is_decoder": True}, {}, "is_decoder=True changes the computation and is not supported"),
    ("bert", {"hidden_act": "mish"}, {}, "hidden_act='mish' changes the computation and is not supported; use one of gelu"),
    ("bert", {"num_hidden_layers": "two"}, {}, "num_hidden_layers='two' should be a int"),
    ("bert", {"num_attention_heads": 5}, {}, "hidden_size=32 is not a multiple of num_heads=5"),
    ("bert", {"num_hidden_layers": 3}, {}, "no tensor bert.encoder.layer.2."),
    ("bert", {"num_hidden_layers": 1}, {}, "no place for bert.encoder.layer.1."),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, {}, "scale_attn_by_inverse_layer_idx=True changes the computation"),
    ("llama2", {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, {}, "rope_type may be default, linear"),
    ("llama2", {"tie_word_embeddings": True}, {}, "lm_head.weight is not equal to model.embed_tokens.weight, to which config"),
    ("t5", {"feed_forward_proj": "gated-mish"}, {}, "feed_forward_proj='gated-mish' changes the computation"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "tensors", "expected"), WRONG, ids=[expected for *_, expected in WRONG])
def test_what_does_not_fit_is_named(name, fields, tensors, expected, twin):
    assert expected in refused(twin(name, fields, tensors))


def test_everything_that_is_wrong_is_named_at_once(twin):
    said = refused(twin("gpt2", {"memory_size": 4, "rope_theta": 1e4, "scale_attn_weights": False}))
    assert all(word in said for word in ("memory_size=4", "rope_theta=10000.0", "scale_attn_weights=False"))


def test_what_is_to_be_ignored_is_left_aside(twin):
    """A tensor and a field that nobody knows: named with what to pass, and with that passed they change nothing."""
    folder = twin(
        "gpt2", {"memory_size": 4}, {"transformer.h.0.extra.weight": ZEROS, "transformer.h.1.extra.weight": ZEROS}
    )
    assert "pass ignore=['memory_size']" in refused(folder)
    said = refused(folder, ignore=["memory_size"])
    assert (
        "no place for transformer.h.0-1.extra.weight" in said and "pass ignore=['transformer.h.*.extra.weight']" in said
    )
    opened, plain = load(folder, ignore=["memory_size", "transformer.h.*.extra.weight"]), load(TWINS / "gpt2")
    ids = np.arange(6)[None]
    assert np.array_equal(opened.outputs(input_ids=ids)["logits"], plain.outputs(input_ids=ids)["logits"])


def test_files_that_are_not_whole(twin, tmp_path):
    folder = twin("gpt2")
    whole = (folder / WEIGHTS).read_bytes()
    for cut in (whole[:-100], whole[:100], b"", whole[:8] + b"x" * 100 + whole[108:]):
        (folder / WEIGHTS).write_bytes(cut)
        said = refused(folder)
        assert f"{folder / WEIGHTS} is truncated or damaged" in said and "copy it again" in said, said
    (folder / WEIGHTS).unlink()
    assert f"{folder} has no weights, neither {WEIGHTS} nor {INDEX}" in refused(folder)
    (folder / "pytorch_model.bin").write_bytes(whole)
    said = refused(folder)
    assert (
        "pytorch_model.bin, a pickle, which may run any program when it is opened" in said and "save_pretrained" in said
    )
    (folder / "config.json").write_text("{")
    assert "config.json is not JSON" in refused(folder)
    (folder / "config.json").write_text("[]")
    assert "config.json is not a JSON object" in refused(folder)
    (folder / "config.json").unlink()
    assert f"{folder} has no config.json; name a folder as save_pretrained writes it" in refused(folder)
    assert f"there is no folder {tmp_path}/none" in refused(tmp_path / "none")


def test_files_in_parts(tmp_path):
    """Written in parts and read back bit for bit; a part that is missing, or a tensor that is in none, is named."""
    pretrained, folder = load(TWINS / "llama2"), tmp_path / "parts"
    folder.mkdir()
    write_model(folder, pretrained.model, express(architecture_of(pretrained.model)), file_bytes=8_000)
    parts = sorted(path.name for path in folder.glob("model-*.safetensors"))
    assert len(parts) > 3 and not (folder / WEIGHTS).exists()
    assert parts == [f"model-{number + 1:05}-of-{len(parts):05}.safetensors" for number in range(len(parts))]
    index, whole = json.loads((folder / INDEX).read_text()), load_file(TWINS / "llama2" / WEIGHTS)
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in whole.values())
    assert set(index["weight_map"]) == set(whole) and set(index["weight_map"].values()) == set(parts)
    again = save(load(folder), tmp_path / "again")
    assert all(np.array_equal(value, whole[name]) for name, value in load_file(again / WEIGHTS).items())

    index["weight_map"]["model.extra"] = parts[0]
    (folder / INDEX).write_text(json.dumps(index))
    assert f"{INDEX} lists tensors that are in no file: model.extra" in refused(folder)
    (folder / parts[1]).unlink()
    assert f"{folder} lacks {parts[1]}, which its {INDEX} lists; copy the missing files too" in refused(folder)
    (folder / INDEX).write_text("{}")
    assert f"{INDEX} has no weight_map" in refused(folder)


def test_a_tokenizer_of_another_model(twin):
    """More tokens than the model knows are refused; fewer are not, for models have rows to spare."""
    folder = twin("bert")
    shutil.copyfile(PUBLISHED_TOKENIZERS / "bert/vocab.txt", folder / "vocab.txt")
    size = load_tokenizer(folder).vocab_size
    assert (
        f"the tokenizer of {folder} has {size} tokens, its model only 89; put the tokenizer's files there"
        in refused(folder)
    )
    with pytest.raises(DataError, match=f"the tokenizer has {size} tokens, its model only 89"):
        save(load(TWINS / "bert"), folder.parent / "new", tokenizer=load_tokenizer(folder))
    assert not (folder.parent / "new").exists() and not list(folder.parent.glob(".new*"))
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]))
    assert load(folder).tokenizer.vocab_size == 7


@pytest.mark.parametrize("name", ["nobody/nothing"])
def test_a_name_on_the_hub_without_a_way_there(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    said = refused(name)
    assert f"there is no folder {name}" in said and "pip install huggingface_hub" in said

    class Offline:
        """A library without a connection."""

        @staticmethod
        def snapshot_download(name, allow_patterns):
            assert not any(pattern.endswith((".bin", ".pt")) for pattern in allow_patterns)
            raise ConnectionError("cannot reach it,\n  try later")

    monkeypatch.setitem(sys.modules, "huggingface_hub", Offline)
    said = refused(name)
    assert "ConnectionError: cannot reach it, try later" in said and "check the name and the connection" in said
    (tmp_path / "nobody").mkdir()
    assert f"there is no folder {name}; name a published folder" in refused(name)  # a folder's name, mistyped


def test_save_overwrites_nothing(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("x")
    with pytest.raises(HubError, match="is there already and is not empty; name a new folder, or remove it yourself"):
        save(load(TWINS / "bert"), tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.tex"]


@pytest.mark.parametrize("name", ["llama3", "t5"])
def test_weights_go_straight_to_their_devices(name):
    """Each array lies as in training, split over eight devices, and the answers are those of one device."""
    mesh = make_mesh(MeshShape.parse("fsdp=2,tensor=2"))
    split, whole = load(TWINS / name, mesh=mesh), load(TWINS / name)
    arrays = load_file(TWINS / name / "expected.safetensors")
    inputs = {key.removeprefix("inputs."): value for key, value in arrays.items() if key.startswith("inputs.")}
    leaves = jax.tree.leaves(split_model(split.model).params)
    assert any(not leaf.sharding.is_fully_replicated for leaf in leaves)
    assert all(leaf.sharding.mesh == mesh for leaf in leaves)
    assert np.abs(split.outputs(**inputs)["logits"] - whole.outputs(**inputs)["logits"]).max() < 1e-5
