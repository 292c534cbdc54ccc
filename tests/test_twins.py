"""The twins can carry the parity tests: complete, small, and perturbed everywhere. `tests/twins/make.py` explains them."""

import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import pytest

TWINS = Path(__file__).parent / "twins"
DECODERS = ("gpt2", "llama2", "llama3", "mistral", "qwen2", "qwen3")
TWO_SIDED = ("t5", "t5_v1_1", "marian")
ENCODERS = ("bert", "roberta", "xlm_roberta", "distilbert", "vit")
NAMES = ENCODERS + DECODERS + TWO_SIDED
KINDS = {"F32": np.float32, "I64": np.int64}


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by its definition: 8 bytes of length, a header in JSON, little-endian numbers."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    arrays = {}
    for key, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        arrays[key] = np.frombuffer(content[begin:end], KINDS[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def test_every_family_is_there_and_all_are_small():
    assert {path.name for path in TWINS.iterdir() if path.is_dir()} - {"__pycache__"} == set(NAMES)
    readme = (TWINS / "README.md").read_text()
    for name in NAMES:
        assert {path.name for path in (TWINS / name).iterdir()} == {
            "config.json",
            "model.safetensors",
            "expected.safetensors",
        }
        assert f"| `{name}` |" in readme
    files = [path for path in TWINS.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 2_700_000


@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_can_be_dropped_or_swapped(name):
    """Vectors lie 0.05 to 0.15 from their start of zero or one, and no array equals another, in part or whole."""
    weights = read(TWINS / name / "model.safetensors")
    seen = {}
    for key, value in weights.items():
        assert value.dtype == np.float32 and np.isfinite(value).all(), key
        if value.ndim == 1 or key == "final_logits_bias":
            distance = np.abs(value - np.rint(value))
            assert distance.min() > 0.0499 and distance.max() < 0.1501, key
        assert np.ptp(value) > 0.1, key
        start = value.reshape(-1)[:2].tobytes()
        assert start not in seen, f"{key} begins as {seen[start]}"
        seen[start] = key


@pytest.mark.parametrize("name", NAMES)
def test_expected_holds_what_its_family_needs(name):
    config = json.loads((TWINS / name / "config.json").read_text())
    expected = read(TWINS / name / "expected.safetensors")
    assert all(np.isfinite(value).all() for value in expected.values())
    keys = {"last_hidden_state", "logits"}
    if name == "vit":
        assert keys | {"inputs.pixel_values"} < set(expected)
        return
    sides = ("", "decoder_") if name in TWO_SIDED else ("",)
    for side in sides:
        ids, mask = expected[f"inputs.{side}input_ids"], expected[f"inputs.{side}attention_mask"]
        assert (
            mask[0].all() and not mask[1:].all(1).any() and (np.diff(mask) <= 0).all()
        )  # one full row, the others padded
        assert len(np.unique(mask.sum(1))) == len(mask) and (mask.sum(1) > 2).all()
        assert (ids[mask == 0] == (config.get("pad_token_id") or 0)).all() and ids.max() < config["vocab_size"]
        layers = [key for key in expected if key.startswith((f"{side}hidden_states.", f"encoder_{side}hidden_states."))]
        assert all(expected[key].shape[:2] == ids.shape for key in layers) and len(layers) >= 3
    assert expected["logits"].shape == (*ids.shape, config["vocab_size"])
    if name in ("bert", "gpt2", "t5"):
        mask, attention = expected["inputs.attention_mask"].astype(bool), expected["attentions.1"]
        assert not attention.transpose(0, 3, 1, 2)[~mask].any()  # nobody looks at padding
        np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-6)
    if name not in ENCODERS:
        prompt = expected["greedy_source" if name in TWO_SIDED else "greedy_prompt"]
        start = np.full((2, 1), config["decoder_start_token_id"]) if name in TWO_SIDED else prompt
        assert prompt.shape == (2, 5) and expected["greedy"].shape == (2, start.shape[1] + 12)
        np.testing.assert_array_equal(expected["greedy"][:, : start.shape[1]], start)
        assert all(len(np.unique(row)) >= 3 for row in expected["greedy"][:, start.shape[1] :])


def test_the_sentences_have_ids_and_embeddings():
    sentences = json.loads((TWINS / "sentences.json").read_text(encoding="utf-8"))
    ids = json.loads((TWINS / "minilm_ids.json").read_text())
    assert len(sentences) == len(set(sentences)) == len(ids) == 200
    assert not any(
        special in sentence for sentence in sentences for special in ("[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]")
    )
    assert all(row[0] == 101 and row[-1] == 102 for row in ids)
    assert max(map(len, ids)) > 128  # longer than what the folder's tokenizer would cut
    (embeddings,) = read(TWINS / "minilm_embeddings.safetensors").values()
    assert embeddings.shape == (40, 384)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # of torch and transformers, not ours
@pytest.mark.parametrize("name", ["bert", "mistral"])
def test_the_published_implementation_still_makes_the_same(name, tmp_path):
    reason = "needs torch and transformers 5, which regenerate the twins"
    pytest.importorskip("torch", reason=reason)
    transformers = pytest.importorskip("transformers", minversion="5", reason=reason)
    pytest.importorskip("safetensors", reason=reason)
    transformers.utils.logging.disable_progress_bar()
    source = importlib.util.spec_from_file_location("twins_make", TWINS / "make.py")
    make = importlib.util.module_from_spec(source)
    source.loader.exec_module(make)
    assert set(make.FAMILIES) == set(NAMES)
    make.write(name, tmp_path)
    for file in ("model.safetensors", "expected.safetensors"):
        stored, made = read(TWINS / name / file), read(tmp_path / file)
        assert set(stored) == set(made)
        for key, value in stored.items():
            np.testing.assert_allclose(made[key], value, rtol=0, atol=1e-5, err_msg=key)
