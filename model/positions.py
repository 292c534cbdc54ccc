"""What tells a transformer the order of its tokens: a learned table or fixed sinusoids, added to the embeddings."""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class LearnedPositions:
    """One trained vector a position (Gehring et al., arXiv:1705.03122; BERT, arXiv:1810.04805)."""

    max_length: int = 512
    """Rows of the table: the longest document the model can read."""

    def __post_init__(self):
        if self.max_length < 1:
            raise ValueError(f"max_length={self.max_length} must be at least 1")


@dataclasses.dataclass(frozen=True)
class SinusoidalPositions:
    """Fixed sines and cosines of geometrically spaced wavelengths, no parameters, any length (arXiv:1706.03762)."""

    max_wavelength: float = 10_000.0
    """The longest wavelength, in positions, over 2 pi."""


def sinusoids(positions: Int[Array, "B T"], width: int, max_wavelength: float = 10_000.0) -> Float[Array, "B T D"]:
    """Encode integer positions as sines and cosines.

        y[t, i]         = sin(t / max_wavelength^(2 i / D))      for i < D / 2
        y[t, i + D / 2] = cos(t / max_wavelength^(2 i / D))

    Departs from the paper's formula in the order of the channels only: all sines, then all cosines, as in the authors'
    code, where the formula interleaves them. Reference: Vaswani et al., arXiv:1706.03762, section 3.5.
    An odd width raises ValueError.

    >>> sinusoids(jnp.array([[0, 1]]), 2).round(3)
    Array([[[0.   , 1.   ],
            [0.841, 0.54 ]]], dtype=float32)
    """
    if width % 2:
        raise ValueError(f"sinusoidal positions need an even width, not {width}; use {width - 1} or {width + 1}")
    frequency = jnp.exp(jnp.arange(width // 2, dtype=jnp.float32) * (-2.0 * math.log(max_wavelength) / width))
    angle = positions[:, :, None].astype(jnp.float32) * frequency[None, None, :]
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
