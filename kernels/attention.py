"""Scaled dot-product attention behind one door: the plain reference, and what is fast."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32

from kernels.dropout import dropout


def attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    mask: Bool[Array, "B _ T S"] | None = None,
    *,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    dropout_keys: UInt32[Array, " B"] | None = None,
    implementation: str = "auto",
) -> Float[Array, "B T N H"]:
    """Mix values by how well their keys match the query."""
    num_groups = query.shape[2] // key.shape[2]
    if num_groups > 1:
        key, value = (jnp.repeat(x, num_groups, axis=2) for x in (key, value))
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    query, key, value = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
    scores = jnp.einsum("BNTH,BNSH->BNTS", query * scale, key, preferred_element_type=jnp.float32)
    if mask is not None:
        scores = jnp.where(mask, scores, -1e30)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    weights = weights / weights.sum(-1, keepdims=True)
    if mask is not None:
        weights = jnp.where(mask, weights, 0.0)
    weights = dropout(weights, dropout_rate, dropout_keys).astype(value.dtype)
    return jnp.einsum("BNTS,BNSH->BNTH", weights, value).transpose(0, 2, 1, 3)
