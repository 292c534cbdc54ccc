"""How weights are drawn at the start: one small choice for each published recipe.

A choice answers for every parameter by its role and its sizes, `choice.draw(role, fan_in, fan_out, num_layers)`, with a
function (key, shape, dtype) -> values. Biases begin at zero and the scales of norms at one (or zero, where one is added).
Mimetic and OffsetHeads then give attention a pattern to begin with.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from model.positions import LearnedPositions, RelativeBuckets, bucket_distances, sinusoids

Initializer = Callable[..., Array]
Role = Literal["embedding", "query", "input", "output"]
"""embedding: tables that are looked up.  query: its projection.  output: what writes into the residual stream, the last
projection of attention and MLP.  input: every other projection."""
FARTHEST = 8.0  # a bias of -8 leaves a far key a weight that still has a gradient
REMAINS = 0.88  # of a normal's deviation after a cut at two deviations
Draw = Callable[[Role, int, int], Initializer]


class Independent:
    """Every parameter is drawn by itself."""

    def check(self, config: Any) -> None:
        """Raise ValueError where a TransformerConfig lacks what it would begin with."""

    def pair(
        self, query: Float[Array, "D N H"], key: Float[Array, "D K H"], *, scale: float, cross: bool, causal: bool
    ) -> tuple[Float[Array, "D N H"], Float[Array, "D K H"]]:
        """The kernels of query and key with which attention begins, from those that were drawn; scores are times `scale`."""
        return query, key

    def positions(self, rows: int, width: int) -> Initializer | None:
        """The initializer of a table of learned positions; None: that of an embedding."""
        return None

    def relative_bias(self, choice: RelativeBuckets, bidirectional: bool) -> Initializer | None:
        """The initializer of the table of relative buckets; None: that of a projection."""
        return None


@dataclasses.dataclass(frozen=True)
class TruncatedNormal(Independent):
    """One normal for everything, cut at two deviations, as BERT's (arXiv:1810.04805, the authors' code).

    What remains after the cut has 0.88 of the deviation that is named.
    """

    deviation: float = 0.02
    """Standard deviation before the cut."""

    def draw(self, role: Role, fan_in: int, fan_out: int, num_layers: int) -> Initializer:
        """The same for every role."""
        return jax.nn.initializers.truncated_normal(self.deviation)


@dataclasses.dataclass(frozen=True)
class Normal(Independent):
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
class Scaled(Independent):
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

    def check(self, config: Any) -> None:
        """Positions are relative buckets, heads have the size that is said here, and no norm follows the queries."""
        if self.head_size != (size := config.attention.head_size_in(config.hidden_size)):
            raise ValueError(
                f"initializer.head_size={self.head_size} is not the size of a head, {size}; set initializer.head_size to "
                f"{size} as well"
            )
        if not isinstance(config.positions, RelativeBuckets):
            raise ValueError(
                "initializer mimetic begins with a bias of relative buckets, which these positions do not have; use "
                "initializer scaled, or positions relative_buckets"
            )
        check_no_norm(config)

    def pair(
        self, query: Float[Array, "D N H"], key: Float[Array, "D K H"], *, scale: float, cross: bool, causal: bool
    ) -> tuple[Float[Array, "D N H"], Float[Array, "D K H"]]:
        """Queries of cross attention that equal its keys, up to the factor in the equation above."""
        if not (cross and self.tied_query_key):
            return query, key
        groups = query.shape[1] // key.shape[1]
        return jnp.repeat(key, groups, axis=1) / (scale * math.sqrt(key.shape[2])), key

    def relative_bias(self, choice: RelativeBuckets, bidirectional: bool) -> Initializer | None:
        """The table of the equation above; nothing is random."""

        def table(key, shape, dtype):
            del key
            buckets, num_heads = shape
            near = -np.minimum(self.slope * bucket_distances(choice, bidirectional), FARTHEST)
            bias = np.tile(near[:, None], (1, num_heads))
            if bidirectional and num_heads > 1:
                ahead, looks_ahead = np.arange(buckets) >= buckets // 2, np.arange(num_heads) % 2 == 1
                away = ahead[:, None] != looks_ahead
                away[0] = True  # the token itself
                bias -= self.side_penalty * away
            return jnp.asarray(bias, dtype)

        return table


@dataclasses.dataclass(frozen=True)
class OffsetHeads(TruncatedNormal):
    """BERT's normal, with heads that begin at a neighbour: one position back, one ahead, two back, two ahead, ...

        P_t = a (sin(w_i t), cos(w_i t)) in the first E channels, 0 in the others, as long as a token's embedding
        W_Q[n] = R(o_n) W_K[n] in those channels:  score(t, s) ~ sum_i cos(w_i (t + o_n - s)), largest at s = t + o_n

    R turns each pair by w_i o_n, o = -1, +1, -2, +2, ... over the heads, or -1, -2, ... in a causal model. A masked language
    model stays at the entropy of single words until its heads attend to what surrounds a gap (Chen et al., arXiv:2309.07311,
    see it happen in one sudden drop); here it begins there. In the manner of mimetic initialisation (Trockman and Kolter,
    arXiv:2305.09828), whose equations are others. For learned positions; E is a quarter of the width.
    """

    score: float = 8.0
    """The score of the neighbour at the start, about; other scores are near 0."""
    max_wavelength: float = 16.0
    """The longest wavelength of the positions, over 2 pi: a longer one makes a wider peak."""

    def __post_init__(self):
        for name, least in (("deviation", 0.0), ("score", 0.0), ("max_wavelength", 1.0)):
            if not least < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be more than {least:g}")

    def check(self, config: Any) -> None:
        """Positions are learned and reach the blocks as they are, and no norm follows the queries."""
        learned = isinstance(config.positions, LearnedPositions) and config.patches is None
        if not learned or config.embedding_size is not None:
            raise ValueError(
                "initializer offset_heads begins with learned positions of text, as wide as the model, which this one lacks; "
                "use initializer truncated_normal"
            )
        check_no_norm(config)

    def positions(self, rows: int, width: int) -> Initializer | None:
        """Sinusoids in the first quarter of the channels."""

        def table(key, shape, dtype):
            del key
            channels = shaped_channels(width)
            waves = sinusoids(jnp.arange(rows)[None], channels, self.max_wavelength)[0]
            amplitude = self.deviation * math.sqrt(2 * width / channels)
            return jnp.zeros(shape, dtype).at[:, :channels].set((amplitude * waves).astype(dtype))

        return table

    def pair(
        self, query: Float[Array, "D N H"], key: Float[Array, "D K H"], *, scale: float, cross: bool, causal: bool
    ) -> tuple[Float[Array, "D N H"], Float[Array, "D K H"]]:
        """Keys that read positions strongly enough for `score`, and queries that are those of a neighbour."""
        if cross:
            return query, key
        width, heads, size = query.shape
        channels = shaped_channels(width)
        # After a norm half of the sum of squares, D, is of the position.
        deviation = math.sqrt(self.score / (scale * size * width / 2))
        key = key.at[:channels].multiply(deviation / (REMAINS * self.deviation))
        read = jnp.repeat(key[:channels], heads // key.shape[1], axis=1)
        head = np.arange(heads)
        offsets = -(head + 1) if causal else np.where(head % 2 == 0, -(head // 2 + 1), head // 2 + 1)
        angle = self.max_wavelength ** (-np.arange(channels // 2) / (channels // 2))[:, None] * offsets
        sine, cosine = jnp.sin(angle)[..., None], jnp.cos(angle)[..., None]
        of_sines, of_cosines = jnp.split(read, 2)
        shifted = [cosine * of_sines - sine * of_cosines, sine * of_sines + cosine * of_cosines]
        return query.at[:channels].set(jnp.concatenate(shifted).astype(query.dtype)), key


def check_no_norm(config: Any) -> None:
    """Raise ValueError where a norm of queries and keys would undo the scores that attention begins with."""
    if config.attention.norm_query_key:
        raise ValueError(
            "norm_query_key would undo the scores that the initializer begins with; use another initializer"
        )


def shaped_channels(width: int) -> int:
    """The channels that hold positions: a quarter of the width, an even number.

    >>> shaped_channels(512), shaped_channels(18)
    (128, 4)
    """
    return max(width // 8 * 2, 2)


@dataclasses.dataclass(frozen=True)
class Xavier(Independent):
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


Initialization = TruncatedNormal | Normal | Scaled | Xavier | Mimetic | OffsetHeads
