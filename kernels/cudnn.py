"""Attention by cuDNN's fused kernel, and what it cannot do."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def cudnn_attention(
    query, key, value, mask, scale, dropout_rate=0.0, dropout_keys=None, *, bias=None, soft_cap=None, sinks=None
) -> Float[Array, "B T N H"]:
    """cuDNN's fused kernel, which never holds the weights: half precision, no dropout of ours, no cap and no sinks."""
    bias = None if bias is None else bias.astype(query.dtype)
    mixed = jax.nn.dot_product_attention(query, key, value, bias, mask=mask, scale=scale, implementation="cudnn")
    return mixed if mask is None else jnp.where(mask.any(-1).swapaxes(1, 2)[..., None], mixed, 0.0)


def cudnn_obstacle(backend: str, dtype: str, head_size: int, drops: bool, shaped: bool = False) -> str | None:
    """Why cuDNN's kernel cannot serve a call; None where it can.

    >>> cudnn_obstacle("gpu", "bfloat16", 64, drops=True)
    'its dropout draws masks that depend on the mesh'
    """
    if backend not in ("gpu", "cuda"):
        return f"it needs an NVIDIA device, not {backend}"
    if dtype not in ("bfloat16", "float16"):
        return f"it needs bfloat16 or float16, not {dtype}"
    if head_size % 8 or head_size > 128:
        return f"it needs heads of a multiple of 8 up to 128, not {head_size}"
    if shaped:
        return "it has neither a soft cap nor sinks"
    return "its dropout draws masks that depend on the mesh" if drops else None
