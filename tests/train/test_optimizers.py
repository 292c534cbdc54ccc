"""Optimizers: equal to optax's own and to their papers on small trees, and exact about what decays and what is clipped."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.optimizers import LAMB, SGD, AdamW, Lion, Optax, Optimizer, decay_mask
from train.schedules import Constant

RATE = Constant(peak=0.01)
KINDS = [kind for kind in typing.get_args(Optimizer) if kind is not Optax]  # whose decay is the user's own
EXAMPLES = [kind(schedule=RATE, clip_norm=None, weight_decay=0.1) for kind in KINDS]
each = pytest.mark.parametrize("optimizer", EXAMPLES, ids=lambda optimizer: type(optimizer).__name__)


def tree(seed: int):
    keys = jax.random.split(jax.random.key(seed), 4)
    return {
        "embeddings": {"tokens": {"embedding": jax.random.normal(keys[0], (5, 4))}},
        "layers": {
            "mlp": {
                "up": {"kernel": jax.random.normal(keys[1], (3, 4, 6)), "bias": jax.random.normal(keys[2], (3, 6))}
            },
            "norm": {"scale": jax.random.normal(keys[3], (3, 4))},
        },
    }


def walk(transformation, steps: int = 3, gradient_scale: float = 1.0):
    params = tree(0)
    state = transformation.init(params)
    for step in range(steps):
        gradients = jax.tree.map(lambda leaf: leaf * gradient_scale, tree(step + 1))
        updates, state = transformation.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_equal_trees(a, b, rtol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6), a, b)


def test_decay_spares_biases_and_norm_scales_only():
    assert decay_mask(tree(0)) == {
        "embeddings": {"tokens": {"embedding": True}},
        "layers": {"mlp": {"up": {"kernel": True, "bias": False}}, "norm": {"scale": False}},
    }


@pytest.mark.parametrize("kind", [AdamW, Lion, SGD])  # optax's LAMB takes its norms over a whole stack of layers
def test_equals_optax(kind):
    o = kind(schedule=RATE, clip_norm=None, weight_decay=0.1)
    theirs = {
        AdamW: lambda: optax.adamw(0.01, o.b1, o.b2, o.epsilon, weight_decay=0.1, mask=decay_mask),
        Lion: lambda: optax.lion(0.01, o.b1, o.b2, weight_decay=0.1, mask=decay_mask),
        SGD: lambda: optax.chain(optax.add_decayed_weights(0.1, decay_mask), optax.sgd(0.01, momentum=o.momentum)),
    }
    assert_equal_trees(walk(o.build(10)), walk(theirs[kind]()))


def test_lamb_on_a_stack_equals_optax_on_the_layers_apart():
    lamb = LAMB(schedule=RATE, clip_norm=None, weight_decay=0.1)
    ours = walk(lamb.build(10))["layers"]["mlp"]["up"]["kernel"]
    apart = optax.lamb(0.01, lamb.b1, lamb.b2, lamb.epsilon, weight_decay=0.1)

    def kernels(seed):
        return dict(enumerate(tree(seed)["layers"]["mlp"]["up"]["kernel"]))

    params = kernels(0)
    state = apart.init(params)
    for step in range(3):
        updates, state = apart.update(kernels(step + 1), state, params)
        params = optax.apply_updates(params, updates)
    for layer, kernel in params.items():
        np.testing.assert_allclose(ours[layer], kernel, rtol=1e-5, atol=1e-6)


def test_lamb_leaves_biases_and_scales_to_adam():
    lamb, adam = LAMB(schedule=RATE, clip_norm=None), AdamW(schedule=RATE, clip_norm=None)
    for module, name in (("mlp.up", "bias"), ("norm", "scale")):
        a, b = (walk(optimizer.build(10))["layers"] for optimizer in (lamb, adam))
        for word in (*module.split("."), name):
            a, b = a[word], b[word]
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_lamb_leaves_a_weight_of_zeros_to_adam():
    params = {"kernel": jnp.zeros((2, 2))}
    transformation = LAMB(schedule=RATE).build(10)
    updates, _ = transformation.update({"kernel": jnp.ones((2, 2))}, transformation.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.01, rtol=1e-5)


@each
def test_clipping_is_by_the_norm_of_all_gradients_together(optimizer):
    clipped = dataclasses.replace(optimizer, clip_norm=1.0).build(10)
    norm = optax.tree.norm(tree(1))
    assert norm > 1
    scaled = walk(optimizer.build(10), steps=1, gradient_scale=float(1 / norm))
    assert_equal_trees(walk(clipped, steps=1), scaled, rtol=1e-4)


@each
def test_follows_its_schedule(optimizer):
    slow = dataclasses.replace(optimizer, schedule=Constant(peak=0.01, warmup_steps=4))
    moved, moved_slowly = (walk(o.build(10), steps=1) for o in (optimizer, slow))
    start = tree(0)
    assert_equal_trees(
        jax.tree.map(lambda a, b: (a - b) / 4, moved, start), jax.tree.map(jnp.subtract, moved_slowly, start), rtol=1e-2
    )


@each
def test_keeps_float32_and_the_structure(optimizer):
    params = jax.eval_shape(lambda: walk(optimizer.build(10), steps=1))
    assert jax.tree.structure(params) == jax.tree.structure(tree(0))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (AdamW, {"b2": 1.0}, r"b2=1.0 must lie in \[0, 1\)"),
        (AdamW, {"weight_decay": -1.0}, "weight_decay=-1.0 must be 0 or more"),
        (SGD, {"momentum": 2.0}, r"momentum=2.0 must lie in \[0, 1\)"),
        (Lion, {"clip_norm": 0.0}, "clip_norm=0.0 must be positive; None switches clipping off"),
    ],
)
def test_impossible_values_are_refused_with_the_remedy(kind, fields, words):
    with pytest.raises(ValueError, match=words):
        kind(**fields)
