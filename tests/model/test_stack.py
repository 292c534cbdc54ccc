"""Scan, unrolled and recomputed: the same parameters, the same values, the same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.attention import MultiHead
from model.encoder import MaskedLanguageModel
from model.initializers import TruncatedNormal
from model.stack import Stack

CHOICES = [
    Stack("unroll"),
    Stack("scan", "nothing_saveable"),
    Stack("scan", "dots_saveable"),
    pytest.param(Stack("unroll", "dots_with_no_batch_dims_saveable"), marks=pytest.mark.slow),
]


DROPPING = {"dropout_rate": 0.1, "attention": MultiHead(4, dropout_rate=0.1)}


def hidden_and_gradients(model, batch):
    graph, params = nnx.split(model)

    def total(params):
        hidden = nnx.merge(graph, params)(*batch, dropout_keys=jnp.arange(3, dtype=jnp.uint32))
        return (hidden * jnp.cos(jnp.arange(hidden.size)).reshape(hidden.shape)).sum(), hidden

    gradients, hidden = jax.jit(jax.grad(total, has_aux=True))(params)
    return hidden, nnx.to_pure_dict(gradients)


@pytest.fixture(scope="module")
def expected(batch, make_model, tiny):
    return hidden_and_gradients(make_model(tiny(**DROPPING)), batch)


@pytest.mark.parametrize("stack", CHOICES, ids=str)
def test_every_way_gives_the_same(stack, batch, expected, tiny, make_model):
    found = hidden_and_gradients(make_model(tiny(**DROPPING, stack=stack)), batch)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_initial_values_depend_on_the_seed_only(tiny):
    states = [
        nnx.to_pure_dict(nnx.state(MaskedLanguageModel(tiny(stack=stack), rngs=nnx.Rngs(seed))))
        for stack, seed in ((Stack("scan"), 0), (Stack("unroll"), 0), (Stack("scan"), 1))
    ]
    jax.tree.map(np.testing.assert_array_equal, states[0], states[1])
    kernels = [state["layers"]["mlp"]["up"]["kernel"] for state in states]
    assert (kernels[0] != kernels[2]).mean() > 0.99
    assert (kernels[0][0] != kernels[0][1]).mean() > 0.99  # and every layer has its own


def test_initial_values_are_as_published(tiny):
    state = nnx.to_pure_dict(nnx.state(MaskedLanguageModel(tiny(initializer=TruncatedNormal(0.02)), rngs=nnx.Rngs(0))))
    kernel = state["layers"]["mlp"]["up"]["kernel"]
    assert jnp.abs(kernel).max() <= 0.04 + 1e-6 and 0.016 < kernel.std() < 0.019  # 0.88 of 0.02
    assert (state["layers"]["mlp"]["up"]["bias"] == 0).all() and (state["layers"]["mlp_norm"]["scale"] == 1).all()


def test_scan_compiles_one_block(tiny):
    def size(layers, loop):
        graph, params = nnx.split(MaskedLanguageModel(tiny(num_layers=layers, stack=Stack(loop)), rngs=nnx.Rngs(0)))
        ids = jnp.zeros((1, 4), jnp.int32)
        return len(jax.jit(lambda p: nnx.merge(graph, p)(ids, ids, ids)).lower(params).as_text())

    assert size(8, "scan") < 1.1 * size(2, "scan") and size(8, "unroll") > 1.3 * size(2, "unroll")


def test_remat_holds_less(batch, tiny, make_model):
    """At many layers, recomputing blocks from their inputs needs less temporary memory than keeping all of them."""

    def temporary(remat):
        wide = tiny(num_layers=6, stack=Stack("scan", remat))
        graph, params = nnx.split(make_model(wide))
        ids = tuple(jnp.zeros((8, 32), jnp.int32) for _ in range(4))
        gradient = jax.jit(jax.grad(lambda p: nnx.merge(graph, p)(*ids).sum()))
        return gradient.lower(params).compile().memory_analysis().temp_size_in_bytes

    assert temporary("nothing_saveable") < 0.6 * temporary(None)
