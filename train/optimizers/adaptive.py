"""Relatives of Adam: Adafactor keeps less, AdEMAMix remembers for longer, Prodigy finds its own rate."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array
from optax import contrib

from train.optimizers.matrices import matrix_shape
from train.optimizers.parts import STACKED, check, clipped, decay_mask, words
from train.schedules import Schedule, WarmupLinear

LEAST_SQUARE = 1e-30  # of a gradient
LEAST_SCALE = 1e-3  # of a parameter's root mean square: what begins at zero moves too


@dataclass(frozen=True)
class Adafactor:
    """Adam without a mean, whose mean square of a matrix is kept as one number for each row and each column.

        v = outer(row means, column means) / mean, of g^2 + 1e-30 remembered by 1 - t^-decay_rate
        u = g / sqrt(v);  u = u / max(1, rms(u) / clipping_threshold);  w = w - rate * (max(1e-3, rms(w)) * u + weight_decay * w)

    Each layer is a parameter by itself. `rate` is relative to the size of a parameter, so it is larger than Adam's. Reference:
    Shazeer and Stern, arXiv:1804.04235, algorithms 4 and 5.
    """

    not_shared: ClassVar = frozenset({"schedule.peak", "weight_decay"})

    schedule: Schedule = WarmupLinear(peak=1e-2, warmup_steps=100)
    """The learning rate over the run; relative to the size of each parameter, unless that is switched off."""
    decay_rate: float = 0.8
    """The mean square is remembered by 1 - t^-decay_rate at step t."""
    clipping_threshold: float | None = 1.0
    """The root mean square to which the step of a parameter is scaled down where it is longer; None: never."""
    multiply_by_parameter_scale: bool = True
    """Steps are relative to the root mean square of their parameter; False: they are not."""
    min_dim_size_to_factor: int = 128
    """Matrices with a side shorter than this keep every mean square."""
    weight_decay: float = 0.0
    """Pull of the weights towards zero, times the rate; not on biases and norm scales."""
    clip_norm: float | None = 1.0
    """The gradient is scaled down to this global norm where it is longer; None: never."""

    def __post_init__(self):
        check(self)
        if not 0 < self.decay_rate < 1:
            raise ValueError(f"decay_rate={self.decay_rate} must lie in (0, 1), such as 0.8")
        if self.clipping_threshold is not None and not self.clipping_threshold > 0:
            raise ValueError(f"clipping_threshold={self.clipping_threshold} must be positive; None switches it off")
        if self.min_dim_size_to_factor < 1:
            raise ValueError(f"min_dim_size_to_factor={self.min_dim_size_to_factor} must be at least 1")

    def build(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation of a run of `steps` steps."""
        return clipped(
            self.clip_norm,
            scale_by_factored_root(self.decay_rate, self.min_dim_size_to_factor),
            optax.identity() if self.clipping_threshold is None else clip_by_layer(self.clipping_threshold),
            scale_by_layer() if self.multiply_by_parameter_scale else optax.identity(),
            optax.add_decayed_weights(self.weight_decay, decay_mask),
            optax.scale_by_learning_rate(self.schedule.build(steps)),
        )


@dataclass(frozen=True)
class AdEMAMix:
    """AdamW with a second mean of the gradient, of ten thousand steps instead of ten.

        w = w - rate * ((m1' + alpha m2) / (sqrt(v') + epsilon) + weight_decay * w)

    m2 is remembered by b3, which rises from b1 as alpha rises from 0, so that the first steps are AdamW's. Reference:
    Pagliardini et al., arXiv:2409.03137, algorithm 1.
    """

    schedule: Schedule = WarmupLinear(peak=5e-4, warmup_steps=100)
    """The learning rate over the run."""
    b1: float = 0.9
    """Memory of the fast mean of the gradient."""
    b2: float = 0.999
    """Memory of its square."""
    b3: float = 0.9999
    """Memory of the slow mean, at the end of its rise."""
    alpha: float = 5.0
    """Weight of the slow mean, at the end of its rise."""
    alpha_warmup: float = 1.0
    """Share of the run over which alpha and b3 rise; 0: they stand from the beginning."""
    epsilon: float = 1e-8
    """Added to the root of the mean square."""
    weight_decay: float = 0.01
    """Pull of the weights towards zero, times the rate; not on biases and norm scales."""
    clip_norm: float | None = 1.0
    """The gradient is scaled down to this global norm where it is longer; None: never."""

    def __post_init__(self):
        check(self)
        if not self.b1 > 0:
            raise ValueError(f"b1={self.b1} must be more than 0: the longer memory rises from it")
        if not self.b1 <= self.b3 < 1:
            raise ValueError(f"b3={self.b3} is the longer memory, and must lie in [b1={self.b1}, 1)")
        if not 0 <= self.alpha < float("inf"):
            raise ValueError(f"alpha={self.alpha} must be 0 or more")
        if not 0 <= self.alpha_warmup <= 1:
            raise ValueError(f"alpha_warmup={self.alpha_warmup} is a share of the run and must lie in [0, 1]")

    @property
    def depends_on_steps(self) -> bool:
        """Whether another number of steps would be another run."""
        return self.alpha_warmup > 0

    def build(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation of a run of `steps` steps."""
        last = max(1.0, self.alpha_warmup * steps)
        fast, slow = math.log(self.b1), math.log(self.b3)

        def risen(step):
            return jnp.minimum((step + 1.0) / last, 1.0)

        def memory(step):  # such that the half-life rises in a straight line
            return jnp.exp(fast * slow / ((1 - risen(step)) * slow + risen(step) * fast))

        return clipped(
            self.clip_norm,
            contrib.scale_by_ademamix(self.b1, self.b2, memory, lambda step: self.alpha * risen(step), self.epsilon),
            optax.add_decayed_weights(self.weight_decay, decay_mask),
            optax.scale_by_learning_rate(self.schedule.build(steps)),
        )


@dataclass(frozen=True)
class Prodigy:
    """AdamW that finds its own rate: `d`, a lower bound of the distance from the first weights w0 to the solution.

        step = d * rate * sqrt(1 - b2^t) / (1 - b1^t)
        r = sqrt(b2) r + (1 - sqrt(b2)) step d <g, w0 - w>;  s = sqrt(b2) s + (1 - sqrt(b2)) step d g
        m = b1 m + (1 - b1) d g;  v = b2 v + (1 - b2) d^2 g^2;  d = max(d, d_coef * r / |s|_1)
        w = w - step * (m / (sqrt(v) + d epsilon) + weight_decay * w)

    All parameters together give one d. The schedule is a multiple of it: a peak of 1, and a shape. Adam's correction of the
    first steps is part of `step`, as in the authors' code. Reference: Mishchenko and Defazio, arXiv:2306.06101, algorithm 4.
    """

    not_shared: ClassVar = frozenset({"schedule.peak"})

    schedule: Schedule = WarmupLinear(peak=1.0)
    """What d is multiplied by over the run; its peak is 1 or near it."""
    b1: float = 0.9
    """Memory of the mean of the gradient."""
    b2: float = 0.999
    """Memory of its square."""
    epsilon: float = 1e-8
    """Added to the root of the mean square, times d."""
    d0: float = 1e-6
    """The d to begin with; too large a one is never taken back."""
    d_coef: float = 1.0
    """Factor of each estimate of d; 0.5 to 2 makes the run more careful or less."""
    weight_decay: float = 0.01
    """Pull of the weights towards zero, times `step`; not on biases and norm scales."""
    clip_norm: float | None = 1.0
    """The gradient is scaled down to this global norm where it is longer; None: never."""

    def __post_init__(self):
        check(self)
        for name in ("d0", "d_coef"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)} must be a positive number")

    def build(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation of a run of `steps` steps."""
        rate = self.schedule.build(steps)
        plain = contrib.prodigy(
            rate, (self.b1, self.b2), eps=self.epsilon, estim_lr0=self.d0, estim_lr_coef=self.d_coef
        )

        def init(params):
            state = cast(Any, plain.init(params))
            return state._replace(params0=jax.tree.map(jnp.copy, params))  # a step gives the others' memory back

        def update(updates, state, params=None, **_):
            step = state.count + 1
            length = state.estim_lr * rate(state.count) * jnp.sqrt(1 - self.b2**step) / (1 - self.b1**step)
            updates, found = plain.update(updates, state, params)
            after = cast(Any, found)
            none = jnp.isnan(after.estim_lr)  # every gradient so far was zero
            updates = jax.tree.map(lambda leaf: jnp.where(none, 0.0, leaf), updates)
            after = after._replace(estim_lr=jnp.where(none, state.estim_lr, after.estim_lr))
            pulls = jax.tree.map(lambda decays: length * self.weight_decay * decays, decay_mask(params))
            return jax.tree.map(lambda u, w, pull: u - pull * w, updates, params, pulls), after

        return clipped(self.clip_norm, optax.GradientTransformationExtraArgs(init, update))


class FactoredState(NamedTuple):
    """Mean squares of gradients: of a matrix by row and by column, of anything else each; what is not kept is one zero.

    Attributes:
        count: steps taken.
        rows: for each parameter [..., inputs] of a matrix [..., inputs, outputs], or [1].
        columns: for each parameter [..., outputs] of a matrix, or [1].
        each: for each parameter its own shape where it is not factored, or [1].
    """

    count: Array
    rows: Any
    columns: Any
    each: Any


def scale_by_factored_root(decay: float, least: int) -> optax.GradientTransformation:
    """Divide a gradient by the root of its mean square, kept by row and by column where both sides are at least `least`.

    Like `optax.scale_by_factored_rms`, which takes the two longest dimensions for the matrix, and so may factor a stack of
    vectors across its layers.
    """

    def factored(path, leaf) -> tuple[int, ...] | None:
        shape = matrix_shape(".".join(words(path)), leaf.shape)
        return shape if shape is not None and min(shape[-2:]) >= least else None

    def init(params):
        def zeros(which):
            def of(path, leaf):
                shape = factored(path, leaf)
                shapes = ((1,), (1,), leaf.shape) if shape is None else (shape[:-1], (*shape[:-2], shape[-1]), (1,))
                return jnp.zeros(shapes[which], leaf.dtype)

            return jax.tree_util.tree_map_with_path(of, params)

        return FactoredState(jnp.zeros((), jnp.int32), zeros(0), zeros(1), zeros(2))

    def update(updates, state, params=None):
        del params
        memory = 1 - (state.count + 1.0) ** -decay

        def mixed(old, new):
            return memory * old + (1 - memory) * new

        def step(path, gradient, rows, columns, each):
            square, shape = gradient * gradient + LEAST_SQUARE, factored(path, gradient)
            if shape is None:
                each = mixed(each, square)
                return gradient / jnp.sqrt(each), rows, columns, each
            square = square.reshape(shape)
            rows, columns = mixed(rows, square.mean(-1)), mixed(columns, square.mean(-2))
            root = jnp.sqrt(rows / rows.mean(-1, keepdims=True))[..., None] * jnp.sqrt(columns)[..., None, :]
            return (gradient.reshape(shape) / root).reshape(gradient.shape), rows, columns, each

        found = jax.tree_util.tree_map_with_path(step, updates, state.rows, state.columns, state.each)
        parts = jax.tree.transpose(jax.tree.structure(updates), jax.tree.structure((0, 0, 0, 0)), found)
        return parts[0], FactoredState(state.count + 1, *parts[1:])

    return optax.GradientTransformation(init, update)


def clip_by_layer(threshold: float) -> optax.GradientTransformation:
    """Scale the update of each parameter, layer by layer, down to a root mean square of `threshold`."""

    def update(updates, state, params=None):
        del params
        return by_layer(lambda update: update / jnp.maximum(1.0, rms(update) / threshold), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_layer() -> optax.GradientTransformation:
    """Multiply the update of each parameter, layer by layer, by the parameter's root mean square, at least 1e-3."""

    def update(updates, state, params=None):
        return by_layer(lambda update, weight: update * jnp.maximum(LEAST_SCALE, rms(weight)), updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def by_layer(function, tree: Any, *others: Any) -> Any:
    """Map arrays of the trees, those of stacks once for each layer."""

    def apply(path, leaf, *more):
        return (jax.vmap(function) if STACKED in words(path) else function)(leaf, *more)

    return jax.tree_util.tree_map_with_path(apply, tree, *others)


def rms(values):
    """The root of the mean square."""
    return jnp.sqrt(jnp.mean(values * values))
