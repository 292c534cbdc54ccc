"""The first divergence is found where it is: at no site of an honest model, at the right one of a model with one wrong tensor."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from train import compare
from train.command import run_command
from train.divergence import divergence, example, in_order
from train.outputs import answer, checked, sites
from train.pretrained import load

TWINS = Path(__file__).parents[1] / "twins"
NAMES = sorted(path.name for path in TWINS.iterdir() if (path / "config.json").is_file())
LOUD = "NOTHING IS COMPARED LIVE: it needs torch and transformers 5"
FAULTS = {  # twin: a parameter of ours, the layer in it, and where its fault must show first
    "bert": ("layers.mlp.down.bias", 1, "layers.1.mlp.output"),
    "distilbert": ("token_head.bias", None, "token_head.output"),
    "gpt2": ("layers.attention.query.bias", 1, "layers.1.attention.mixed"),
    "llama2": ("token_head.table.embedding", None, "token_head.output"),
    "llama3": ("layers.attention_norm.scale", 1, "layers.1.attention_norm.output"),
    "marian": ("encoder.layers.mlp_norm.bias", 0, "encoder.layers.0.mlp_norm.output"),
    "mistral": ("layers.mlp.gate.kernel", 1, "layers.1.mlp.inner"),
    "qwen2": ("layers.attention.out.kernel", 0, "layers.0.attention.output"),
    "qwen3": ("layers.attention.key_norm.scale", 1, "layers.1.attention.key_norm.output"),
    "roberta": ("embeddings.positions.embedding", None, "embeddings.output"),
    "t5": ("decoder.layers.cross_attention.out.kernel", 1, "decoder.layers.1.cross_attention.output"),
    "t5_v1_1": ("encoder.position_bias.embedding", None, "encoder.layers.0.attention.mixed"),
    "vit": ("final_norm.scale", None, "final_norm.output"),
    "xlm_roberta": ("layers.mlp.up.kernel", 1, "layers.1.mlp.inner"),
}
# What every family must have a pair for, by the ends of the sites of ours.
PARTS = ("embeddings.output", "attention.mixed", "attention.output", "attention_norm.output", "mlp.inner", "mlp.output",
         "mlp_norm.output", "residual")  # fmt: skip
HEADS = {"token_head.output", "classifier.output"}


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `train.compare` with these words in this process; gives its exit code and what it said."""

    def run(*words):
        code = run_command(lambda: compare.main(list(map(str, words))))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture(scope="session")
def live():
    pytest.importorskip("torch", reason=LOUD)
    pytest.importorskip("transformers", minversion="5", reason=LOUD)


@pytest.mark.parametrize("name", NAMES)
def test_every_part_of_every_family_has_a_pair(name):
    pretrained = load(TWINS / name)
    arrays = checked(pretrained.model, example(pretrained))
    graph, params = nnx.split(pretrained.model)
    _, seen = jax.eval_shape(
        lambda params, arrays: answer(nnx.merge(graph, params), arrays, capture=True), params, arrays
    )
    pairs = [site.ours for site in in_order(pretrained.family.sites, seen)]
    assert len(pairs) == len(set(pairs)) and set(pairs) <= set(seen)
    assert pairs[0].endswith("embeddings.output") and HEADS & set(pairs)
    wanted = {site for site in seen if site.endswith(PARTS)} - {"embeddings.norm.output"}
    assert wanted <= set(pairs), wanted - set(pairs)


@pytest.mark.filterwarnings("ignore")  # of torch and transformers, not ours
@pytest.mark.parametrize("name", NAMES)
def test_twins_are_equal_and_a_fault_is_found_where_it_is(name, live, command):
    code, said, error = command(TWINS / name)
    assert code == 0, said + error
    assert "equal at all" in said
    path, layer, expected = FAULTS[name]
    pretrained = load(TWINS / name)
    arrays = example(pretrained)
    found = divergence(pretrained, arrays)
    seen = sites(pretrained.model, arrays, counts_tokens=pretrained.family.positions_count_tokens)
    assert [one.site.ours for one in found] == [site.ours for site in in_order(pretrained.family.sites, seen)]
    state = nnx.state(pretrained.model, nnx.Param)
    leaf = dict(nnx.to_flat_state(state))[tuple(path.split("."))]
    value = np.array(leaf.get_value())
    changed = slice(None) if layer is None else layer
    value[changed] += np.random.default_rng(0).normal(0, 0.02, value[changed].shape)
    leaf.set_value(jax.numpy.asarray(value))
    nnx.update(pretrained.model, state)
    first = next(one for one in divergence(pretrained, arrays) if one.beyond(1e-4))
    assert first.site.ours == expected


@pytest.mark.filterwarnings("ignore")  # of torch and transformers, not ours
def test_a_divergence_is_named_and_ends_with_code_1(live, command, monkeypatch):
    monkeypatch.setattr("train.divergence.sites", lambda *given, **named: spoiled(sites(*given, **named)))
    code, said, _ = command(TWINS / "gpt2")
    assert code == 1
    assert said.splitlines()[-1].startswith(
        "first divergence: layers.1.mlp.output differs from transformer.h.1.mlp by nan"
    )


def spoiled(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What cannot be compared is no agreement."""
    return seen | {"layers.1.mlp.output": seen["layers.1.mlp.output"] * np.nan}


def test_bad_input_is_one_line(command, tmp_path, monkeypatch):
    for missing in ("torch", "transformers"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "torch", sys)  # whatever is here
            patch.setitem(sys.modules, missing, None)
            code, said, error = command(TWINS / "gpt2")
            assert (code, said) == (2, "") and error.count("\n") == 1
            assert f"{missing} is not installed; pip install torch 'transformers>=5'" in error
    monkeypatch.setattr("train.peer.require_peer", lambda: "")
    for words, expected in [
        ((tmp_path,), "has no config.json"),
        ((tmp_path / "nothing",), "there is no folder"),
        ((TWINS / "gpt2", "--tolerance", "-1"), "--tolerance -1.0 must be 0 or more"),
        ((TWINS / "gpt2", "--text", "a"), "has no tokenizer for --text"),
    ]:
        code, said, error = command(*words)
        assert (code, said) == (2, "") and expected in error and error.count("\n") == 1, error
