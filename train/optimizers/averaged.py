"""AdamW without a falling rate, whose result is an average of the weights that it went through."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import optax
from optax import contrib

from train.optimizers.parts import check, clipped, decay_mask
from train.schedules import Constant, Schedule

LEAST_B1 = 0.01  # x = (y - (1 - b1) z) / b1 is a small difference of large numbers, in float32, for a small b1


@dataclass(frozen=True)
class ScheduleFree:
    """AdamW without a falling rate: gradients are taken between the weights z that move and their running average x.

        y = (1 - b1) z + b1 x;  z = z - rate * (g(y) / (sqrt(v') + epsilon) + weight_decay * y);  x = average of z

    x is weighted by the square of the highest rate so far, and is what is scored, kept and exported; y is what is trained.
    Reference: Defazio et al., arXiv:2405.15682, algorithm 1.
    """

    not_shared: ClassVar = frozenset({"schedule"})

    schedule: Schedule = Constant(peak=1e-3, warmup_steps=100)
    """The learning rate: a warm-up, and no fall; about twice AdamW's or more."""
    b1: float = 0.9
    """Share of the average in the weights that gradients are taken at."""
    b2: float = 0.999
    """Memory of the square of the gradient."""
    epsilon: float = 1e-8
    """Added to the root of the mean square."""
    weight_decay: float = 0.01
    """Pull of the weights towards zero, times the rate; not on biases and norm scales."""
    clip_norm: float | None = 1.0
    """The gradient is scaled down to this global norm where it is longer; None: never."""

    def __post_init__(self):
        check(self)
        if not self.b1 >= LEAST_B1:
            raise ValueError(
                f"b1={self.b1} must be {LEAST_B1} or more: the average that is scored is found by division by it"
            )

    def build(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation of a run of `steps` steps."""
        rate = self.schedule.build(steps)
        plain = optax.chain(
            optax.scale_by_rms(self.b2, self.epsilon, eps_in_sqrt=False, bias_correction=True),
            optax.add_decayed_weights(self.weight_decay, decay_mask),
            optax.scale_by_learning_rate(rate),
        )
        return clipped(self.clip_norm, contrib.schedule_free(plain, lambda count: rate(count - 1), self.b1))

    def eval_params(self, state: Any, params: Any) -> Any:
        """The average x, from the state and what is trained."""
        mine = lambda node: isinstance(node, contrib.ScheduleFreeState)  # noqa: E731
        (own,) = filter(mine, jax.tree.leaves(state, is_leaf=mine))
        return jax.tree.map(lambda y, z: (y - (1 - self.b1) * z) / self.b1, params, own.z)
