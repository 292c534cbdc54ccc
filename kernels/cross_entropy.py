"""Cross entropy of a softmax over a vocabulary, in float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def cross_entropy(logits: Float[Array, "*places V"], targets: Int[Array, "*places"]) -> Float[Array, "*places"]:
    """The loss -log softmax(logits)[target] in nats at every place.

    >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(4)
    Array([1.3863], dtype=float32)
    """
    return cross_entropy_and_log_sum(logits, targets)[0]


@jax.custom_jvp
def cross_entropy_and_log_sum(
    logits: Float[Array, "*places V"], targets: Int[Array, "*places"]
) -> tuple[Float[Array, "*places"], Float[Array, "*places"]]:
    """The loss and log Z, the logarithm of the sum that normalises the softmax, at every place.

        log Z = log(sum_v exp(logits[v] - m)) + m,    m = max_v logits[v]
        loss = log Z - logits[target]
        d loss / d logits[v] = softmax(logits)[v] - (v == target),    d log Z / d logits[v] = softmax(logits)[v]

    The derivative is written out: it reads the logits once more, where the chain rule would keep their exponentials, an
    array as large as the logits, and scatter the targets into it.
    """
    log_sum = _log_sum(logits)
    return log_sum - pick(logits, targets), log_sum


@cross_entropy_and_log_sum.defjvp
def _jvp(primals, tangents):
    logits, targets = primals
    log_sum = _log_sum(logits)
    likelihood = jnp.exp(logits.astype(jnp.float32) - log_sum[..., None])
    places = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
    slope = jnp.where(places == targets[..., None], likelihood - 1.0, likelihood)
    moved = tangents[0].astype(jnp.float32)
    return (log_sum - pick(logits, targets), log_sum), ((slope * moved).sum(-1), (likelihood * moved).sum(-1))


def regularised(
    loss: Float[Array, "*places"],
    log_sum: Float[Array, "*places"],
    logits: Float[Array, "*places V"],
    *,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
) -> Float[Array, "*places"]:
    """What is minimised in place of the loss, from `cross_entropy_and_log_sum` and its logits.

        (1 - s) loss + s mean_v(-log softmax(logits)[v]) + z (log Z)^2

    s is the label smoothing of Szegedy et al., arXiv:1512.00567, section 7: a target is itself with probability 1 - s, else
    any token of the vocabulary. z weighs the loss that keeps log Z near 0 (Chowdhery et al., arXiv:2204.02311, section 5,
    with z = 1e-4; Zoph et al., arXiv:2202.08906).
    """
    total = loss
    if label_smoothing:
        everywhere = log_sum - logits.astype(jnp.float32).mean(-1)
        total = (1.0 - label_smoothing) * loss + label_smoothing * everywhere
    return total + z_loss * log_sum**2 if z_loss else total


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
