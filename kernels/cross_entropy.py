"""Cross entropy of a softmax over a vocabulary, in float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def cross_entropy(logits: Float[Array, "*places V"], targets: Int[Array, "*places"]) -> Float[Array, "*places"]:
    """The loss -log softmax(logits)[target] in nats at every place.

        loss = log(sum_v exp(logits[v] - m)) + m - logits[target],    m = max_v logits[v]

    >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(4)
    Array([1.3863], dtype=float32)
    """
    logits = logits.astype(jnp.float32)
    highest = jax.lax.stop_gradient(logits.max(-1))
    log_sum = jnp.log(jnp.exp(logits - highest[..., None]).sum(-1)) + highest
    return log_sum - pick(logits, targets)


def is_highest(logits: Float[Array, "*places V"], targets: Int[Array, "*places"]) -> Bool[Array, "*places"]:
    """Whether the target has the highest logit; of several equal ones, any is right.

    Beside `cross_entropy` this costs nothing, since both need the same maximum; an arg-max is a slow pass of its own.

    >>> is_highest(jnp.array([[0.0, 2.0, 1.0]]), jnp.array([1]))
    Array([ True], dtype=bool)
    """
    logits = logits.astype(jnp.float32)
    return pick(logits, targets) >= logits.max(-1)


def pick(logits: Float[Array, "*places V"], targets: Int[Array, "*places"]) -> Float[Array, "*places"]:
    """The target's logit at every place."""
    return jnp.take_along_axis(logits, targets[..., None], axis=-1, mode="clip")[..., 0]
