"""Positions inside attention: what scores may depend on, and published values."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from model.attention import Window
from model.initializers import Mimetic
from model.masks import causal_mask, window_mask
from model.position_bias import alibi_bias, alibi_slopes, relative_buckets
from model.positions import RelativeBuckets, bucket_distances
from model.rotary import LinearScaling, Llama3Scaling, NTKScaling, Rotary, YaRN, frequencies, rotate, rotation

CHOICES = [
    Rotary(),
    Rotary(theta=500.0, fraction=0.5),
    Rotary(scaling=LinearScaling(4.0)),
    Rotary(scaling=NTKScaling(4.0)),
    Rotary(scaling=Llama3Scaling(8.0, 1.0, 4.0, 64)),
    Rotary(scaling=YaRN(4.0, 64)),
]


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_rotary_scores_depend_on_the_distance_only(choice):
    query, key = draw(1, 1, 2, 16), draw(1, 1, 2, 16, seed=1)

    def score(query_position, key_position):
        turned = [
            rotate(x, rotation(choice, jnp.array([[position]]), 16))
            for x, position in ((query, query_position), (key, key_position))
        ]
        return (turned[0] * turned[1]).sum(-1)

    np.testing.assert_allclose(score(5, 2), score(45, 42), rtol=1e-4, atol=1e-4)
    assert jnp.abs(score(5, 2) - score(5, 3)).max() > 1e-3


def test_rotation_is_a_complex_product_of_the_halves():
    x, positions = draw(2, 3, 1, 8), jnp.array([[0, 1, 2], [7, 8, 9]])
    rates, _ = frequencies(Rotary(), 8)
    pairs = np.asarray(x[..., :4]) + 1j * np.asarray(x[..., 4:])
    turned = pairs * np.exp(1j * np.asarray(positions)[:, :, None, None] * rates)
    expected = np.concatenate([turned.real, turned.imag], -1)
    np.testing.assert_allclose(rotate(x, rotation(Rotary(), positions, 8)), expected, rtol=1e-5, atol=1e-5)


def test_partial_rotary_leaves_the_other_channels_alone():
    x = draw(1, 4, 2, 16)
    turned = rotate(x, rotation(Rotary(fraction=0.25), jnp.arange(4)[None], 16))
    np.testing.assert_array_equal(turned[..., 4:], x[..., 4:])
    assert (turned[:, 1:, :, :4] != x[:, 1:, :, :4]).all()


def test_scaling_of_frequencies():
    plain, _ = frequencies(Rotary(), 64)
    np.testing.assert_allclose(frequencies(Rotary(scaling=LinearScaling(4.0)), 64)[0], plain / 4)
    ntk = frequencies(Rotary(scaling=NTKScaling(4.0)), 64)[0]
    assert ntk[0] == plain[0] and ntk[-1] == pytest.approx(plain[-1] / 4)
    # Llama 3: wavelengths under original / 4 stay, those above original / 1 are divided by the factor, monotone between.
    choice = Llama3Scaling(8.0, 1.0, 4.0, 256)
    scaled, waves = frequencies(Rotary(scaling=choice), 64)[0], 2 * math.pi / plain
    np.testing.assert_allclose(scaled[waves < 64], plain[waves < 64])
    np.testing.assert_allclose(scaled[waves > 256], plain[waves > 256] / 8)
    assert (np.diff(scaled) < 0).all()
    yarn, factor = frequencies(Rotary(scaling=YaRN(4.0, 256)), 64)
    assert yarn[0] == plain[0] and yarn[-1] == pytest.approx(plain[-1] / 4)
    assert factor == pytest.approx(0.1 * math.log(4) + 1)


def test_alibi_slopes_are_the_published_ones():
    np.testing.assert_allclose(alibi_slopes(8), [2.0**-n for n in range(1, 9)])
    twelve = alibi_slopes(12)
    np.testing.assert_allclose(twelve[:8], alibi_slopes(8))
    np.testing.assert_allclose(twelve[8:], [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])
    bias = alibi_bias(jnp.array([[3]]), jnp.array([[1, 2, 3, 4]]), 8)
    np.testing.assert_allclose(bias[0, 0, 0], [-1.0, -0.5, 0.0, -0.5])


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_against_a_plain_loop(bidirectional):
    choice = RelativeBuckets(32, 128)

    def bucket(distance):
        number, half = 0, 32
        if bidirectional:
            half //= 2
            number = half if distance > 0 else 0
            distance = abs(distance)
        else:
            distance = max(-distance, 0)
        if distance < half // 2:
            return number + distance
        grown = half // 2 + int(
            np.float32(np.log(np.float32(distance) / np.float32(half // 2)))
            / np.float32(math.log(128 / (half // 2)))
            * np.float32(half - half // 2)
        )
        return number + min(grown, half - 1)

    distances = np.arange(-300, 301)
    found = np.asarray(relative_buckets(jnp.asarray(distances), choice, bidirectional))
    np.testing.assert_array_equal(found, [bucket(int(d)) for d in distances])


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("choice", [RelativeBuckets(), RelativeBuckets(8, 32), RelativeBuckets(64, 200)], ids=str)
def test_a_bucket_begins_at_its_distance(choice, bidirectional):
    begins = bucket_distances(choice, bidirectional)
    ahead = np.arange(choice.num_buckets) >= choice.num_buckets // 2 if bidirectional else np.zeros(len(begins), bool)
    used = ~((begins == 0) & ahead)  # a token is not ahead of itself
    signed = jnp.asarray(np.where(ahead, begins, -begins)[used])
    np.testing.assert_array_equal(relative_buckets(signed, choice, bidirectional), np.arange(choice.num_buckets)[used])
    nearer = jnp.asarray(np.where(ahead, begins - 1, 1 - begins)[used & (begins > 1)])
    assert (relative_buckets(nearer, choice, bidirectional) < np.arange(choice.num_buckets)[used & (begins > 1)]).all()


def test_a_single_head_looks_both_ways():
    table = Mimetic(64).relative_bias(RelativeBuckets(), True)(None, (32, 1), jnp.float32)
    np.testing.assert_array_equal(table[1:16], table[17:])


def test_windows():
    positions = jnp.arange(5)[None]
    np.testing.assert_array_equal(
        (window_mask(positions, positions, 2, True) & causal_mask(5))[0, 0],
        np.tri(5, dtype=bool) & ~np.tri(5, k=-2, dtype=bool),
    )
    both = np.abs(np.subtract.outer(np.arange(5), np.arange(5))) <= 1
    np.testing.assert_array_equal(window_mask(positions, positions, 2, False)[0, 0], both)
    assert Window(4, ("local", "local", "global")).is_local(7) == [True, True, False] * 2 + [True]


def test_errors_say_the_remedy():
    with pytest.raises(ValueError, match="even number"):
        frequencies(Rotary(fraction=0.5), 6)
    with pytest.raises(ValueError, match=r"max_distance=8 must be more than half of num_buckets=32"):
        RelativeBuckets(32, 8)
    with pytest.raises(ValueError, match=r"factor=0\.5 must be 1 or more"):
        Rotary(scaling=LinearScaling(0.5))
    with pytest.raises(ValueError, match="words local and global"):
        Window(4, ())
