"""Adapters as `peft` has them: names and shapes of its layout, bit for bit there and back, and equal outputs in both.

The live comparisons need torch, transformers and peft; the golden names are written from peft's documented layout.
"""

import importlib.util
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from model.encoder import Encoder
from model.initializers import TruncatedNormal
from model.linear import Linear
from model.peft import (
    IA3,
    AdaLoRA,
    BitFit,
    BottleneckAdapter,
    LoRA,
    PeftError,
    PrefixTuning,
    PromptTuning,
    added_paths,
    attach,
    detach,
    load_adapter,
    merge,
    save_adapter,
)
from model.weights import open_published, read_model
from tests.model.conftest import equal, flat, stirred
from train.outputs import outputs

TWINS = Path(__file__).parents[1] / "twins"
live = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "peft")),
    reason="needs torch, transformers and peft",
)


def twin(name: str):
    """A tiny published model of random weights."""
    return read_model(open_published(TWINS / name))


def saved(model, choice, folder, **options) -> tuple[dict, dict]:
    """The fields and tensors that are written for a model."""
    save_adapter(model, choice, folder, **options)
    return json.loads((folder / "adapter_config.json").read_text()), load_file(folder / "adapter_model.safetensors")


def test_names_and_shapes_are_those_of_peft(tmp_path):
    choice = LoRA(rank=4, alpha=8.0, sites="layers.*.attention.query,layers.1.mlp.down")
    tuned = attach(twin("bert"), choice, nnx.Rngs(0))
    fields, tensors = saved(tuned, choice, tmp_path / "adapter", base="bert-twin")
    query = "base_model.model.bert.encoder.layer.{}.attention.self.query.lora_{}.weight"
    down = "base_model.model.bert.encoder.layer.1.output.dense.lora_{}.weight"
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        **{query.format(layer, "A"): (4, 32) for layer in (0, 1)},
        **{query.format(layer, "B"): (32, 4) for layer in (0, 1)},
        down.format("A"): (4, 48),
        down.format("B"): (32, 4),
    }
    assert fields["peft_type"] == "LORA" and fields["r"] == 4 and fields["lora_alpha"] == 8
    assert fields["base_model_name_or_path"] == "bert-twin" and fields["fan_in_fan_out"] is False
    assert fields["target_modules"] == [
        "bert.encoder.layer.0.attention.self.query",
        "bert.encoder.layer.1.attention.self.query",
        "bert.encoder.layer.1.output.dense",
    ]
    assert not fields["rank_pattern"] and not fields["alpha_pattern"]
    # A is (R, in) as torch has it, and ours [in, R].
    np.testing.assert_array_equal(tensors[down.format("A")], np.asarray(flat(tuned)["layers.mlp.down.lora.a"][1]).T)


def test_a_class_without_a_head_has_names_without_a_prefix(tmp_path, make_model, tiny):
    model = make_model(tiny(), Encoder, pooler=True)
    choice = LoRA(sites="*.attention.out,pooler")
    _, tensors = saved(attach(model, choice, nnx.Rngs(0)), choice, tmp_path / "adapter")
    assert {name.split(".lora_")[0] for name in tensors} == {
        "base_model.model.encoder.layer.0.attention.output.dense",
        "base_model.model.encoder.layer.1.attention.output.dense",
        "base_model.model.pooler.dense",
    }


CHOICES = {
    "lora": LoRA(rank=3, sites="*.attention.query,*.attention.out,*.mlp.*"),
    "rslora": LoRA(rank=4, alpha=8.0, rank_stabilised=True, sites="*.mlp.up"),
    "dora": LoRA(rank=3, decomposed=True, sites="*.attention.*"),
    "some layers": LoRA(rank=3, sites="*layers.1.attention.value", dropout=0.1),
}
QUICK = ["bert, dora", "gpt2, lora", "t5, some layers"]
FAMILIES = ["bert", "gpt2", "llama2", "t5"]


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        pytest.param(name, choice, id=f"{name}, {word}", marks=[] if f"{name}, {word}" in QUICK else pytest.mark.slow)
        for name in ("bert", "gpt2", "llama2", "t5", "vit")
        for word, choice in CHOICES.items()
    ],
)
def test_what_is_saved_and_loaded_is_the_same_adapter(name, choice, tmp_path):
    """To the bit where each map is a matrix of its own; as the same product where some are fused."""
    model = twin(name)
    tuned = stirred(attach(model, choice, nnx.Rngs(0)))
    save_adapter(tuned, choice, tmp_path / "adapter")
    loaded = load_adapter(model, tmp_path / "adapter")
    assert equal(detach(loaded.model), model) and not loaded.heads
    if name != "gpt2":
        assert {loaded.choice.rank, loaded.choice.alpha} == {choice.rank, choice.alpha}
        ours, theirs = flat(tuned), flat(loaded.model)
        assert ours.keys() == theirs.keys()
        acts = {path: np.asarray(flat(tuned)[path]) != 0 for path in ours if path.endswith(".lora.scale")}
        for path in added_paths(tuned):
            on = acts[path.rpartition(".")[0] + ".scale"]
            np.testing.assert_array_equal(np.asarray(ours[path])[on], np.asarray(theirs[path])[on])
    again = attach(model, loaded.choice, nnx.Rngs(1))
    assert added_paths(again) == added_paths(loaded.model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda fields, tensors: fields.update(bias="all"), "bias='all'"),
        (lambda fields, tensors: fields.update(use_qalora=True), "use_qalora=True changes the computation"),
        (lambda fields, tensors: fields.update(peft_type="LOHA"), "peft_type='LOHA' is not known"),
        (lambda fields, tensors: fields.update(r="four"), "r='four' should be a int"),
        (lambda fields, tensors: tensors.update({"base_model.model.x.lora_A.weight": np.zeros(2)}), "no place in this"),
        (lambda fields, tensors: tensors.pop(next(iter(tensors))), "no tensor"),
        (lambda fields, tensors: tensors.update({next(iter(tensors)): np.zeros((4, 7))}), r"has shape \(4, 7\)"),
        (lambda fields, tensors: tensors.clear(), "holds no tensors"),
    ],
)
def test_what_does_not_fit_is_one_line(change, said, tmp_path):
    model, choice = twin("bert"), LoRA(rank=4, sites="*.mlp.up")
    fields, tensors = saved(attach(model, choice, nnx.Rngs(0)), choice, tmp_path / "adapter")
    change(fields, tensors)
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(fields))
    save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(PeftError, match=said) as caught:
        load_adapter(model, tmp_path / "adapter")
    assert "\n" not in str(caught.value)


def test_an_adapter_of_another_model_and_missing_files_are_refused(tmp_path):
    choice = LoRA(sites="*.mlp.up")
    save_adapter(attach(twin("bert"), choice, nnx.Rngs(0)), choice, tmp_path / "bert")
    with pytest.raises(PeftError, match="no place in this LanguageModel for "):
        load_adapter(twin("gpt2"), tmp_path / "bert")
    with pytest.raises(PeftError, match=r"has no adapter_config.json"):
        load_adapter(twin("bert"), tmp_path)
    (tmp_path / "bert" / "adapter_model.safetensors").rename(tmp_path / "bert" / "adapter_model.bin")
    with pytest.raises(PeftError, match=r"adapter_model.bin is a pickle"):
        load_adapter(twin("bert"), tmp_path / "bert")
    with pytest.raises(PeftError, match="nothing is attached"):
        save_adapter(twin("bert"), choice, tmp_path / "new")


def test_nothing_is_overwritten(tmp_path):
    choice = LoRA()
    tuned = attach(twin("bert"), choice, nnx.Rngs(0))
    save_adapter(tuned, choice, tmp_path / "adapter")
    with pytest.raises(ValueError, match="is there already"):
        save_adapter(tuned, choice, tmp_path / "adapter")


def test_heads_lie_beside_the_adapter(tmp_path):
    choice, model = LoRA(), twin("bert")
    heads = {"classifier.weight": np.ones((2, 32), np.float32), "classifier.bias": np.zeros(2, np.float32)}
    fields, _ = saved(attach(model, choice, nnx.Rngs(0)), choice, tmp_path / "adapter", task="SEQ_CLS", heads=heads)
    assert fields["modules_to_save"] == ["classifier"] and fields["task_type"] == "SEQ_CLS"
    loaded = load_adapter(model, tmp_path / "adapter")
    assert loaded.heads.keys() == heads.keys()
    np.testing.assert_array_equal(loaded.heads["classifier.weight"], heads["classifier.weight"])


VECTORS = {
    "ia3": IA3(),
    "ia3 in some layers": IA3("*layers.1.attention.value,*layers.0.mlp.down"),
    "prompt": PromptTuning(3),
}


@pytest.mark.parametrize("choice", VECTORS.values(), ids=VECTORS)
@pytest.mark.parametrize("name", ["gpt2", pytest.param("bert", marks=pytest.mark.slow)])
def test_vectors_come_back_to_the_bit(name, choice, tmp_path):
    model = twin(name)
    tuned = stirred(attach(model, choice, nnx.Rngs(0)))
    _, tensors = saved(tuned, choice, tmp_path / "adapter")
    loaded = load_adapter(model, tmp_path / "adapter")
    assert equal(detach(loaded.model), model)
    if isinstance(choice, IA3):
        assert {tensor.shape.count(1) for tensor in tensors.values()} == {1}
        assert all(name.endswith(".ia3_l") for name in tensors)
        ours, theirs = (flat(merge(each)) for each in (tuned, loaded.model))
        assert all(np.array_equal(ours[path], theirs[path]) for path in ours)
    else:
        assert tensors["prompt_embeddings"].shape == (3, 32) and equal(tuned, loaded.model)


def test_an_ada_lora_is_written_as_the_lora_that_it_is(tmp_path):
    choice, model = AdaLoRA(rank=4, target_rank=2, sites="*.mlp.*"), twin("bert")
    tuned = stirred(attach(model, choice, nnx.Rngs(0)), size=0.3)
    save_adapter(tuned, choice, tmp_path / "adapter")
    loaded = load_adapter(model, tmp_path / "adapter")
    assert isinstance(loaded.choice, LoRA)
    ours, theirs = (flat(merge(each)) for each in (tuned, loaded.model))
    for path in ours:
        np.testing.assert_allclose(ours[path], theirs[path], atol=1e-6)


@pytest.mark.parametrize("choice", [BitFit(), BottleneckAdapter(), PrefixTuning()])
def test_what_peft_has_no_form_for_is_refused(choice, tmp_path):
    with pytest.raises(PeftError, match="peft has no form for"):
        save_adapter(attach(twin("bert"), choice, nnx.Rngs(0)), choice, tmp_path / "adapter")
    assert not list(tmp_path.iterdir())


def test_convolutions_are_refused(tmp_path):
    choice = LoRA(sites="embeddings.projection")
    with pytest.raises(PeftError, match="is a convolution as published"):
        save_adapter(attach(twin("vit"), choice, nnx.Rngs(0)), choice, tmp_path / "adapter")


def published(name: str, folder=None):
    """A twin in transformers, with the adapter of a folder on it."""
    import peft
    import transformers

    fields = json.loads((TWINS / name / "config.json").read_text())
    plain = getattr(transformers, fields["architectures"][0]).from_pretrained(TWINS / name).eval()
    return plain if folder is None else peft.PeftModel.from_pretrained(plain, folder).eval()


def both(name: str, ours, theirs) -> tuple[np.ndarray, np.ndarray]:
    """The logits of both for the stored inputs of a twin, at real places."""
    import torch

    arrays = load_file(TWINS / name / "expected.safetensors")
    inputs = {key.removeprefix("inputs."): value for key, value in arrays.items() if key.startswith("inputs.")}
    with torch.no_grad():
        found = theirs(**{key: torch.from_numpy(value) for key, value in inputs.items()})
    mask = inputs["decoder_attention_mask" if "decoder_attention_mask" in inputs else "attention_mask"].astype(bool)
    logits = found["logits"] if "logits" in found else found["prediction_logits"]
    return outputs(ours, inputs)["logits"][mask], logits.numpy()[mask]


@pytest.mark.slow
@live
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("name", FAMILIES)
def test_peft_reads_ours_with_equal_logits(name, choice, tmp_path):
    model = twin(name)
    tuned = stirred(attach(model, choice, nnx.Rngs(0)))
    save_adapter(tuned, choice, tmp_path / "adapter", base=str(TWINS / name))
    ours, theirs = both(name, tuned, published(name, tmp_path / "adapter"))
    plain, _ = both(name, model, published(name))
    assert np.abs(ours - plain).max() > 1e-2
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


TARGETS = {
    "bert": ["query", "attention.output.dense", "intermediate.dense"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "llama2": ["q_proj", "v_proj", "down_proj"],
    "t5": ["q", "o", "wi"],
}
CONFIGS = {
    "lora": {"r": 4, "lora_alpha": 8},
    "rslora": {"r": 4, "lora_alpha": 8, "use_rslora": True},
    "dora": {"r": 4, "lora_alpha": 8, "use_dora": True},
    "layers and patterns": {
        "r": 4,
        "layers_to_transform": [1],
        "rank_pattern": {".*[ox].*": 2},
        "alpha_pattern": {".*q.*": 3},
    },
}


@pytest.mark.slow
@live
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fields", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("name", FAMILIES)
def test_ours_reads_what_peft_writes_with_equal_logits(name, fields, tmp_path):
    import peft
    import torch

    torch.manual_seed(0)
    theirs = peft.get_peft_model(published(name), peft.LoraConfig(target_modules=TARGETS[name], **fields)).eval()
    for key, parameter in theirs.named_parameters():
        if "lora_" in key:
            parameter.data += 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path / "adapter")
    model = twin(name)
    loaded = load_adapter(model, tmp_path / "adapter")
    ours, logits = both(name, loaded.model, theirs)
    assert np.abs(ours - both(name, model, published(name))[0]).max() > 1e-2
    np.testing.assert_allclose(ours, logits, atol=1e-4)
    # And once more out and in.
    save_adapter(loaded.model, loaded.choice, tmp_path / "again")
    again, _ = both(name, load_adapter(model, tmp_path / "again").model, theirs)
    np.testing.assert_allclose(again, logits, atol=1e-4)


@pytest.mark.slow
@live
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama2"])
def test_vectors_are_the_same_in_peft(name, tmp_path):
    """IA3 both ways."""
    import peft
    import torch

    model = twin(name)
    for number, choice in enumerate([VECTORS["ia3"], VECTORS["ia3 in some layers"]]):
        tuned = stirred(attach(model, choice, nnx.Rngs(0)), size=0.3)
        save_adapter(tuned, choice, tmp_path / f"{number}")
        ours, theirs = both(name, tuned, published(name, tmp_path / f"{number}"))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    inward = {"bert": ["intermediate.dense"], "gpt2": ["mlp.c_proj"], "llama2": ["down_proj"]}[name]
    config = peft.IA3Config(target_modules=[*TARGETS[name][:1], *inward], feedforward_modules=inward)
    other = peft.get_peft_model(published(name), config).eval()
    for key, parameter in other.named_parameters():
        if "ia3_" in key:
            parameter.data += 0.3 * torch.randn_like(parameter)
    other.save_pretrained(tmp_path / "theirs")
    ours, theirs = both(name, load_adapter(model, tmp_path / "theirs").model, other)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
@live
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["gpt2", "llama2"])
def test_prompts_are_the_same_in_peft(name, tmp_path):
    import torch

    model, choice = twin(name), PromptTuning(3)
    tuned = stirred(attach(model, choice, nnx.Rngs(0)))
    save_adapter(tuned, choice, tmp_path / "adapter", base=str(TWINS / name), task="CAUSAL_LM")
    other = published(name, tmp_path / "adapter")
    tokens = load_file(TWINS / name / "expected.safetensors")["inputs.input_ids"][:1]
    with torch.no_grad():
        logits = other(input_ids=torch.from_numpy(tokens)).logits[:, 3:].numpy()
    np.testing.assert_allclose(outputs(tuned, {"input_ids": tokens})["logits"], logits, atol=1e-4)
    other.save_pretrained(tmp_path / "theirs")
    again = load_adapter(model, tmp_path / "theirs")
    np.testing.assert_allclose(outputs(again.model, {"input_ids": tokens})["logits"], logits, atol=1e-4)


class Task(nnx.Module):
    """An encoder with a head of its own, as a task has it."""

    def __init__(self, encoder: Encoder, classes: int):
        self.encoder = encoder
        axes, drawn = {"D": encoder.config.hidden_size, "C": classes}, TruncatedNormal(0.3).draw("input", 1, 1, 1)
        self.classifier = Linear("BD,DC->BC", axes, initializer=drawn, rngs=nnx.Rngs(0))

    def __call__(self, *row):
        return self.classifier(self.encoder.pool(self.encoder(*row)))


def task_of_twin() -> Task:
    """The stored BERT without its heads, and a fresh classifier."""
    model = twin("bert")
    encoder = Encoder(model.config, pooler=True, rngs=nnx.Rngs(0))
    theirs = flat(model)
    for path, leaf in nnx.to_flat_state(nnx.state(encoder, nnx.Param)):
        name = ".".join(map(str, path))
        leaf[...] = theirs[f"pair_head.{name}" if name.startswith("pooler") else name]
    return Task(encoder, 3)


TASK_CHOICE = LoRA(rank=3, sites="*.attention.query,encoder.layers.1.mlp.up,encoder.pooler")


def saved_task(task, folder):
    """A tuned task, written with its head."""
    tuned = stirred(attach(task, TASK_CHOICE, nnx.Rngs(0)))
    heads = {"classifier.weight": np.asarray(task.classifier.kernel[...]).T, "classifier.bias": np.ones(3, np.float32)}
    tuned.classifier.bias = nnx.Param(jnp.ones(3))
    save_adapter(tuned, TASK_CHOICE, folder, base=str(TWINS / "bert"), task="SEQ_CLS", heads=heads)
    return tuned


def test_the_part_of_a_task_that_is_published_has_its_names(tmp_path):
    task = task_of_twin()
    tuned = saved_task(task, tmp_path / "adapter")
    names = set(load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    assert "base_model.model.bert.pooler.dense.lora_A.weight" in names
    assert "base_model.model.bert.encoder.layer.0.attention.self.query.lora_B.weight" in names
    assert "base_model.model.bert.encoder.layer.0.intermediate.dense.lora_B.weight" not in names
    loaded = load_adapter(task, tmp_path / "adapter")
    assert set(loaded.heads) == {"classifier.weight", "classifier.bias"}
    assert loaded.choice.sites.split(",") == [
        "encoder.layers.*.attention.query",
        "encoder.layers.1.mlp.up",
        "encoder.pooler",
    ]
    ours, theirs = (flat(merge(each)) for each in (tuned, loaded.model))
    for path in set(ours) - {"classifier.bias"}:
        np.testing.assert_array_equal(ours[path], theirs[path])
    with pytest.raises(PeftError, match="classifier has no published name"):
        choice = LoRA(sites="classifier")
        save_adapter(attach(task, choice, nnx.Rngs(0)), choice, tmp_path / "head")


@pytest.mark.slow
@live
@pytest.mark.filterwarnings("ignore")
def test_a_tuned_classifier_is_the_same_in_peft(tmp_path):
    import peft
    import torch
    import transformers

    tuned = saved_task(task_of_twin(), tmp_path / "adapter")
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(TWINS / "bert", num_labels=3)
    other = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    tokens = load_file(TWINS / "bert" / "expected.safetensors")["inputs.input_ids"][:1]
    with torch.no_grad():
        logits = other(input_ids=torch.from_numpy(tokens)).logits.numpy()
    places, one = jnp.arange(tokens.shape[1])[None], jnp.ones(tokens.shape, jnp.int32)
    np.testing.assert_allclose(tuned(jnp.asarray(tokens, jnp.int32), places, one), logits, atol=1e-5)
