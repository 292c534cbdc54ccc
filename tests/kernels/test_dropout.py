"""Dropout by hashing: the right share, no pattern, the same wherever an example stands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.dropout import dropout, fold, keep_mask, mix

EXAMPLES, VALUES = 64, 16_384


def keys(count, seed=0):
    return fold(jnp.full((count,), seed, jnp.uint32), jnp.arange(count, dtype=jnp.uint32))


def signs(*, rate=0.5, seed=0, examples=EXAMPLES, values=VALUES):
    """Masks as +1 and -1 around their mean, [examples, values], so that products measure dependence."""
    kept = np.asarray(keep_mask(keys(examples, seed), (examples, values), rate), np.float64)
    return (kept - (1 - rate)) / np.sqrt(rate * (1 - rate))


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_share_of_zeros(rate):
    kept = np.asarray(keep_mask(keys(EXAMPLES), (EXAMPLES, VALUES), rate))
    error = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs(kept.mean() - (1 - rate)) < 4 * error
    # Each example and each position alone as well, with the spread that chance gives and no less.
    for axis, size in ((1, VALUES), (0, EXAMPLES)):
        spread = kept.mean(axis).std() / np.sqrt(rate * (1 - rate) / size)
        assert 0.8 < spread < 1.25


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("distance", [1, 2, 3, 64, 128, 512, 4096])
def test_neighbouring_positions_are_independent(rate, distance):
    s = signs(rate=rate)
    assert abs((s[:, distance:] * s[:, :-distance]).mean()) < 4 / np.sqrt(s[:, distance:].size)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_examples_seeds_and_layers_are_independent(rate):
    s = signs(rate=rate)
    between = np.corrcoef(s)[np.triu_indices(EXAMPLES, 1)]
    assert np.abs(between).max() < 5.5 / np.sqrt(VALUES)  # 2,016 pairs
    assert abs((s * signs(rate=rate, seed=1)).mean()) < 4 / np.sqrt(s.size)
    masks = [np.asarray(keep_mask(fold(keys(EXAMPLES), layer), (EXAMPLES, VALUES), rate)) for layer in range(8)]
    between = np.corrcoef(np.reshape(masks, (8, -1)))[np.triu_indices(8, 1)]
    assert np.abs(between).max() < 4.5 / np.sqrt(EXAMPLES * VALUES)


@pytest.mark.parametrize("difference", [1, 2, 1 << 16, 0x9E3779B9])
def test_close_keys_are_not_shifted_copies(difference):
    """A weak construction gives the mask of key + d as that of key, moved by d, or with its index bits flipped."""
    both = jnp.array([123456789, (123456789 + difference) % 2**32], jnp.uint32)
    a, b = 2.0 * np.asarray(keep_mask(both, (2, VALUES), 0.5)) - 1
    circular = np.fft.ifft(np.fft.fft(a) * np.conj(np.fft.fft(b))).real / VALUES
    assert np.abs(circular).max() < 6 / np.sqrt(VALUES)
    flips = [abs((a * b[np.arange(VALUES) ^ (1 << bit)]).mean()) for bit in range(14)]
    assert max(flips) < 5 / np.sqrt(VALUES)


def test_bytes_pass_a_chi_squared_test():
    kept = np.asarray(keep_mask(keys(EXAMPLES), (EXAMPLES, VALUES), 0.5))
    counts = np.bincount(np.packbits(kept, axis=1).ravel(), minlength=256)
    expected = counts.sum() / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 4 * np.sqrt(2 * 255)


def test_mix_is_one_to_one():
    words = jnp.arange(1 << 16, dtype=jnp.uint32) * np.uint32(65_537)
    assert len(np.unique(np.asarray(mix(words)))) == 1 << 16


def test_a_mask_belongs_to_its_example():
    x = jnp.ones((4, 3, 5))
    key = keys(4)
    together = dropout(x, 0.3, key)
    order = jnp.array([2, 0, 3, 1])
    np.testing.assert_array_equal(dropout(x[order], 0.3, key[order]), together[order])
    np.testing.assert_array_equal(dropout(x[1:2], 0.3, key[1:2]), together[1:2])


def test_mean_stays_and_gradient_has_the_same_mask():
    x = jnp.full((EXAMPLES, VALUES), 2.0)
    y, gradient = jax.value_and_grad(lambda x: dropout(x, 0.1, keys(EXAMPLES)).sum())(x)
    np.testing.assert_allclose(y / x.sum(), 1.0, atol=1e-3)
    np.testing.assert_array_equal(gradient, dropout(jnp.ones_like(x), 0.1, keys(EXAMPLES)))


def test_off_means_nothing_in_the_graph():
    x = jnp.ones((2, 3))
    for rate, key in ((0.0, keys(2)), (0.1, None)):
        assert len(jax.make_jaxpr(lambda x, rate=rate, key=key: dropout(x, rate, key))(x).eqns) == 0


def test_type_is_kept():
    assert dropout(jnp.ones((2, 3), jnp.bfloat16), 0.1, keys(2)).dtype == jnp.bfloat16
