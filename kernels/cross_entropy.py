"""Cross entropy of a softmax over a vocabulary, in float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


@jax.custom_jvp
def cross_entropy(logits: Float[Array, "*places V"], targets: Int[Array, "*places"]) -> Float[Array, "*places"]:
    """The loss -log softmax(logits)[target] in nats at every place.

        loss = log(sum_v exp(logits[v] - m)) + m - logits[target],    m = max_v logits[v]
        d loss / d logits[v] = softmax(logits)[v] - (v == target)

    The derivative is written out: it reads the logits once more, where the chain rule would keep their exponentials, an
    array as large as the logits, and scatter the targets into it.

    >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(4)
    Array([1.3863], dtype=float32)
    """
    return _log_sum(logits) - pick(logits, targets)


@cross_entropy.defjvp
def _cross_entropy_jvp(primals, tangents):
    logits, targets = primals
    log_sum = _log_sum(logits)
    likelihood = jnp.exp(logits.astype(jnp.float32) - log_sum[..., None])
    places = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
    slope = jnp.where(places == targets[..., None], likelihood - 1.0, likelihood)
    return log_sum - pick(logits, targets), (slope * tangents[0].astype(jnp.float32)).sum(-1)


def is_highest(logits: Float[Array, "*places V"], targets: Int[Array, "*places"]) -> Bool[Array, "*places"]:
    """Whether the target has the highest logit; of several equal ones, any is right.

    Beside `cross_entropy` this costs nothing, since both need the same maximum; an arg-max is a slow pass of its own.

    >>> is_highest(jnp.array([[0.0, 2.0, 1.0]]), jnp.array([1]))
    Array([ True], dtype=bool)
    """
    return pick(logits, targets) >= logits.astype(jnp.float32).max(-1)


def pick(logits: Float[Array, "*places V"], targets: Int[Array, "*places"]) -> Float[Array, "*places"]:
    """The target's logit at every place, in float32."""
    return jnp.take_along_axis(logits, targets[..., None], axis=-1, mode="clip")[..., 0].astype(jnp.float32)


def _log_sum(logits: Array) -> Array:
    logits = logits.astype(jnp.float32)
    highest = logits.max(-1)
    return jnp.log(jnp.exp(logits - highest[..., None]).sum(-1)) + highest
