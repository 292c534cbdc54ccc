"""Norms, activations and positions: laws that hold at any size."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.initializers import TruncatedNormal
from model.mlp import MLP, GatedMLP, PlainMLP, activate
from model.norms import LayerNorm, Norm, RMSNorm, layer_norm, rms_norm
from model.positions import sinusoids


def draw(*shape, seed=0, scale=1.0, mean=0.0):
    return jnp.asarray(np.random.default_rng(seed).normal(mean, scale, shape), jnp.float32)


@pytest.mark.parametrize("width", [2, 7, 64])
def test_layer_norm_leaves_no_mean_and_unit_variance(width):
    y = layer_norm(draw(3, 4, width, mean=5.0), jnp.ones(width), jnp.zeros(width))
    np.testing.assert_allclose(y.mean(-1), 0.0, atol=1e-5)
    np.testing.assert_allclose((y * y).mean(-1), 1.0, rtol=1e-4)


def test_layer_norm_ignores_shift_and_size_and_rms_norm_size_only():
    x, one, zero = draw(5, 16), jnp.ones(16), jnp.zeros(16)
    np.testing.assert_allclose(layer_norm(3.0 * x + 2.0, one, zero), layer_norm(x, one, zero), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rms_norm(3.0 * x, one), rms_norm(x, one), rtol=1e-4, atol=1e-5)
    assert jnp.abs(rms_norm(x + 2.0, one) - rms_norm(x, one)).max() > 0.1


def test_layer_norm_of_a_large_mean_does_not_cancel():
    """Mean of squares minus square of the mean would lose every digit here."""
    x = draw(4, 256)
    far = layer_norm(x + 3000.0, jnp.ones(256), jnp.zeros(256))
    np.testing.assert_allclose(far, layer_norm(x, jnp.ones(256), jnp.zeros(256)), atol=5e-3)


@pytest.mark.parametrize("choice", [LayerNorm(), RMSNorm()])
def test_statistics_are_float32_and_the_type_is_kept(choice):
    norm, x = Norm(512, choice), draw(3, 512, scale=30.0)
    half = norm(x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    exact = norm(x.astype(jnp.bfloat16).astype(jnp.float32))
    assert jnp.abs(half.astype(jnp.float32) - exact).max() < 0.02  # one rounding of the result, at most 4, and no more


def test_constant_rows_have_finite_gradients():
    for f in (lambda x: layer_norm(x, jnp.ones(4), jnp.zeros(4), 1e-12), lambda x: rms_norm(x, jnp.ones(4))):
        gradient = jax.grad(lambda x, f=f: (f(x) ** 2).sum())(jnp.zeros((2, 4)))
        assert jnp.isfinite(gradient).all()


def test_gelu_is_the_exact_form_and_its_approximation_is_near():
    x = jnp.linspace(-8, 8, 4001)
    exact = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in np.asarray(x)])
    np.testing.assert_allclose(activate(x, "gelu"), exact, atol=1e-6)
    assert 1e-5 < jnp.abs(activate(x, "gelu_tanh") - exact).max() < 1e-3


def test_mlps_against_plain_formulas():
    x = draw(2, 3, 6)
    plain, gated = (
        MLP(6, choice, draw=lambda *sizes: TruncatedNormal(0.5).draw(*sizes, 1), rngs=nnx.Rngs(0))
        for choice in (PlainMLP(10, "relu"), GatedMLP(10, "silu"))
    )
    expected = jax.nn.relu(x @ plain.up.kernel[...]) @ plain.down.kernel[...]
    np.testing.assert_allclose(plain(x), expected, rtol=1e-5, atol=1e-6)
    expected = (jax.nn.silu(x @ gated.gate.kernel[...]) * (x @ gated.up.kernel[...])) @ gated.down.kernel[...]
    np.testing.assert_allclose(gated(x), expected, rtol=1e-5, atol=1e-6)


def test_products_of_sinusoids_depend_on_distance_only():
    encoded = sinusoids(jnp.arange(40)[None], 32)[0]
    products = encoded @ encoded.T
    for distance in (0, 1, 7):
        diagonal = jnp.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0] * jnp.ones_like(diagonal), rtol=1e-4)
    with pytest.raises(ValueError, match="even width, not 7; use 6 or 8"):
        sinusoids(jnp.arange(4)[None], 7)
