"""Learning-rate schedules: small frozen values, each of which builds a pure function of the step.

Steps count from 0 and the warm-up rises to `peak` at its last step, so no step is spent at a rate of zero:

    rate(step) = peak * (step + 1) / warmup_steps        while step < warmup_steps

(the published codes start at zero and reach the peak one step later). A schedule whose shape is drawn over the whole
run says so by `depends_on_steps`: such a run cannot be given another number of steps when it is resumed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

Rate = Callable[[ArrayLike], Float[Array, ""]]


@dataclass(frozen=True)
class Constant:
    """Warm up, then stay at `peak`.

    >>> rate = Constant(peak=0.1, warmup_steps=4).build(steps=8)
    >>> [round(float(rate(step)), 3) for step in range(8)]
    [0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1, 0.1]
    """

    depends_on_steps: ClassVar[bool] = False

    peak: float
    """The highest learning rate."""
    warmup_steps: int = 0
    """Steps in which the rate rises from near zero to `peak`."""

    def __post_init__(self):
        check(self)

    def build(self, steps: int) -> Rate:
        """The rate as a function of the step, float32; `steps` is the length of the run."""
        return lambda step: self.peak * warm_up(step, self.warmup_steps)


@dataclass(frozen=True)
class WarmupLinear:
    """Warm up, then fall in a straight line to `final * peak`, reached when the run ends.

    rate(step) = peak * (1 - (1 - final) * (step - warmup_steps) / (steps - warmup_steps)). Reference: Devlin et al.,
    arXiv:1810.04805, appendix A.2.

    >>> rate = WarmupLinear(peak=0.1, warmup_steps=2).build(steps=6)
    >>> [round(float(rate(step)), 3) for step in range(7)]
    [0.05, 0.1, 0.1, 0.075, 0.05, 0.025, 0.0]
    """

    depends_on_steps: ClassVar[bool] = True

    peak: float
    """The highest learning rate."""
    warmup_steps: int = 0
    """Steps in which the rate rises from near zero to `peak`."""
    final: float = 0.0
    """What is left of the peak at the end, as a fraction of it."""
    warmup_fraction: float = 0.0
    """Share of the run in which the rate rises, in the place of `warmup_steps`."""

    def __post_init__(self):
        check(self)
        if not 0 <= self.warmup_fraction <= 1:
            raise ValueError(f"warmup_fraction={self.warmup_fraction} is a share of the run and must lie in [0, 1]")
        if self.warmup_fraction and self.warmup_steps:
            raise ValueError("warmup_fraction and warmup_steps say the same; give one of them")

    def build(self, steps: int) -> Rate:
        """The rate as a function of the step, float32; `steps` is the length of the run."""
        warmup = self.warmup_steps or round(self.warmup_fraction * steps)

        def rate(step):
            left = 1 - progress(step, warmup, steps)
            return self.peak * warm_up(step, warmup) * (self.final + (1 - self.final) * left)

        return rate


@dataclass(frozen=True)
class WarmupCosine:
    """Warm up, then fall along half a cosine to `final * peak`, reached when the run ends.

    rate(step) = peak * (final + (1 - final) * (1 + cos(pi * p)) / 2), p the part of the run after the warm-up that is
    done. Reference: Loshchilov and Hutter, arXiv:1608.03983, without restarts.

    >>> rate = WarmupCosine(peak=0.1, final=0.1).build(steps=4)
    >>> [round(float(rate(step)), 3) for step in range(5)]
    [0.1, 0.087, 0.055, 0.023, 0.01]
    """

    depends_on_steps: ClassVar[bool] = True

    peak: float
    """The highest learning rate."""
    warmup_steps: int = 0
    """Steps in which the rate rises from near zero to `peak`."""
    final: float = 0.0
    """What is left of the peak at the end, as a fraction of it."""

    def __post_init__(self):
        check(self)

    def build(self, steps: int) -> Rate:
        """The rate as a function of the step, float32; `steps` is the length of the run."""

        def rate(step):
            left = 0.5 * (1 + jnp.cos(jnp.pi * progress(step, self.warmup_steps, steps)))
            return self.peak * warm_up(step, self.warmup_steps) * (self.final + (1 - self.final) * left)

        return rate


@dataclass(frozen=True)
class WarmupInverseRoot:
    """Warm up, then fall with the inverse square root of the step; the run may be of any length.

    rate(step) = peak * min((step + 1) / warmup_steps, sqrt(warmup_steps / (step + 1))). Reference: Vaswani et al.,
    arXiv:1706.03762, section 5.3, whose peak is hidden_size^-0.5 * warmup_steps^-0.5.

    >>> rate = WarmupInverseRoot(peak=0.1, warmup_steps=4).build(steps=64)
    >>> [round(float(rate(step)), 3) for step in (0, 3, 15, 63)]
    [0.025, 0.1, 0.05, 0.025]
    """

    depends_on_steps: ClassVar[bool] = False

    peak: float
    """The highest learning rate."""
    warmup_steps: int = 1
    """Steps in which the rate rises from near zero to `peak`; it halves at four times as many."""

    def __post_init__(self):
        check(self)

    def build(self, steps: int) -> Rate:
        """The rate as a function of the step, float32; `steps` is the length of the run."""
        turn = max(1, self.warmup_steps)

        def rate(step):
            fall = jnp.sqrt(turn / jnp.maximum(step + 1.0, turn))
            return self.peak * warm_up(step, turn) * fall

        return rate


@dataclass(frozen=True)
class WarmupStableDecay:
    """Warm up, stay at `peak`, and fall in a straight line over the last `decay_steps` of the run.

    Reference: Hu et al. (MiniCPM), arXiv:2404.06395, section 4, where the fall is exponential; the straight line is
    from Hägele et al., arXiv:2405.18392.

    >>> rate = WarmupStableDecay(peak=0.1, warmup_steps=2, decay_steps=4).build(steps=8)
    >>> [round(float(rate(step)), 3) for step in range(8)]
    [0.05, 0.1, 0.1, 0.1, 0.1, 0.075, 0.05, 0.025]
    """

    depends_on_steps: ClassVar[bool] = True

    peak: float
    """The highest learning rate."""
    warmup_steps: int = 0
    """Steps in which the rate rises from near zero to `peak`."""
    decay_steps: int = 0
    """Steps of the fall, the last ones of the run."""
    final: float = 0.0
    """What is left of the peak at the end, as a fraction of it."""

    def __post_init__(self):
        check(self)

    def build(self, steps: int) -> Rate:
        """The rate as a function of the step, float32; `steps` is the length of the run."""

        start = max(self.warmup_steps, steps - self.decay_steps)

        def rate(step):
            done = progress(step, start, steps)
            return self.peak * warm_up(step, self.warmup_steps) * (1 - (1 - self.final) * done)

        return rate


@dataclass(frozen=True)
class OneCycle:
    """Up from `peak / start_divisor` and down to `peak / end_divisor`, each along half a cosine: super-convergence.

    rate(step) = a + (b - a) * (1 - cos(pi * p)) / 2, from a to b, p the part of the way up or down that is done. Momentum
    stays as it is, which the paper lets fall and rise. Reference: Smith and Topin, arXiv:1708.07120; half cosines as fastai
    draws them.

    >>> rate = OneCycle(peak=0.1, rise=0.25, start_divisor=10.0, end_divisor=100.0).build(steps=8)
    >>> [round(float(rate(step)), 3) for step in (0, 1, 2, 5, 8)]
    [0.01, 0.055, 0.1, 0.051, 0.001]
    """

    depends_on_steps: ClassVar[bool] = True

    peak: float
    """The highest learning rate."""
    rise: float = 0.25
    """Share of the run in which the rate rises."""
    start_divisor: float = 25.0
    """How far below the peak the run begins."""
    end_divisor: float = 1e5
    """How far below the peak it ends."""

    def __post_init__(self):
        check(self)
        if not 0 < self.rise < 1:
            raise ValueError(f"rise={self.rise} is a share of the run and must lie in (0, 1), such as 0.25")
        for name in ("start_divisor", "end_divisor"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    def build(self, steps: int) -> Rate:
        """The rate as a function of the step, float32; `steps` is the length of the run."""
        top = max(1, round(self.rise * steps))

        def between(low, high, done):
            return low + (high - low) * 0.5 * (1 - jnp.cos(jnp.pi * done))

        def rate(step):
            up = between(self.peak / self.start_divisor, self.peak, progress(step, 0, top))
            down = between(self.peak, self.peak / self.end_divisor, progress(step, top, steps))
            return jnp.where(step < top, up, down).astype(jnp.float32)

        return rate


Schedule = Constant | WarmupLinear | WarmupCosine | WarmupInverseRoot | WarmupStableDecay | OneCycle


def short_of_peak(schedule: Schedule, steps: int) -> str | None:
    """What to say of a run that ends before its warm-up does, so that its rate never reaches the peak; None of any other.

    >>> short_of_peak(Constant(peak=0.1, warmup_steps=8), 8)
    >>> short_of_peak(Constant(peak=0.1, warmup_steps=8), 2)
    'the warm-up of 8 steps is longer than the run of 2: its rate ends at 0.025, peak=0.1; lower optimizer.schedule.warmup_steps'
    """
    warmup = getattr(schedule, "warmup_steps", 0)
    if warmup <= steps:
        return None
    return (
        f"the warm-up of {warmup:,} steps is longer than the run of {steps:,}: its rate ends at "
        f"{float(schedule.build(steps)(steps - 1)):.3g}, peak={schedule.peak:g}; lower optimizer.schedule.warmup_steps"
    )


def warm_up(step, warmup_steps: int) -> Float[Array, ""]:
    """The part of the peak that a step of the warm-up has: min(1, (step + 1) / warmup_steps)."""
    return jnp.minimum((step + 1.0) / max(1, warmup_steps), 1.0).astype(jnp.float32)


def progress(step, start: int, end: int) -> Float[Array, ""]:
    """How much of the way from `start` to `end` is done, from 0 to 1. A run shorter than its warm-up stays at 0."""
    return jnp.clip((step - jnp.float32(start)) / max(1, end - start), 0.0, 1.0)


def check(schedule) -> None:
    """ValueError with the remedy for a value that no schedule can use."""
    if not 0 < schedule.peak < float("inf"):
        raise ValueError(f"peak={schedule.peak} must be a positive number; 1e-4 to 1e-3 is usual for Adam")
    for name in ("warmup_steps", "decay_steps"):
        if getattr(schedule, name, 0) < 0:
            raise ValueError(f"{name}={getattr(schedule, name)} must be 0 or more")
    if not 0 <= getattr(schedule, "final", 0.0) <= 1:
        raise ValueError(f"final={schedule.final} is a fraction of the peak and must lie in [0, 1]")
