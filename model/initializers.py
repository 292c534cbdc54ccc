"""How weights are drawn at the start: one small choice for each published recipe.

A choice answers for every parameter by its role and its sizes, `choice.draw(role, fan_in, fan_out, num_layers)`, with a
function (key, shape, dtype) -> values. Biases begin at zero and the scales of norms at one (or zero, where one is added).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import jax
from jaxtyping import Array

Initializer = Callable[..., Array]
Role = Literal["embedding", "query", "input", "output"]
"""embedding: tables that are looked up.  query: its projection.  output: what writes into the residual stream, the last
projection of attention and MLP.  input: every other projection."""
Draw = Callable[[Role, int, int], Initializer]


@dataclasses.dataclass(frozen=True)
class TruncatedNormal:
    """One normal for everything, cut at two deviations, as BERT's (arXiv:1810.04805, the authors' code).

    What remains after the cut has 0.88 of the deviation that is named.
    """

    deviation: float = 0.02
    """Standard deviation before the cut."""

    def draw(self, role: Role, fan_in: int, fan_out: int, num_layers: int) -> Initializer:
        """The same for every role."""
        return jax.nn.initializers.truncated_normal(self.deviation)


@dataclasses.dataclass(frozen=True)
class Normal:
    """One normal for everything; GPT-2 also divides what writes into the residual stream by sqrt(2 L), so that the stream
    does not grow with depth (Radford et al. 2019, section 2.3)."""

    deviation: float = 0.02
    """Standard deviation."""
    scale_output: bool = False
    """Whether the last projections of attention and MLP are divided by sqrt(2 L)."""

    def draw(self, role: Role, fan_in: int, fan_out: int, num_layers: int) -> Initializer:
        """Normal, narrower for outputs where asked for."""
        narrower = math.sqrt(2 * num_layers) if self.scale_output and role == "output" else 1.0
        return jax.nn.initializers.normal(self.deviation / narrower)


@dataclasses.dataclass(frozen=True)
class Scaled:
    """T5's: deviation fan_in^-1/2 for each projection, and the query's smaller by sqrt(H) more, since T5 does not scale its
    scores (arXiv:1910.10683; Mesh TensorFlow's code). Embeddings have deviation 1."""

    head_size: int
    """Size H of a head."""

    def __post_init__(self):
        if self.head_size < 1:
            raise ValueError(f"head_size={self.head_size} of the initializer must be at least 1")

    def draw(self, role: Role, fan_in: int, fan_out: int, num_layers: int) -> Initializer:
        """Normal by fan-in."""
        if role == "embedding":
            return jax.nn.initializers.normal(1.0)
        return jax.nn.initializers.normal((fan_in * (self.head_size if role == "query" else 1)) ** -0.5)


@dataclasses.dataclass(frozen=True)
class Mimetic(Scaled):
    """T5's deviations, and an attention pattern that training would have to find first.

        cross attention, W_Q = W_K / (scale sqrt(H)):  the score of a token with itself begins near sqrt(H), others near 0
        relative buckets, bias = -min(slope |distance|, 8) - (side_penalty where the head does not look)

    In an encoder heads of even number look back and those of odd number ahead, none at the token itself; a single head, and
    a decoder's, look everywhere. So a sentinel of the decoder begins by attending to its own position in the source, whose
    state holds its neighbours. An encoder or decoder alone has the bias only. Departs from mimetic initialisation (Trockman
    and Kolter, arXiv:2305.09828), which sets W_Q W_K^T and W_V W_O of self attention near multiples of the identity.
    """

    slope: float = 0.5
    """What a score begins with less for each token of distance; 0: no bias."""
    side_penalty: float = 4.0
    """What it begins with less on the side to which a head does not look."""
    tied_query_key: bool = True
    """Whether cross attention's queries begin as its keys."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("slope", "side_penalty"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0, such as 0.5")


@dataclasses.dataclass(frozen=True)
class Xavier:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010), embeddings normal with deviation width^-1/2: the
    first transformer's, in its authors' code."""

    def draw(self, role: Role, fan_in: int, fan_out: int, num_layers: int) -> Initializer:
        """Uniform by both fans, whatever shape the axes of a kernel have."""
        if role == "embedding":
            return jax.nn.initializers.normal(fan_out**-0.5)
        limit = math.sqrt(6.0 / (fan_in + fan_out))

        def uniform(key, shape, dtype):
            return jax.random.uniform(key, shape, dtype, -limit, limit)

        return uniform


Initialization = TruncatedNormal | Normal | Scaled | Mimetic | Xavier
