"""Adapters mean in `peft` what they mean here: equal logits both ways, on tiny published models of random weights.

Needs torch, transformers and peft.
"""

import importlib.util
import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from model.peft import PromptTuning, attach, load_adapter, save_adapter
from tests.model.conftest import stirred
from tests.model.test_peft_layout import CHOICES, TWINS, VECTORS, saved_task, task_of_twin, twin
from train.outputs import outputs

FAMILIES = ["bert", "gpt2", "llama2", "t5"]
live = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "peft")),
    reason="needs torch, transformers and peft",
)


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
