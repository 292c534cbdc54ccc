"""What tells a transformer the order of its tokens: the choices, and fixed sinusoids.

A table or sinusoids are added to the embeddings, `model/embeddings.py`; rotations turn queries and keys, `model/rotary.py`;
ALiBi and T5's buckets add to the scores of attention, `model/position_bias.py`.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class LearnedPositions:
    """One trained vector a position (Gehring et al., arXiv:1705.03122; BERT, arXiv:1810.04805)."""

    max_length: int = 512
    """The longest document the model can read."""
    offset: int = 0
    """Rows of the table before that of position 0; RoBERTa's has two, of which the second belongs to padding."""

    def __post_init__(self):
        if self.max_length < 1:
            raise ValueError(f"max_length={self.max_length} must be at least 1")
        if self.offset < 0:
            raise ValueError(f"offset={self.offset} must be 0 or more")


@dataclasses.dataclass(frozen=True)
class SinusoidalPositions:
    """Fixed sines and cosines of geometrically spaced wavelengths, no parameters, any length (arXiv:1706.03762)."""

    max_wavelength: float = 10_000.0
    """The longest wavelength, in positions, over 2 pi."""


@dataclasses.dataclass(frozen=True)
class NoPositions:
    """Nothing; a causal mask alone tells a decoder something of the order (Kazemnejad et al., arXiv:2305.19466)."""


@dataclasses.dataclass(frozen=True)
class ALiBi:
    """A penalty on scores that grows with the distance, at a slope of its own for each head (arXiv:2108.12409)."""


@dataclasses.dataclass(frozen=True)
class RelativeBuckets:
    """A trained number a head for each bucket of distances, the same table in all layers (T5, arXiv:1910.10683).

    Half of the buckets hold one distance each, the others grow geometrically up to `max_distance`. In an encoder half of
    them are for keys that come after the query.
    """

    num_buckets: int = 32
    """Rows of the table."""
    max_distance: int = 128
    """Distances from here on share the last bucket."""

    def __post_init__(self):
        if self.num_buckets < 4 or self.num_buckets % 2:
            raise ValueError(f"num_buckets={self.num_buckets} must be an even number of at least 4")
        if self.max_distance <= self.num_buckets // 2:
            raise ValueError(
                f"max_distance={self.max_distance} must be more than half of num_buckets={self.num_buckets}"
            )


def bucket_distances(choice: RelativeBuckets, bidirectional: bool) -> np.ndarray:
    """The distance at which each bucket begins, whole numbers, int64 [buckets].

    >>> bucket_distances(RelativeBuckets(8, 32), bidirectional=True)
    array([0, 1, 2, 8, 0, 1, 2, 8])
    """
    buckets = choice.num_buckets // 2 if bidirectional else choice.num_buckets
    exact, bucket = buckets // 2, np.arange(choice.num_buckets) % buckets
    grown = exact * (choice.max_distance / exact) ** ((bucket - exact) / (buckets - exact))
    return np.where(bucket < exact, bucket, np.ceil(grown.round(6))).astype(np.int64)


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
