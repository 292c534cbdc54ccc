"""Cross entropy: the definition, its gradient, and the hit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.cross_entropy import cross_entropy, cross_entropy_and_log_sum, is_highest, regularised


def reference(logits, targets):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits.astype(jnp.float32)), targets[..., None], -1)[..., 0]


def sample(shape, seed=0):
    draw = np.random.default_rng(seed)
    return jnp.asarray(draw.standard_normal(shape) * 3, jnp.float32), jnp.asarray(
        draw.integers(0, shape[-1], shape[:-1])
    )


@pytest.mark.parametrize("shape", [(1, 2), (3, 7), (2, 5, 31)])
def test_equals_reference_in_values_and_gradients(shape):
    logits, targets = sample(shape)
    weights = jnp.cos(jnp.arange(targets.size)).reshape(targets.shape)
    np.testing.assert_allclose(cross_entropy(logits, targets), reference(logits, targets), rtol=1e-5, atol=1e-6)
    found, expected = (
        jax.grad(lambda x, f=f: (f(x, targets) * weights).sum())(logits) for f in (cross_entropy, reference)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_derivative_works_forwards_and_under_vmap():
    logits, targets = sample((4, 9))
    _, slope = jax.jvp(lambda x: cross_entropy(x, targets), (logits,), (jnp.ones_like(logits),))
    np.testing.assert_allclose(slope, 0.0, atol=1e-5)  # moving every logit alike changes nothing
    each = jax.vmap(jax.grad(lambda x, t: cross_entropy(x, t)))(logits, targets)
    np.testing.assert_allclose(each, jax.nn.softmax(logits) - jax.nn.one_hot(targets, 9), atol=1e-6)


def test_uniform_logits_cost_log_v():
    np.testing.assert_allclose(cross_entropy(jnp.full((2, 100), 7.0), jnp.array([0, 99])), np.log(100), rtol=1e-6)


def test_huge_logits_stay_finite():
    logits = jnp.array([[1e30, -1e30, 0.0]])
    loss, gradient = jax.value_and_grad(lambda x: cross_entropy(x, jnp.array([0])).sum())(logits)
    assert loss == 0.0 and jnp.isfinite(gradient).all()


def test_half_precision_is_summed_in_float32():
    logits, targets = sample((2, 5000))
    half = cross_entropy(logits.astype(jnp.bfloat16), targets)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, reference(logits.astype(jnp.bfloat16), targets), rtol=1e-5)


def test_hit_is_the_arg_max():
    logits, targets = sample((50, 4))
    np.testing.assert_array_equal(is_highest(logits, targets), logits.argmax(-1) == targets)


@pytest.mark.parametrize(("z_loss", "label_smoothing"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.1), (0.3, 0.1)])
def test_z_loss_and_label_smoothing_equal_their_definition_in_values_and_gradients(z_loss, label_smoothing):
    logits, targets = sample((2, 5, 31))
    weights = jnp.cos(jnp.arange(targets.size)).reshape(targets.shape)

    def ours(logits):
        pair = cross_entropy_and_log_sum(logits, targets)
        return regularised(*pair, logits, z_loss=z_loss, label_smoothing=label_smoothing)

    def plain(logits):
        smooth = (1 - label_smoothing) * jax.nn.one_hot(targets, 31) + label_smoothing / 31
        cross = -(smooth * jax.nn.log_softmax(logits)).sum(-1)
        return cross + z_loss * jax.nn.logsumexp(logits, -1) ** 2

    np.testing.assert_allclose(ours(logits), plain(logits), rtol=1e-5, atol=1e-6)
    found, expected = (jax.grad(lambda x, f=f: (f(x) * weights).sum())(logits) for f in (ours, plain))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_log_sum_moves_with_the_likelihoods():
    logits, targets = sample((4, 9))
    gradient = jax.grad(lambda x: cross_entropy_and_log_sum(x, targets)[1].sum())(logits)
    np.testing.assert_allclose(gradient, jax.nn.softmax(logits), atol=1e-6)
