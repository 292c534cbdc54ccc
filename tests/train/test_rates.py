"""Rates by layer: what is frozen does not move and costs nothing, and what is deep learns slowly."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.families import bert
from model.task_models import task_model
from train.rates import SiteError, Tuning, masked, scaled
from train.state import split_model

LAYERS = 4


@pytest.fixture(scope="module")
def params():
    """The parameters of a small encoder with a head."""
    config = bert.config("tiny", vocab_size=64, max_length=16, hidden_size=32, num_layers=LAYERS)
    return split_model(task_model("encoder", config, 3, "first", pooler=True, rngs=nnx.Rngs(0))).params


def moved(params, rates):
    """The updates of ones under the rates."""
    return scaled(jax.tree.map(jnp.ones_like, params), rates)


def test_nothing_asked_for_is_nothing_done(params):
    assert Tuning().rates(params) is None


def test_rates_fall_layer_by_layer(params):
    tuning = Tuning(layer_decay=0.5)
    found = moved(params, tuning.rates(params)(jnp.int32(0)))
    assert (found["classifier"]["kernel"] == 1).all() and (found["pooler"]["bias"] == 1).all()
    kernel = np.asarray(found["layers"]["mlp"]["up"]["kernel"])
    np.testing.assert_allclose(kernel[:, 0, 0], 0.5 ** np.arange(LAYERS, 0, -1))
    assert (kernel == kernel[:, :1, :1]).all()
    np.testing.assert_allclose(found["embeddings"]["tokens"]["embedding"], 0.5 ** (LAYERS + 1))


def test_what_is_frozen_has_neither_gradient_nor_update(params):
    rates = Tuning(freeze="embeddings, layers.[0-1], layers.3.mlp").rates(params)(jnp.int32(0))
    ones = jax.tree.map(jnp.ones_like, params)
    for found in (masked(ones, rates), scaled(ones, rates)):
        assert not np.asarray(found["embeddings"]["positions"]["embedding"]).any()
        query, up = (np.asarray(found["layers"][a][b]["kernel"]) for a, b in (("attention", "query"), ("mlp", "up")))
        assert query.any((1, 2, 3)).tolist() == [False, False, True, True]
        assert up.any((1, 2)).tolist() == [False, False, True, False]
        assert np.asarray(found["classifier"]["bias"]).all()


def test_layers_thaw_one_by_one_from_the_head_down(params):
    rates = Tuning(unfreeze_every=10).rates(params)

    def learning(step: int) -> list[bool]:
        found = moved(params, rates(jnp.int32(step)))
        layers = np.asarray(found["layers"]["mlp"]["up"]["bias"]).any(1).tolist()
        return [bool(np.asarray(found["embeddings"]["tokens"]["embedding"]).any()), *layers]

    assert np.asarray(moved(params, rates(jnp.int32(0)))["classifier"]["bias"]).all()
    assert learning(0) == [False] * 5
    assert learning(9) == [False] * 5
    assert learning(10) == [False, False, False, False, True]
    assert learning(39) == [False, False, True, True, True]
    assert learning(50) == [True] * 5


@pytest.mark.parametrize(
    ("freeze", "said"),
    [
        ("encoder.*", "no parameter is called 'encoder.*'; the nearest are"),
        ("layers.[7-9]", "no parameter is called"),
        ("*", "leaves nothing to learn"),
    ],
)
def test_patterns_that_mean_nothing_are_told(freeze, said, params):
    with pytest.raises(SiteError, match=re.escape(said)):
        Tuning(freeze=freeze).rates(params)


def test_the_optimizer_keeps_nothing_of_what_never_learns(params):
    import optax

    from train.optimizers import AdamW
    from train.state import learning

    state = optax.masked(AdamW().build(10), learning(Tuning(freeze="embeddings"))).init(params)
    kept = sum(leaf.size for leaf in jax.tree.leaves(state))
    frozen = sum(leaf.size for leaf in jax.tree.leaves(params["embeddings"]))
    whole = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert kept - 2 * (whole - frozen) in range(4)  # two moments a parameter, and counters
