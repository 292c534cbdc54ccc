"""Muon: matrices of layers step along the orthogonal matrix nearest to their momentum; everything else is Adam's."""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from train.optimizers.matrices import axes_of, matrix_shape, on_whole_matrices
from train.optimizers.parts import OptimizerError, check, clipped, decay_mask, words
from train.schedules import Schedule, WarmupLinear

COEFFICIENTS = (
    3.4445,
    -4.7750,
    2.0315,
)  # of Jordan et al.: the steepest at zero whose iterates stay within some 0.7 to 1.2
ITERATIONS = 5
MATRIX_PEAK = 0.02  # under Jordan's scale


@dataclass(frozen=True)
class Muon:
    """Orthogonal steps for the matrices of layers, Adam for embeddings, heads, norms and biases.

        m = momentum m + (1 - momentum) g;  u = (1 - momentum) g + momentum m;  U S V^T = u
        w = w - rate * (scale * U V^T + weight_decay * w)

    U V^T is approximated by five iterations of Newton and Schulz, which bring the singular values near one. Each layer
    is a matrix by itself: query, key and value D -> (N H), their output (N H) -> D, feed-forward kernels. `scale` is
    sqrt(max(1, outputs / inputs)) of Jordan, or Moonlight's 0.2 sqrt(max(inputs, outputs)), which gives a step the size of
    AdamW's, so that AdamW's rate and decay do for it. Devices that hold the same matrices all iterate on them. References: Jordan
    et al. 2024, https://kellerjordan.github.io/posts/muon; Liu et al., arXiv:2502.16982.
    """

    not_shared: ClassVar = frozenset({"momentum", "nesterov"})

    schedule: Schedule = WarmupLinear(peak=1e-3, warmup_steps=100)
    """The learning rate over the run of what is no matrix of a layer; that of matrices rises and falls with it."""
    matrix_peak: float | None = None
    """The highest learning rate of matrices; None: 0.02 under Jordan's scale, the schedule's under Moonlight's."""
    momentum: float = 0.95
    """Memory of the mean of a matrix's gradient."""
    nesterov: bool = True
    """Look ahead along the momentum."""
    scale: Literal["jordan", "moonlight"] = "jordan"
    """How long the step of a matrix is, by its shape."""
    b1: float = 0.9
    """Adam's memory of the mean of the gradient."""
    b2: float = 0.999
    """Adam's memory of its square."""
    epsilon: float = 1e-6
    """Added to the root of the mean square."""
    weight_decay: float = 0.01
    """Pull of the weights towards zero, times their rate; not on biases and norm scales."""
    clip_norm: float | None = 1.0
    """The gradient is scaled down to this global norm where it is longer; None: never."""

    def __post_init__(self):
        check(self)
        if self.matrix_peak is not None and not 0 < self.matrix_peak < float("inf"):
            raise ValueError(f"matrix_peak={self.matrix_peak} must be a positive number, such as 0.02, or None")
        if self.scale not in ("jordan", "moonlight"):
            raise ValueError(f"scale={self.scale} is neither jordan nor moonlight")

    def build(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation of a run of `steps` steps. Its `init` raises OptimizerError for parameters with no matrix."""
        rate = self.schedule.build(steps)
        peak = self.matrix_peak or (MATRIX_PEAK if self.scale == "jordan" else self.schedule.peak)

        def decayed(*parts: optax.GradientTransformation, rate: Callable[[Any], Any]) -> optax.GradientTransformation:
            return optax.chain(
                *parts, optax.add_decayed_weights(self.weight_decay, decay_mask), optax.scale_by_learning_rate(rate)
            )

        kinds: dict[Hashable, optax.GradientTransformation] = {
            "matrix": decayed(
                scale_by_muon(self.momentum, self.nesterov, self.scale),
                rate=lambda step: peak / self.schedule.peak * rate(step),
            ),
            "other": decayed(optax.scale_by_adam(self.b1, self.b2, self.epsilon), rate=rate),
        }
        return clipped(self.clip_norm, optax.partition(kinds, kinds_of))


def kinds_of(params: Any) -> Any:
    """Which parameters are matrices; OptimizerError where none is."""
    kinds = jax.tree_util.tree_map_with_path(
        lambda path, leaf: "matrix" if axes_of(".".join(words(path)), len(leaf.shape)) else "other", params
    )
    if "matrix" not in jax.tree.leaves(kinds):
        raise OptimizerError(
            "muon has no matrix of a layer to work on: what is trained are embeddings, heads, norms, biases or an adapter; "
            "use --optimizer.name adam_w"
        )
    return kinds


def scale_by_muon(momentum: float, nesterov: bool, scale: str) -> optax.GradientTransformation:
    """Momentum whose matrices are made nearly orthogonal, and as long as `scale` says; all parameters must be matrices."""

    def update(updates, state, params=None):
        del params
        mean = jax.tree.map(lambda m, g: momentum * m + (1 - momentum) * g, state.trace, updates)
        ahead = jax.tree.map(lambda m, g: momentum * m + (1 - momentum) * g, mean, updates) if nesterov else mean

        def step(path, leaf):
            name = ".".join(words(path))
            shape = matrix_shape(name, leaf.shape)
            assert shape is not None, path
            sides = shape[-2:]

            def each(stack):
                return newton_schulz(stack.reshape(-1, *sides)).reshape(stack.shape)

            return length(scale, *sides) * on_whole_matrices(each, name, leaf)

        return jax.tree_util.tree_map_with_path(step, ahead), optax.TraceState(mean)

    return optax.GradientTransformation(lambda params: optax.TraceState(optax.tree.zeros_like(params)), update)


def length(scale: str, inputs: int, outputs: int) -> float:
    """By what an orthogonal matrix is multiplied.

    >>> length("jordan", 64, 256), length("jordan", 256, 64), length("moonlight", 64, 100)
    (2.0, 1.0, 2.0)
    """
    return math.sqrt(max(1.0, outputs / inputs)) if scale == "jordan" else 0.2 * math.sqrt(max(inputs, outputs))


def newton_schulz(matrices: Float[Array, "n I O"], iterations: int = ITERATIONS) -> Float[Array, "n I O"]:
    """Each matrix U S V^T as about U V^T: its singular values within some 0.7 to 1.2 where they are not tiny beside its norm.

        X = X / |X|;  then again and again  A = X X^T,  X = a X + (b A + c A A) X

    the quintic of Jordan et al., on whichever side is the shorter. A matrix of zeros stays one.
    """
    a, b, c = COEFFICIENTS
    turned = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if turned else matrices
    x = x / (jnp.linalg.norm(x, axis=(1, 2), keepdims=True) + 1e-7)
    for _ in range(iterations):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if turned else x
