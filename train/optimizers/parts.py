"""What optimizers are put together from: clipping, the decay of weights, and the checks of their fields."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

# The last word of a parameter's path: offsets, the scales of norms, and in model/peft what multiplies activations or weights.
NOT_DECAYED = ("bias", "scale", "sinks", "inputs", "outputs", "magnitude", "energy")
STACKED = "layers"  # parameters below this word lead with a dimension of layers [L, ...]


class OptimizerError(ValueError):
    """An optimizer that cannot train this model here; the message is one line with the remedy."""

    exit_code = 2


def clipped(clip_norm: float | None, *parts: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """The parts in a row, after clipping the gradient to `clip_norm`.

    Its `update` takes the gradient's norm as `gradient_norm`, where the caller knows it already.
    """
    clip = optax.identity() if clip_norm is None else clip_to_norm(clip_norm)
    return optax.chain(clip, *parts)


def clip_to_norm(clip_norm: float) -> optax.GradientTransformationExtraArgs:
    """g * min(1, clip_norm / |g|): `optax.clip_by_global_norm` as one factor, which XLA fuses into the update.

    Optax divides and multiplies each gradient, and the divided ones are written to memory: 25 to 40 ms of a step of
    BERT-small on a CPU.
    """

    def update(updates, state, params=None, *, gradient_norm=None, **_):
        norm = optax.tree.norm(updates) if gradient_norm is None else gradient_norm
        factor = jnp.minimum(1.0, clip_norm / jnp.maximum(norm, jnp.finfo(jnp.float32).tiny))
        return jax.tree.map(lambda gradient: gradient * factor, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def decay_mask(params: Any) -> Any:
    """True for the parameters that weight decay pulls on: kernels and embeddings, not biases and norm scales.

    The rule is by name, for the layers are stacked and a bias may have as many dimensions as a kernel.

    >>> decay_mask({"layers": {"up": {"kernel": jnp.ones((2, 3, 4)), "bias": jnp.ones((2, 4))}}})
    {'layers': {'up': {'bias': False, 'kernel': True}}}
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: words(path)[-1] not in NOT_DECAYED, params)


def words(path) -> list[str]:
    """The words of a key path of JAX, without the `value` in which a flax variable keeps its array."""
    names = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path]
    return names[:-1] if names[-1:] == ["value"] else names


def eval_params_of(optimizer: Any) -> Callable[[Any, Any], Any] | None:
    """What gives the weights that an optimizer is scored at, from (state, params); None where it is scored at params."""
    return getattr(optimizer, "eval_params", None)


def check(optimizer) -> None:
    """ValueError with the remedy for a value that no optimizer can use."""
    for name in ("b1", "b2", "momentum"):
        if not 0 <= getattr(optimizer, name, 0.0) < 1:
            raise ValueError(f"{name}={getattr(optimizer, name)} must lie in [0, 1)")
    for name in ("weight_decay", "epsilon"):
        if not 0 <= getattr(optimizer, name, 0.0) < float("inf"):
            raise ValueError(f"{name}={getattr(optimizer, name)} must be 0 or more")
    if optimizer.clip_norm is not None and not optimizer.clip_norm > 0:
        raise ValueError(f"clip_norm={optimizer.clip_norm} must be positive; None switches clipping off")
