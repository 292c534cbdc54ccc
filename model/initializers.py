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

    def draw(self, role: Role, fan_in: int, fan_out: int, num_layers: int) -> Initializer:
        """Normal by fan-in."""
        if role == "embedding":
            return jax.nn.initializers.normal(1.0)
        return jax.nn.initializers.normal((fan_in * (self.head_size if role == "query" else 1)) ** -0.5)


@dataclasses.dataclass(frozen=True)
class Mimetic(Scaled):
    """T5's deviations, and the structure of attention that training would have to find first, as in mimetic initialisation
    (Trockman and Kolter, arXiv:2305.09828), here for an encoder-decoder that trains for minutes.

    Query and key of cross attention are drawn alike, so that a token of the target first attends to itself in the source: a
    sentinel to the place of its span. Relative buckets favour what is near, in half of the heads of an encoder what comes
    before, in the others what comes after, so that a sentinel's state holds its neighbours.
    """

    slope: float = 0.5
    """What a score loses for each token of distance."""

    def __post_init__(self):
        if not 0 < self.slope < math.inf:
            raise ValueError(f"slope={self.slope} must be a positive number, such as 0.5")


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
