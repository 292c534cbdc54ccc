"""What an answer owes to each token, and to each head: gradients, integrated gradients, head importance."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from model.capture import Change
from model.encoder_decoder import EncoderDecoder
from model.inspection.calls import Inputs, Metrics, gradients


def embeddings_site(model: nnx.Module) -> str:
    """Where tokens enter the stack; of an encoder-decoder, the source's."""
    return "encoder.embeddings.output" if isinstance(model, EncoderDecoder) else "embeddings.output"


def input_gradients(model: nnx.Module, inputs: Inputs, metric: Metrics) -> Float[np.ndarray, "B T"]:
    """gradient * input: sum over features of x d metric / d x, x what enters the first layer (arXiv:1605.01713)."""
    site = embeddings_site(model)
    _, here, slopes = gradients(model, inputs, metric, [site])
    return np.asarray((here[site] * slopes[site]).sum(-1), np.float32)


def integrated_gradients(
    model: nnx.Module,
    inputs: Inputs,
    metric: Metrics,
    *,
    baseline: Float[np.ndarray, "B T D"] | None = None,
    steps: int = 64,
) -> Float[np.ndarray, "B T"]:
    """(x - x') * the mean gradient on the straight way from a baseline x' to x, by token (Sundararajan et al., arXiv:1703.01365).

    The sum over tokens is the metric at x less the metric at x', up to the error of `steps` midpoints. The baseline is what
    enters the first layer, [B T D] or broadcast to it; None: zeros.
    """
    site = embeddings_site(model)
    _, here, _ = gradients(model, inputs, metric, [site])
    x = here[site]
    start = jnp.zeros_like(x) if baseline is None else jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape)
    total = jnp.zeros_like(x)
    for number in range(steps):
        point = start + (number + 0.5) / steps * (x - start)
        _, _, slopes = gradients(model, inputs, metric, [site], [(site, "set")], [Change(jnp.ones((), bool), point)])
        total = total + slopes[site]
    return np.asarray(((x - start) * total / steps).sum(-1), np.float32)


def head_importance(
    model: nnx.Module, inputs: Inputs, metric: Metrics, *, side: str = "", per_layer_norm: bool = False
) -> Float[np.ndarray, "L N"]:
    """Mean over examples of |d metric / d gate|, for a gate on each head that is 1 (Michel et al., arXiv:1905.10650, eq. 2-3).

    By the chain rule that is |sum over places and features of head * d metric / d head|. With `per_layer_norm` each layer's row
    has unit length, as the paper has it.
    """
    prefix = f"{side}." if side else ""
    _, here, slopes = gradients(model, inputs, metric, [f"{prefix}layers.*.attention.mixed"])
    rows: list[Any] = []
    for layer in range(len(here)):
        site = f"{prefix}layers.{layer}.attention.mixed"
        rows.append(
            np.abs(np.asarray((here[site] * slopes[site]).sum((1, 3)))).mean(0)
        )  # slopes of padding are nothing
    found = np.stack(rows).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True) if per_layer_norm else found
