"""The attention module: self and cross, causal masks, heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.attention import Attention, MultiHead
from model.initializers import TruncatedNormal
from model.linear import Linear
from model.masks import causal_mask, segment_mask


def make(choice, width=12, **options):
    return Attention(
        width, choice, draw=lambda *sizes: TruncatedNormal(0.3).draw(*sizes, 1), rngs=nnx.Rngs(0), **options
    )


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_later_inputs_have_zero_gradient_under_a_causal_mask(kv_heads):
    layer, x = make(MultiHead(4, kv_heads)), draw(1, 6, 12)
    jacobian = jax.jit(jax.jacobian(lambda x: layer(x, causal_mask(6))[0].sum(-1)))(x)[:, 0]  # [T out, T in, D]
    seen = jnp.abs(jacobian).sum(-1) > 0
    np.testing.assert_array_equal(seen, np.tril(np.ones((6, 6), bool)))


def test_cross_attention_reads_the_source_only():
    layer = make(MultiHead(3), source_width=7)
    x, source = draw(2, 4, 12), draw(2, 5, 7, seed=1)
    mask = segment_mask(jnp.ones((2, 4), int), jnp.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]))
    mixed = layer(x, mask, source=source)
    assert mixed.shape == (2, 4, 12)
    np.testing.assert_array_equal(layer(x, mask, source=source.at[0, 3:].set(99.0)), mixed)
    order = jnp.array([4, 2, 0, 1, 3])
    np.testing.assert_allclose(layer(x, mask[..., order], source=source[:, order]), mixed, rtol=1e-5, atol=1e-6)


def test_self_attention_is_cross_attention_to_itself():
    layer, x = make(MultiHead(3)), draw(2, 4, 12)
    np.testing.assert_array_equal(layer(x), layer(x, source=x))


def test_grouped_heads_with_as_many_keys_are_multi_head():
    x = draw(2, 5, 12)
    grouped, plain = make(MultiHead(4, num_kv_heads=4)), make(MultiHead(4))
    np.testing.assert_array_equal(grouped(x), plain(x))


def test_head_size_apart_from_width():
    layer = make(MultiHead(3, head_size=5, bias=False))
    assert layer.query.kernel.shape == (12, 3, 5) and layer.out.kernel.shape == (3, 5, 12)
    assert layer.query.bias is None and layer(draw(1, 2, 12)).shape == (1, 2, 12)


def test_causal_mask_aligns_the_last_query_with_the_last_key():
    np.testing.assert_array_equal(causal_mask(2, 5)[0, 0], np.tri(5, dtype=bool)[3:])


@pytest.mark.parametrize(
    ("equation", "shape", "reference"),
    [("BTD,DNH->BTNH", (2, 3, 4), "btd,dnh->btnh"), ("BTNH,NHD->BTD", (2, 3, 5, 2), "btnh,nhd->btd")],
)
def test_linear_is_the_einsum_that_it_names(equation, shape, reference):
    layer = Linear(
        equation, {"D": 4, "N": 5, "H": 2}, initializer=TruncatedNormal(1.0).draw("input", 4, 5, 1), rngs=nnx.Rngs(0)
    )
    layer.bias[...] = draw(*layer.bias.shape)
    x = draw(*shape)
    bias = layer.bias[...].reshape((1,) * (x.ndim - layer.contracted) + layer.bias.shape)
    expected = jnp.einsum(reference, x, layer.kernel[...]) + bias
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_linear_refuses_what_it_cannot_fold():
    with pytest.raises(ValueError, match="summed axes must come last"):
        Linear(
            "BDT,DF->BTF", {"D": 4, "F": 5}, initializer=TruncatedNormal(1.0).draw("input", 4, 5, 1), rngs=nnx.Rngs(0)
        )
