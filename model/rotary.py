"""Rotary positions: queries and keys turned by an angle that grows with the position, so that scores see distances only.

    angle[t, i] = t * theta^(-2 i / R)                                for i < R / 2, R the channels of a head that turn
    y[i]         = x[i] cos(angle) - x[i + R / 2] sin(angle)
    y[i + R / 2] = x[i + R / 2] cos(angle) + x[i] sin(angle)

The halves of a head make the pairs (GPT-NeoX, and every model of Hugging Face), where the paper pairs neighbours: weights of
one convention serve the other after a permutation of their columns. Reference: Su et al., arXiv:2104.09864.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class LinearScaling:
    """Positions divided by a factor (position interpolation, Chen et al., arXiv:2306.15595)."""

    factor: float
    """How many times longer texts become."""

    def __post_init__(self):
        _check_factor(self.factor)


@dataclasses.dataclass(frozen=True)
class NTKScaling:
    """A larger base, so that the slowest channels turn `factor` times slower and the fastest as before.

    theta' = theta * factor^(R / (R - 2)); "NTK-aware" interpolation, as described in arXiv:2309.00071, section 3.1.
    """

    factor: float
    """How many times longer texts become."""

    def __post_init__(self):
        _check_factor(self.factor)


@dataclasses.dataclass(frozen=True)
class YaRN:
    """Fast channels as they were, slow ones interpolated, a ramp between; scores a little sharper (Peng et al.,
    arXiv:2309.00071, sections 3.2 to 3.4)."""

    factor: float
    """How many times longer texts become."""
    original_length: int
    """The longest text of the training before."""
    beta_fast: float = 32.0
    """Channels that turn more often than this over `original_length` stay as they were."""
    beta_slow: float = 1.0
    """Channels that turn less often than this are interpolated wholly."""
    attention_factor: float | None = None
    """What cosines and sines are multiplied by; None: 0.1 ln(factor) + 1, the paper's."""

    def __post_init__(self):
        _check_factor(self.factor)


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
    """Slow channels divided by a factor, fast ones as they were, a smooth passage between (Llama 3.1, arXiv:2407.21783)."""

    factor: float = 8.0
    """What the slow channels are divided by."""
    low_frequency_factor: float = 1.0
    """Wavelengths above original_length over this are divided wholly."""
    high_frequency_factor: float = 4.0
    """Wavelengths below original_length over this stay as they were."""
    original_length: int = 8_192
    """The longest text of the training before."""

    def __post_init__(self):
        _check_factor(self.factor)


@dataclasses.dataclass(frozen=True)
class Rotary:
    """Rotations of queries and keys in every layer; no parameters, no table, any length."""

    theta: float = 10_000.0
    """The base: the slowest channel turns once in about 2 pi theta positions."""
    fraction: float = 1.0
    """The part of each head that turns, from its first channel on (partial rotary: GPT-J, GPT-NeoX)."""
    scaling: LinearScaling | NTKScaling | YaRN | Llama3Scaling | None = None
    """How frequencies are changed for longer texts than those of the training."""

    def __post_init__(self):
        if not self.theta > 1:
            raise ValueError(f"theta={self.theta} must be above 1")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction={self.fraction} must lie in (0, 1]")


def frequencies(choice: Rotary, head_size: int) -> tuple[np.ndarray, float]:
    """Radians a position of each pair of channels, float64 [R / 2], and what cosines and sines are multiplied by.

    Computed on the host, once a trace. An odd number of channels to turn raises ValueError.

    >>> frequencies(Rotary(theta=100.0), 4)
    (array([1. , 0.1]), 1.0)
    """
    turning = int(head_size * choice.fraction)
    if turning % 2 or turning == 0:
        raise ValueError(
            f"rotary positions turn {turning} of {head_size} channels of a head; that must be an even number"
        )
    exponents = np.arange(0, turning, 2, dtype=np.float64) / turning
    plain = choice.theta**-exponents
    match choice.scaling:
        case None:
            return plain, 1.0
        case LinearScaling(factor):
            return plain / factor, 1.0
        case NTKScaling(factor):
            return (choice.theta * factor ** (turning / max(turning - 2, 1))) ** -exponents, 1.0
        case Llama3Scaling():
            return _llama3(choice.scaling, plain), 1.0
        case YaRN():
            return _yarn(choice.scaling, plain, choice.theta, turning)
    raise TypeError(f"{choice.scaling!r} is not a scaling of rotary positions")


def rotation(
    choice: Rotary, positions: Int[Array, "B T"], head_size: int
) -> tuple[Float[Array, "B T R"], Float[Array, "B T R"]]:
    """Cosines and sines of the angles, float32, R half of the channels that turn; the same for every layer."""
    rates, factor = frequencies(choice, head_size)
    angles = positions[:, :, None].astype(jnp.float32) * jnp.asarray(rates, jnp.float32)[None, None, :]
    cosines, sines = jnp.cos(angles), jnp.sin(angles)
    return (cosines, sines) if factor == 1.0 else (cosines * factor, sines * factor)


def rotate(
    x: Float[Array, "B T N H"], turned: tuple[Float[Array, "B T R"], Float[Array, "B T R"]]
) -> Float[Array, "B T N H"]:
    """Turn each head of `x` by the angles whose cosines and sines are `turned`; channels past 2 R stay as they are.

    >>> quarter = (jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1)))
    >>> rotate(jnp.array([[[[1.0, 0.0, 7.0]]]]), quarter)
    Array([[[[0., 1., 7.]]]], dtype=float32)
    """
    cosines, sines = (part[:, :, None, :] for part in turned)
    half = cosines.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    first, second = first.astype(jnp.float32), second.astype(jnp.float32)
    parts = [first * cosines - second * sines, second * cosines + first * sines]
    return jnp.concatenate([*(part.astype(x.dtype) for part in parts), rest], axis=-1)


def _llama3(choice: Llama3Scaling, plain: np.ndarray) -> np.ndarray:
    wavelengths = 2 * math.pi / plain
    low, high = choice.low_frequency_factor, choice.high_frequency_factor
    smooth = np.clip((choice.original_length / wavelengths - low) / (high - low), 0.0, 1.0)
    return (1 - smooth) * plain / choice.factor + smooth * plain


def _yarn(choice: YaRN, plain: np.ndarray, theta: float, turning: int) -> tuple[np.ndarray, float]:
    def channel(turns: float) -> float:
        """The channel that turns so often over the original length."""
        return turning * math.log(choice.original_length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = math.floor(channel(choice.beta_fast)), math.ceil(channel(choice.beta_slow))
    low, high = max(low, 0), min(high, turning - 1)
    ramp = np.clip((np.arange(len(plain)) - low) / max(high - low, 1e-3), 0.0, 1.0)
    factor = choice.attention_factor
    if factor is None:
        factor = 0.1 * math.log(choice.factor) + 1.0 if choice.factor > 1 else 1.0
    return plain / choice.factor * ramp + plain * (1 - ramp), factor


def _check_factor(factor: float) -> None:
    if not factor >= 1:
        raise ValueError(f"factor={factor} must be 1 or more: how many times longer texts become")
