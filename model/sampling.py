"""How the next token is chosen from its scores: greedily, or by chance after temperature, top-k, top-p and min-p."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from kernels.attention import LOWEST


class SamplingError(ValueError):
    """A choice that means nothing; the message is one line with the remedy."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class Sampling:
    """What becomes of the scores before a token is drawn, in this order; None leaves a part out."""

    temperature: float = 0.0
    """Scores are divided by it: below 1 sharpens, above 1 flattens. 0 is greedy: the highest score is taken."""
    top_k: int | None = None
    """Only the k highest scores stay (Fan et al., arXiv:1805.04833); all that equal the k-th do."""
    top_p: float | None = None
    """Only the fewest tokens stay that have this probability together (nucleus; Holtzman et al., arXiv:1904.09751), and all that
    equal the last of them; 1 keeps every token."""
    min_p: float | None = None
    """Only tokens stay that are at least this fraction as likely as the likeliest (Nguyen et al., arXiv:2407.01082)."""
    repetition_penalty: float | None = None
    """Positive scores of tokens that were seen are divided by it, negative ones multiplied (CTRL, arXiv:1909.05858)."""

    def __post_init__(self):
        if not 0 <= self.temperature < float("inf"):
            raise SamplingError(f"temperature={self.temperature} must be 0 (greedy) or a positive number, such as 0.8")
        if 0 < self.temperature < 1e-30:
            raise SamplingError(
                f"temperature={self.temperature} is too small to divide by in float32; use 0, which is greedy"
            )
        if self.top_k is not None and self.top_k < 1:
            raise SamplingError(f"top_k={self.top_k} must be 1 or more, such as 40; leave it out to keep every token")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise SamplingError(f"top_p={self.top_p} must lie in (0, 1], such as 0.9")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise SamplingError(f"min_p={self.min_p} must lie in [0, 1], such as 0.05")
        if self.repetition_penalty is not None and not 0 < self.repetition_penalty < float("inf"):
            raise SamplingError(
                f"repetition_penalty={self.repetition_penalty} must be positive, such as 1.2; 1 is none"
            )
        for name in ("top_k", "top_p", "min_p"):
            if getattr(self, name) is not None and not self.temperature:
                raise SamplingError(
                    f"{name} means nothing without a temperature above 0; greedy takes the best token anyway"
                )

    @property
    def rule(self) -> "Rule":
        """What of it decides which program is compiled."""
        return Rule(
            draws=self.temperature > 0,
            most=None if self.top_k is None else 1 << (self.top_k - 1).bit_length(),
            top_p=self.top_p is not None and self.top_p < 1,
            min_p=self.min_p is not None and self.min_p > 0,
            penalizes=self.repetition_penalty is not None,
        )

    @property
    def knobs(self) -> "Knobs":
        """What of it is a number that the program reads: another one costs no compilation."""
        rest = None if self.top_p is None else 1.0 - self.top_p  # here, where it is exact
        given = (self.temperature, self.top_k, rest, self.min_p, self.repetition_penalty)
        absent = (1.0, 1, 0.0, 0.0, 1.0)
        return Knobs(
            *(jnp.asarray(a if g is None else g, jnp.asarray(a).dtype) for g, a in zip(given, absent, strict=True))
        )


class Rule(NamedTuple):
    """The static half of a Sampling. `most` is top_k rounded up to a power of two: as many scores are sorted."""

    draws: bool = False
    most: int | None = None
    top_p: bool = False
    min_p: bool = False
    penalizes: bool = False


class Knobs(NamedTuple):
    """The traced half of a Sampling."""

    temperature: Float[Array, ""]
    top_k: Int[Array, ""]
    rest: Float[Array, ""]  # 1 - top_p, the probability that may be left out
    min_p: Float[Array, ""]
    repetition_penalty: Float[Array, ""]


def penalized(
    scores: Float[Array, "B V"], seen: Bool[Array, "B V"], penalty: Float[Array, ""] | float
) -> Float[Array, "B V"]:
    """score / penalty where a token was seen and its score is positive, score * penalty where negative (arXiv:1909.05858).

    >>> penalized(jnp.array([[2.0, -2.0, 1.0]]), jnp.array([[True, True, False]]), 2.0)
    Array([[ 1., -4.,  1.]], dtype=float32)
    """
    return jnp.where(seen, jnp.where(scores > 0, scores / penalty, scores * penalty), scores)


def kept(scores: Float[Array, "B V"], rule: Rule, knobs: Knobs) -> Float[Array, "B V"]:
    """Scores with those that may not be drawn at the lowest: top-k, then top-p of what it left, then min-p.

    >>> half = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
    >>> choice = Sampling(1.0, top_p=0.6)
    >>> kept(half, choice.rule, choice.knobs) > LOWEST
    Array([[ True,  True, False]], dtype=bool)
    """
    if rule.most is None and not rule.top_p and not rule.min_p:
        return scores
    highest = scores.max(-1, keepdims=True)
    least = jnp.full_like(highest, LOWEST)
    if rule.most is not None or rule.top_p:
        number = scores.shape[-1] if rule.most is None else min(rule.most, scores.shape[-1])
        best = jax.lax.top_k(scores, number)[0] if rule.most is not None else -jnp.sort(-scores, axis=-1)
        if rule.most is not None:
            at = jnp.minimum(knobs.top_k, number) - 1
            least = jax.lax.dynamic_slice_in_dim(best, at, 1, axis=-1)
            best = jnp.where(best >= least, best, -jnp.inf)
        if rule.top_p:
            # What a token and the less likely ones weigh is summed from the smallest: summed from the largest, the error of a
            # sum near 1 is more than a whole tail may weigh. Tokens that equal the k-th and were not sorted count too.
            equal = (scores >= least).sum(-1, keepdims=True) - (best >= least).sum(-1, keepdims=True)
            weights = jnp.exp(best - highest)
            unsorted = equal * jnp.exp(least - highest)
            behind = jnp.cumsum(weights[:, ::-1], axis=-1)[:, ::-1] + unsorted
            stays = (behind > knobs.rest * behind[:, :1]) & (best >= least)
            least = jnp.where(stays.at[:, 0].set(True), best, jnp.inf).min(-1, keepdims=True)
    if rule.min_p:
        least = jnp.maximum(least, highest + jnp.log(knobs.min_p))
    return jnp.where(scores >= least, scores, LOWEST)


def choose(
    scores: Float[Array, "B V"],
    rule: Rule,
    knobs: Knobs,
    keys: Key[Array, " B"],
    step: Int[Array, ""],
    seen: Bool[Array, "B V"] | None = None,
) -> Int[Array, " B"]:
    """The next token of each row: the best, or one drawn by the row's own key and the number of the step."""
    if rule.penalizes:
        assert seen is not None
        scores = penalized(scores, seen, knobs.repetition_penalty)
    if not rule.draws:
        return jnp.argmax(scores, axis=-1).astype(jnp.int32)
    # The highest becomes 0, so that no temperature makes it infinite.
    scores = kept((scores - scores.max(-1, keepdims=True)) / knobs.temperature, rule, knobs)
    draw = jax.vmap(lambda key, row: jax.random.categorical(jax.random.fold_in(key, step), row))
    return draw(keys, scores).astype(jnp.int32)
