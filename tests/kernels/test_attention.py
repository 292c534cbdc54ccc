"""Attention: every implementation equals the reference, in values and gradients, at ragged sizes."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import chunks
from kernels.attention import (
    attention,
    chunked_attention,
    cudnn_obstacle,
    masked_softmax,
    reference_attention,
    xla_attention,
)

SHAPES = [  # B, T, S, N, K, H
    (1, 1, 1, 1, 1, 2),
    (2, 5, 5, 4, 4, 3),
    (2, 7, 3, 6, 2, 8),  # cross, grouped
    (3, 4, 9, 4, 1, 5),  # one key head
]


def inputs(shape, dtype=jnp.float32, seed=0):
    batch, length, source, heads, kv_heads, size = shape
    draw = np.random.default_rng(seed)
    sizes = ((length, heads), (source, kv_heads), (source, kv_heads))
    query, key, value = (jnp.asarray(draw.standard_normal((batch, t, n, size)), dtype) for t, n in sizes)
    mask = draw.random((batch, 1, length, source)) < 0.7
    mask[0, 0, 0] = False  # a query that may see nothing
    return query, key, value, jnp.asarray(mask)


def total_and_gradients(implementation, query, key, value, mask, **options):
    def total(query, key, value):
        mixed = implementation(query, key, value, mask, **options)
        return (mixed.astype(jnp.float32) * jnp.cos(jnp.arange(mixed.size)).reshape(mixed.shape)).sum(), mixed

    return jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(query, key, value)


@pytest.mark.parametrize(("shape", "drops", "masked"), list(itertools.product(SHAPES, (False, True), (False, True))))
def test_xla_equals_reference(shape, drops, masked):
    query, key, value, mask = inputs(shape)
    keys = jnp.arange(shape[0], dtype=jnp.uint32) if drops else None
    options = {"scale": 0.3, "dropout_rate": 0.25, "dropout_keys": keys}
    expected, found = (
        total_and_gradients(f, query, key, value, mask if masked else None, **options)
        for f in (reference_attention, xla_attention)
    )
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("drops", "shaped"), list(itertools.product((False, True), (False, True))))
def test_chunks_change_nothing(drops, shaped, monkeypatch):
    """Values and gradients, of what is shared by all examples too; dropout falls where it fell."""
    monkeypatch.setattr(chunks, "CHUNK", 1)
    query, key, value, mask = inputs((6, 5, 9, 4, 2, 3))
    draw = np.random.default_rng(1)
    shaping = {
        "bias": jnp.asarray(draw.normal(size=(1, 4, 5, 9)), jnp.float32),
        "sinks": jnp.asarray(draw.normal(size=4), jnp.float32),
    }
    shaping = shaping if shaped else {}
    keys = jnp.arange(6, dtype=jnp.uint32) if drops else None

    def total(implementation, mask, arrays):
        mixed = implementation(*arrays["qkv"], mask, 0.3, 0.25, keys, **arrays["shaping"])
        return (mixed * jnp.cos(jnp.arange(mixed.size)).reshape(mixed.shape)).sum(), mixed

    arrays = {"qkv": (query, key, value), "shaping": shaping}
    for seen in (mask, mask[:1], None):
        expected, found = (
            jax.jit(jax.grad(partial(total, f, seen), has_aux=True))(arrays) for f in (xla_attention, chunked_attention)
        )
        jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-6), expected, found)


def test_on_a_cpu_no_array_of_all_weights_exists(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 1)
    query, key, value, mask = inputs((6, 5, 9, 4, 4, 3))

    def text(implementation):
        def total(*arrays):
            return attention(*arrays, mask, implementation=implementation).sum()

        return jax.jit(jax.grad(total, argnums=(0, 1, 2))).lower(query, key, value).as_text()

    assert "6x4x5x9xf32" in text("xla") and "6x4x5x9xf32" not in text("auto") and "2x4x5x9xf32" in text("auto")
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    with jax.set_mesh(mesh):  # the examples may lie on several devices, which a loop over them would gather
        assert "6x4x5x9xf32" in text("auto")


def test_half_precision_keeps_float32_weights():
    query, key, value, mask = inputs((2, 6, 40, 4, 2, 8))
    exact = attention(query, key, value, mask)
    half = attention(*(x.astype(jnp.bfloat16) for x in (query, key, value)), mask)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), exact, atol=0.03)
    scores = jnp.full((1, 1, 1, 4096), 1.0)  # 4096 equal weights: in bfloat16 their sum would stop growing at 256
    np.testing.assert_allclose(masked_softmax(scores, None).sum(), 1.0, rtol=1e-5)


def test_nothing_to_see_gives_zeros_and_no_nan():
    query, key, value, mask = inputs((2, 5, 5, 4, 4, 3))
    gradients, mixed = total_and_gradients(attention, query, key, value, mask)
    assert (mixed[0, 0] == 0).all() and (gradients[0][0, 0] == 0).all()
    hidden, _ = total_and_gradients(attention, query, key, value, jnp.zeros_like(mask))
    assert all((g == 0).all() for g in hidden)
    assert all(jnp.isfinite(g).all() for g in gradients)


def test_order_of_keys_does_not_matter():
    query, key, value, mask = inputs((2, 4, 9, 4, 2, 5))
    order = jnp.asarray(np.random.default_rng(1).permutation(9))
    mixed = attention(query, key[:, order], value[:, order], mask[..., order])
    np.testing.assert_allclose(mixed, attention(query, key, value, mask), rtol=1e-5, atol=1e-6)


def test_what_the_mask_hides_cannot_matter():
    query, key, value, mask = inputs((2, 4, 9, 4, 2, 5))
    mask = mask & (jnp.arange(9) < 6)[None, None, None, :]
    other_key, other_value = (x.at[:, 6:].set(1e6) for x in (key, value))
    np.testing.assert_array_equal(attention(query, other_key, other_value, mask), attention(query, key, value, mask))


def test_grouped_heads_equal_repeated_keys():
    query, key, value, mask = inputs((2, 5, 5, 6, 2, 4))
    repeated = attention(query, jnp.repeat(key, 3, axis=2), jnp.repeat(value, 3, axis=2), mask)
    np.testing.assert_allclose(attention(query, key, value, mask), repeated, rtol=1e-5, atol=1e-6)


def test_huge_scores_stay_finite():
    query, key, value, mask = inputs((1, 3, 3, 2, 2, 4))
    gradients, mixed = total_and_gradients(attention, query * 1e15, key * 1e15, value, mask)
    assert jnp.isfinite(mixed).all() and all(jnp.isfinite(g).all() for g in gradients[2:])


def test_errors_say_what_is_wrong():
    query, key, value, mask = inputs((1, 3, 3, 4, 4, 4))
    with pytest.raises(ValueError, match="4 query heads are not a multiple of 3 key heads"):
        attention(query, key[:, :, :3], value[:, :, :3], mask)
    with pytest.raises(ValueError, match='"cudnn" is not possible: it needs an NVIDIA device'):
        attention(query, key, value, mask, implementation="cudnn")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (("cpu", "bfloat16", 64, False), "NVIDIA"),
        (("gpu", "float32", 64, False), "bfloat16"),
        (("gpu", "bfloat16", 60, False), "heads"),
        (("gpu", "bfloat16", 64, True), "dropout"),
    ],
)
def test_cudnn_obstacles(call, reason):
    assert reason in cudnn_obstacle(*call)


def test_cudnn_serves_what_it_can():
    assert cudnn_obstacle("gpu", "bfloat16", 64, False) is None


@pytest.mark.parametrize(
    "shaping", [{"bias": 1}, {"soft_cap": 2.0}, {"sinks": 1}, {"bias": 1, "soft_cap": 2.0, "sinks": 1}], ids=str
)
def test_shaped_scores_equal_the_definition_in_values_and_gradients(shaping):
    draw = np.random.default_rng(0)
    query, key, value = (jnp.asarray(draw.standard_normal((2, 5, heads, 4)), jnp.float32) for heads in (4, 2, 2))
    mask = jnp.asarray(draw.random((2, 1, 5, 5)) < 0.7)
    arrays = {"bias": draw.standard_normal((1, 4, 5, 5)), "sinks": draw.standard_normal(4)}
    shaping = {name: jnp.asarray(arrays[name], jnp.float32) if name in arrays else cap for name, cap in shaping.items()}
    traced = {name: value for name, value in shaping.items() if name != "soft_cap"}

    def total(implementation, query, key, value, traced):
        mixed = attention(query, key, value, mask, implementation=implementation, **(shaping | traced))
        return (mixed * jnp.cos(jnp.arange(mixed.size)).reshape(mixed.shape)).sum()

    results = [
        jax.value_and_grad(partial(total, implementation), argnums=(0, 1, 2, 3))(query, key, value, traced)
        for implementation in ("reference", "xla")
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), *results)


def test_a_sink_is_a_key_without_a_value():
    draw = np.random.default_rng(1)
    query, key, value = (jnp.asarray(draw.standard_normal((1, 3, 1, 4)), jnp.float32) for _ in range(3))
    with_sink = attention(query, key, value, sinks=jnp.zeros(1))
    more = [jnp.concatenate([x, jnp.zeros((1, 1, 1, 4))], 1) for x in (key, value)]
    np.testing.assert_allclose(with_sink, attention(query, *more), rtol=1e-5, atol=1e-6)
