"""AdamW, Lion, LAMB, and gradient descent with momentum."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from train.optimizers.parts import NOT_DECAYED, STACKED, check, clipped, decay_mask, words
from train.schedules import Schedule, WarmupLinear


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay.

        m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w = w - rate * (m' / (sqrt(v') + epsilon) + weight_decay * w)

    m' and v' are corrected for their start at zero, which BERT's own code leaves out. References: Kingma and Ba,
    arXiv:1412.6980; Loshchilov and Hutter, arXiv:1711.05101.
    """

    schedule: Schedule = WarmupLinear(peak=5e-4, warmup_steps=100)
    """The learning rate over the run."""
    b1: float = 0.9
    """Memory of the mean of the gradient."""
    b2: float = 0.999
    """Memory of its square."""
    epsilon: float = 1e-6
    """Added to the root of the mean square; 1e-6 is BERT's."""
    weight_decay: float = 0.01
    """Pull of the weights towards zero, times the rate; not on biases and norm scales."""
    clip_norm: float | None = 1.0
    """The gradient is scaled down to this global norm where it is longer; None: never."""

    def __post_init__(self):
        check(self)

    def build(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation of a run of `steps` steps."""
        return clipped(
            self.clip_norm,
            optax.scale_by_adam(self.b1, self.b2, self.epsilon),
            optax.add_decayed_weights(self.weight_decay, decay_mask),
            optax.scale_by_learning_rate(self.schedule.build(steps)),
        )


@dataclass(frozen=True)
class Lion:
    """The sign of a mixture of gradient and momentum; wants about a third to a tenth of AdamW's rate and as much more
    decay.

        w = w - rate * (sign(b1 m + (1 - b1) g) + weight_decay * w);  m = b2 m + (1 - b2) g

    Reference: Chen et al., arXiv:2302.06675.
    """

    not_shared: ClassVar = frozenset({"schedule.peak", "b2", "weight_decay"})

    schedule: Schedule = WarmupLinear(peak=1e-4, warmup_steps=100)
    """The learning rate over the run."""
    b1: float = 0.9
    """Share of the momentum in the step."""
    b2: float = 0.99
    """Memory of the momentum."""
    weight_decay: float = 0.1
    """Pull of the weights towards zero, times the rate; not on biases and norm scales."""
    clip_norm: float | None = 1.0
    """The gradient is scaled down to this global norm where it is longer; None: never."""

    def __post_init__(self):
        check(self)

    def build(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation of a run of `steps` steps."""
        return clipped(
            self.clip_norm,
            optax.scale_by_lion(self.b1, self.b2),
            optax.add_decayed_weights(self.weight_decay, decay_mask),
            optax.scale_by_learning_rate(self.schedule.build(steps)),
        )


@dataclass(frozen=True)
class LAMB:
    """AdamW whose update of each layer is scaled to the length of that layer's weights, for very large batches.

        w = w - rate * |w| / |u| * u,   u the update of AdamW before the rate

    Norms are taken layer by layer, though layers are stored as one stack [L, ...]. Biases and norm scales keep the
    plain update, as in the authors' code. Reference: You et al., arXiv:1904.00962, algorithm 2 with the identity as
    phi.
    """

    schedule: Schedule = WarmupLinear(peak=1e-3, warmup_steps=100)
    """The learning rate over the run."""
    b1: float = 0.9
    """Memory of the mean of the gradient."""
    b2: float = 0.999
    """Memory of its square."""
    epsilon: float = 1e-6
    """Added to the root of the mean square."""
    weight_decay: float = 0.01
    """Pull of the weights towards zero, part of u; not on biases and norm scales."""
    clip_norm: float | None = 1.0
    """The gradient is scaled down to this global norm where it is longer; None: never."""

    def __post_init__(self):
        check(self)

    def build(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation of a run of `steps` steps."""
        return clipped(
            self.clip_norm,
            optax.scale_by_adam(self.b1, self.b2, self.epsilon),
            optax.add_decayed_weights(self.weight_decay, decay_mask),
            scale_by_layer_trust(),
            optax.scale_by_learning_rate(self.schedule.build(steps)),
        )


@dataclass(frozen=True)
class SGD:
    """Gradient descent with momentum: m = momentum m + g + weight_decay w;  w = w - rate * m."""

    not_shared: ClassVar = frozenset({"schedule.peak", "weight_decay"})

    schedule: Schedule = WarmupLinear(peak=0.1, warmup_steps=100)
    """The learning rate over the run."""
    momentum: float = 0.9
    """Memory of the sum of gradients; 0: none."""
    nesterov: bool = False
    """Look ahead along the momentum (Sutskever et al., 2013)."""
    weight_decay: float = 0.0
    """Added to the gradient as weight_decay * w; not on biases and norm scales."""
    clip_norm: float | None = 1.0
    """The gradient is scaled down to this global norm where it is longer; None: never."""

    def __post_init__(self):
        check(self)

    def build(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation of a run of `steps` steps."""
        return clipped(
            self.clip_norm,
            optax.add_decayed_weights(self.weight_decay, decay_mask),
            optax.trace(self.momentum, self.nesterov),
            optax.scale_by_learning_rate(self.schedule.build(steps)),
        )


def scale_by_layer_trust() -> optax.GradientTransformation:
    """Scale the update of each weight, layer by layer, by |weight| / |update|; by 1 where either is zero (LAMB)."""

    def update(updates, state, params=None):
        def scale(path, update, weight):
            names = words(path)
            if names[-1] in NOT_DECAYED:
                return update
            axes = tuple(range(1 if STACKED in names else 0, weight.ndim))
            weight_norm, update_norm = (jnp.sqrt(jnp.sum(x * x, axes, keepdims=True)) for x in (weight, update))
            known = (weight_norm > 0) & (update_norm > 0)
            return update * jnp.where(known, weight_norm / jnp.where(known, update_norm, 1.0), 1.0)

        return jax.tree_util.tree_map_with_path(scale, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
