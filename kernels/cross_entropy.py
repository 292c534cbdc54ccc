"""Cross entropy of a softmax over a vocabulary, in float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def cross_entropy(
    logits: Float[Array, "*places V"], targets: Int[Array, "*places"]
) -> tuple[Float[Array, "*places"], Bool[Array, "*places"]]:
    """The loss -log softmax(logits)[target] in nats at every place, and whether the target has the highest logit.

    The second answer is free, since the highest logit is needed for the first; an arg-max would cost a pass of its own. Where
    two logits tie for the highest, either is right.

    >>> loss, right = cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))
    >>> loss.round(4), right
    (Array([1.3863], dtype=float32), Array([ True], dtype=bool))
    """
    logits = logits.astype(jnp.float32)
    highest = jax.lax.stop_gradient(logits.max(-1))
    log_sum = jnp.log(jnp.exp(logits - highest[..., None]).sum(-1)) + highest
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return log_sum - chosen, chosen >= highest
