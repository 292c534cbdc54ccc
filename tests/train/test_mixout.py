"""Mixout: a share of the layers' matrices stands where it began, the mean is the weights, and runs go on to the same bits."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.peft import LoRA
from train.mixout import matrices_of_layers, mixed
from train.rates import Tuning
from train.registry import load
from train.run import Run
from train.sharding import MeshShape, make_mesh, shardings
from train.starting import flat


def trees():
    """Weights, and where they began: of two matrices of layers, one of which never moved, and of others."""
    draw = np.random.default_rng(0)
    shapes = {"up": (3, 16, 32), "down": (3, 32, 16)}
    weights, began = (
        {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()} for _ in "12"
    )
    began["down"] = weights["down"]

    def tree(kernels):
        layers = {name: {"kernel": kernel, "bias": np.ones(3, np.float32)} for name, kernel in kernels.items()}
        return jax.tree.map(
            jnp.asarray, {"layers": {"mlp": layers}, "classifier": {"kernel": np.ones((4, 2), np.float32)}}
        )

    return tree(weights), matrices_of_layers(tree(began))


@pytest.mark.parametrize("rate", [0.3, 0.9])
def test_each_element_is_the_origin_or_as_much_farther_as_keeps_the_mean(rate):
    weights, origin = trees()
    draws = [mixed(weights, origin, rate, jnp.uint32(key)) for key in range(200)]
    up, began = (np.asarray(tree["layers"]["mlp"]["up"]["kernel"]) for tree in (weights, origin))
    drawn = np.stack([draw["layers"]["mlp"]["up"]["kernel"] for draw in draws])
    back = drawn == began
    assert abs(back.mean() - rate) < 0.01  # of 300,000 elements
    assert len(np.unique(back.reshape(200, -1), axis=0)) == 200, "each step draws anew"
    assert (back[:, 0] != back[:, 1]).any(), "each layer has a draw of its own"
    farther = np.broadcast_to(began + (up - began) / (1 - rate), drawn.shape)
    np.testing.assert_allclose(drawn[~back], farther[~back], rtol=1e-5, atol=1e-5)
    deviation = np.abs(up - began) * np.sqrt(rate / (1 - rate) / 200)
    assert (np.abs(drawn.mean(0) - up) < 5 * deviation + 1e-6).all(), "the mean is the weights"
    for draw in draws[:3]:
        still = draw["layers"]["mlp"]["down"]
        assert (still["kernel"] == weights["layers"]["mlp"]["down"]["kernel"]).all(), "what has not moved is not moved"
        assert (still["bias"] == 1).all() and (draw["classifier"]["kernel"] == 1).all()


def test_the_draw_does_not_depend_on_the_mesh():
    weights, origin = trees()
    mesh = make_mesh(MeshShape.parse("fsdp=4,tensor=2"))
    placed = [jax.tree.map(jax.device_put, tree, shardings(tree, mesh)) for tree in (weights, origin)]
    key = jnp.uint32(7)
    with jax.set_mesh(mesh):
        many = jax.jit(mixed, static_argnums=2)(*placed, 0.5, key)
    one = jax.jit(mixed, static_argnums=2)(weights, origin, 0.5, key)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), many, one)
    kernel = many["layers"]["mlp"]["up"]["kernel"]
    assert not kernel.sharding.is_fully_replicated


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bits_and_is_scored_unmixed(here, interrupt, tmp_path):
    every = ("--checkpoint-every", "2", "--evaluate-every", "4")
    assert here("--run-dir", tmp_path / "base", "--steps", "3", *every).code == 0
    words = ("--init", tmp_path / "base", "--steps", "6", *every)
    assert here("--run-dir", tmp_path / "plain", *words).code == 0
    words += ("--tuning.mixout", "0.5")
    assert here("--run-dir", tmp_path / "whole", *words).code == 0
    with interrupt(4):
        assert here("--run-dir", tmp_path / "parts", *words).code == 130
    assert here("--run-dir", tmp_path / "parts", *words).code == 0
    whole, parts, plain = (Run.open(tmp_path / name).restored.state for name in ("whole", "parts", "plain"))
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(np.asarray(one), np.asarray(other)), whole, parts)
    base = flat(Run.open(tmp_path / "base").params)
    began = flat(whole.origin)
    assert began and all((np.asarray(leaf) == np.asarray(base[path])).all() for path, leaf in began.items())
    moved = flat(whole.params)
    assert all((moved[path] != leaf).any() for path, leaf in flat(plain.params).items() if path in began)
    run = Run.open(tmp_path / "whole")
    scores = json.loads((tmp_path / "whole" / "scores.json").read_text())
    assert run.evaluate()["valid_loss"] == scores["valid_loss"]


def test_what_cannot_be_mixed_is_told(here, tiny_experiment, tmp_path):
    for rate in (1.0, -0.1):
        with pytest.raises(ValueError, match=rf"mixout={rate} is a share of the weights"):
            Tuning(mixout=rate)
    declared = load(str(tiny_experiment)).experiment
    with pytest.raises(ValueError, match="with peft they do not; leave one of them out"):
        dataclasses.replace(declared, tuning=Tuning(mixout=0.5), peft=LoRA())
    ended = here("--run-dir", tmp_path / "run", "--tuning.mixout", "0.5")
    assert ended.code == 2 and "weights that were trained before; name them with --init" in ended.errors
