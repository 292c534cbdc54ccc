"""Scaled dot-product attention behind one door: the plain reference, and what is fast on the device at hand.

    weights = softmax(cap(query key^T * scale) + bias)   over the keys that the mask allows
    y = dropout(weights) value

`cap` is c tanh(x / c) where a soft cap is set (Gemma 2, arXiv:2408.00118, section 2), `bias` what positions add to the scores,
and `sinks` one more learned score a head that takes part in the softmax and has no value, so that a head may look nowhere
(Xiao et al., arXiv:2309.17453, section 3.3, "softmax-off-by-one" with a learned offset).

Reference: Vaswani et al., arXiv:1706.03762, section 3.2.1. Grouped keys (fewer heads of keys than of queries): Ainslie et
al., arXiv:2305.13245. A query that may attend to nothing (padding) gives zeros, and zero gradients, never NaN.
"""

import functools
import logging
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32

from kernels.chunks import can_chunk, chunk_size, in_chunks
from kernels.cudnn import cudnn_attention, cudnn_obstacle
from kernels.dropout import dropout

Implementation = Literal["auto", "reference", "xla", "chunked", "cudnn"]
LOWEST = -1e30  # below any score, yet finite: infinity minus infinity would be NaN

logger = logging.getLogger(__name__)


def reference_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    mask: Bool[Array, "#B #N #T S"] | None,
    scale: float,
    dropout_rate: float = 0.0,
    dropout_keys: UInt32[Array, " B"] | None = None,
    *,
    bias: Float[Array, "#B #N T S"] | None = None,
    soft_cap: float | None = None,
    sinks: Float[Array, " N"] | None = None,
) -> Float[Array, "B T N H"]:
    """The definition, as plainly as it can be written; scores and softmax in float32."""
    groups = query.shape[2] // key.shape[2]
    key, value = jnp.repeat(key, groups, axis=2), jnp.repeat(value, groups, axis=2)
    scores = jnp.einsum("BTNH,BSNH->BNTS", query, key, preferred_element_type=jnp.float32) * scale
    weights = masked_softmax(shape_scores(scores, bias, soft_cap), mask, sinks)
    weights = dropout(weights, dropout_rate, dropout_keys)
    return jnp.einsum("BNTS,BSNH->BTNH", weights.astype(value.dtype), value)


def shape_scores(
    scores: Float[Array, "B N T S"], bias: Float[Array, "#B #N T S"] | None, soft_cap: float | None
) -> Float[Array, "B N T S"]:
    """Cap scaled scores softly, then add the bias; nothing is added to the graph for what is None.

    >>> shape_scores(jnp.full((1, 1, 1, 1), 8.0), None, 4.0).round(1)
    Array([[[[3.9]]]], dtype=float32)
    """
    if soft_cap is not None:
        scores = soft_cap * jnp.tanh(scores / soft_cap)
    return scores if bias is None else scores + bias.astype(scores.dtype)


def masked_softmax(
    scores: Float[Array, "B N T S"],
    mask: Bool[Array, "#B #N #T S"] | None,
    sinks: Float[Array, " N"] | None = None,
) -> Float[Array, "B N T S"]:
    """Softmax over the last axis of float32 scores, where the mask is True; a row without any True is all zero.

    With `sinks` each row has one more score, whose weight is not returned: rows sum to less than one.

    >>> masked_softmax(jnp.zeros((1, 1, 2, 2)), jnp.array([[[[True, False], [False, False]]]]))[0, 0]
    Array([[1., 0.],
           [0., 0.]], dtype=float32)
    >>> masked_softmax(jnp.zeros((1, 1, 1, 3)), None, sinks=jnp.zeros(1))[0, 0]
    Array([[0.25, 0.25, 0.25]], dtype=float32)
    """
    if mask is not None:
        scores = jnp.where(mask, scores, LOWEST)
    highest = scores.max(-1, keepdims=True)
    if sinks is not None:
        sinks = sinks.astype(scores.dtype)[None, :, None, None]
        highest = jnp.maximum(highest, sinks)
    highest = jax.lax.stop_gradient(highest)
    weights = jnp.exp(scores - highest)
    total = weights.sum(-1, keepdims=True)
    if sinks is not None:
        total = total + jnp.exp(sinks - highest)
    weights = weights / total
    return weights if mask is None else jnp.where(mask, weights, 0.0)


def attention_scores(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    scale: float,
    *,
    bias: Float[Array, "#B #N T S"] | None = None,
    soft_cap: float | None = None,
) -> Float[Array, "B N T S"]:
    """What the softmax of attention sees, masks aside, in float32: beside a kernel that never holds it.

    >>> attention_scores(jnp.ones((1, 2, 1, 4)), jnp.ones((1, 3, 1, 4)), 0.5).shape
    (1, 1, 2, 3)
    """
    return shape_scores(_scores(query, key.transpose(0, 2, 1, 3)) * scale, bias, soft_cap)


def mix_values(weights: Float[Array, "B N T S"], value: Float[Array, "B S K H"]) -> Float[Array, "B T N H"]:
    """The second half of attention: values summed by weights that are given.

    >>> mix_values(jnp.ones((1, 2, 1, 3)) / 3, jnp.ones((1, 3, 1, 4))).shape
    (1, 1, 2, 4)
    """
    return _mix(weights.astype(value.dtype), value.transpose(0, 2, 1, 3))


def xla_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    mask: Bool[Array, "#B #N #T S"] | None,
    scale: float,
    dropout_rate: float = 0.0,
    dropout_keys: UInt32[Array, " B"] | None = None,
    **shaping,
) -> Float[Array, "B T N H"]:
    """The same with heads brought to the front first, and keys never repeated.

    On a CPU the batched products on [B, N, T, H] run two to three times as fast as einsums that leave the heads inside.
    The chain rule's own backward pass was the fastest measured: recomputing the weights from a log-sum-exp, and forming
    transposed scores to spare the transposed products, both cost more.
    """
    key, value = key.transpose(0, 2, 1, 3), value.transpose(0, 2, 1, 3)
    return heads_first_attention(query, key, value, mask, scale, dropout_rate, dropout_keys, **shaping)


def heads_first_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B K S H"],
    value: Float[Array, "B K S H"],
    mask: Bool[Array, "#B #N #T S"] | None,
    scale: float,
    dropout_rate: float = 0.0,
    dropout_keys: UInt32[Array, " B"] | None = None,
    *,
    bias: Float[Array, "#B #N T S"] | None = None,
    soft_cap: float | None = None,
    sinks: Float[Array, " N"] | None = None,
) -> Float[Array, "B T N H"]:
    """Attention over keys and values that lie heads first already, as a cache of them does."""
    weights = masked_softmax(shape_scores(_scores(query, key) * scale, bias, soft_cap), mask, sinks)
    return _mix(dropout(weights, dropout_rate, dropout_keys).astype(value.dtype), value)


def _scores(query: Float[Array, "B T N H"], key: Float[Array, "B K S H"]) -> Float[Array, "B N T S"]:
    """Products of queries and keys; a group of query heads reads its key as one longer sequence."""
    (batch, length, heads, size), kv_heads = query.shape, key.shape[1]
    query = query.reshape(batch, length, kv_heads, heads // kv_heads, size).transpose(0, 2, 3, 1, 4)
    query = query.reshape(batch, kv_heads, -1, size)
    scores = jnp.einsum("BKTH,BKSH->BKTS", query, key, preferred_element_type=jnp.float32)
    return scores.reshape(batch, heads, length, -1)


def _mix(weights: Float[Array, "B N T S"], value: Float[Array, "B K S H"]) -> Float[Array, "B T N H"]:
    """Values summed by weights, heads first on the way."""
    batch, heads, length, source = weights.shape
    mixed = jnp.einsum("BKTS,BKSH->BKTH", weights.reshape(batch, value.shape[1], -1, source), value)
    return mixed.reshape(batch, heads, length, -1).transpose(0, 2, 1, 3)


def chunked_attention(
    query, key, value, mask, scale, dropout_rate=0.0, dropout_keys=None, *, bias=None, soft_cap=None, sinks=None
) -> Float[Array, "B T N H"]:
    """The same for a few examples at a time, their weights made again on the way back (kernels/chunks.py).

    What it saves on a CPU is memory, and with it the page faults of large temporaries: `python -m experiments.bench attention`
    compares it with `xla_attention` with freed memory kept, as in training, where little is left of that.
    """
    size = chunk_of(query, key)
    options = {"soft_cap": soft_cap, "sinks": sinks}
    if size is None:
        return xla_attention(query, key, value, mask, scale, dropout_rate, dropout_keys, bias=bias, **options)

    def some(query, key, value, mask, bias, keys):
        return xla_attention(query, key, value, mask, scale, dropout_rate, keys, bias=bias, **options)

    return in_chunks(some, size, query.shape[0], query, key, value, mask, bias, dropout_keys)


def chunk_of(query: Float[Array, "B T N H"], key: Float[Array, "B S K H"]) -> int | None:
    """Examples whose float32 weights are made at once; None where there is nothing to be had by chunks."""
    batch, length, heads, _ = query.shape
    return chunk_size(batch, 4 * heads * length * key.shape[1])


IMPLEMENTATIONS = {
    "reference": reference_attention,
    "xla": xla_attention,
    "chunked": chunked_attention,
    "cudnn": cudnn_attention,
}


def attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    mask: Bool[Array, "#B #N #T S"] | None = None,
    *,
    scale: float | None = None,
    bias: Float[Array, "#B #N T S"] | None = None,
    soft_cap: float | None = None,
    sinks: Float[Array, " N"] | None = None,
    dropout_rate: float = 0.0,
    dropout_keys: UInt32[Array, " B"] | None = None,
    implementation: Implementation = "auto",
) -> Float[Array, "B T N H"]:
    """Mix values by how well their keys match each query.

    `mask` is True where a query may attend, its first three axes broadcast; `scale` defaults to 1 / sqrt(H); `bias`,
    `soft_cap` and `sinks` shape the scores as above; dropout acts on the weights, by one key an example, and is off where
    `dropout_keys` is None. "auto" takes cuDNN where it can do what the call needs, chunks on a CPU, and XLA elsewhere; what
    was taken is logged once. An implementation that is asked for by name and cannot do the call, or heads that do not
    divide, raise ValueError.

    >>> one = jnp.ones((1, 3, 2, 4))
    >>> attention(one, one[:, :, :1], one[:, :, :1], jnp.ones((1, 1, 3, 3), bool)).shape
    (1, 3, 2, 4)
    """
    if query.shape[2] % key.shape[2]:
        raise ValueError(f"{query.shape[2]} query heads are not a multiple of {key.shape[2]} key heads")
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    drops = dropout_keys is not None and dropout_rate > 0.0
    shaped = soft_cap is not None or sinks is not None
    obstacle = cudnn_obstacle(jax.default_backend(), str(query.dtype), query.shape[-1], drops, shaped)
    if implementation == "cudnn" and obstacle:
        raise ValueError(f'attention by "cudnn" is not possible: {obstacle}; use "xla" or "auto"')
    chosen = implementation
    if implementation == "auto":
        chunks = can_chunk(jax.default_backend()) and chunk_of(query, key) is not None
        chosen = "cudnn" if not obstacle else "chunked" if chunks else "xla"
    say_once(chosen, obstacle if implementation == "auto" else None)
    shaping = {"bias": bias, "soft_cap": soft_cap, "sinks": sinks}
    return IMPLEMENTATIONS[chosen](query, key, value, mask, scale, dropout_rate, dropout_keys, **shaping)


@functools.cache
def say_once(chosen: str, obstacle: str | None) -> None:
    """Log which implementation runs, and why not cuDNN; once for each answer."""
    logger.info("attention runs by %s%s", chosen, f" (cuDNN: {obstacle})" if obstacle else "")
