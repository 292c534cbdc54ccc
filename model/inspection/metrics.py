"""One number for each example: what patching and gradients ask of a model's scores.

Any function of scores [B T V] to [B] is a metric. Those here look at one position, so that only its scores are computed. Called
on scores themselves they cannot know where a text ends, and count from the end of the array; in a call of a model they do.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from model.task_models import TaskHead


@dataclass(frozen=True)
class LogitDifference:
    """scores[right] - scores[wrong] at one position: log odds, in which constants of the softmax cancel (arXiv:2211.00593)."""

    right: int
    """Id of the token that should win."""
    wrong: int
    """Id of the one that should not."""
    position: int = -1
    """Where; negative counts from the end."""

    def at(self, scores: Float[Array, "B V"]) -> Float[Array, " B"]:
        """Of the scores at the position."""
        return scores[:, self.right] - scores[:, self.wrong]

    def __call__(self, scores: Float[Array, "B T V"]) -> Float[Array, " B"]:
        """Of the scores at all positions."""
        return self.at(scores[:, self.position])


@dataclass(frozen=True)
class LogProbability:
    """log softmax(scores)[token] at one position."""

    token: int
    """Id of the token."""
    position: int = -1
    """Where; negative counts from the end."""

    def at(self, scores: Float[Array, "B V"]) -> Float[Array, " B"]:
        """Of the scores at the position."""
        return jax.nn.log_softmax(scores)[:, self.token]

    def __call__(self, scores: Float[Array, "B T V"]) -> Float[Array, " B"]:
        """Of the scores at all positions."""
        return self.at(scores[:, self.position])


def of_hidden(
    metric: Any, model: Any, hidden: Float[Array, "B T D"], segments: Int[Array, "B T"] | None = None
) -> Float[Array, " B"]:
    """A metric from last hidden states; the head runs at its one position where it has one, counted from the end of each text
    where it is negative, padding aside. That of a task is asked about whole segments, or about every token.

    ValueError where the metric does not give one number for each example.
    """
    value = _of_hidden(metric, model, hidden, segments)
    if jnp.shape(value) != hidden.shape[:1]:
        raise ValueError(
            f"a metric takes scores [B T V] to one number for each example, [B]; this one gave {jnp.shape(value)} for "
            f"{hidden.shape[0]} examples"
        )
    return value


def _of_hidden(metric: Any, model: Any, hidden: Array, segments: Array | None) -> Array:
    if isinstance(model, TaskHead):
        if segments is None:
            raise ValueError("a model with a head for a task sums up segments; give inputs with segments")
        summed = model.summed_up(hidden, segments)
        scores = summed if model.head is None else model.classify(summed)
        return metric(scores) if model.pooling is not None else _at_place(metric, scores, segments)
    if not hasattr(model, "predict_tokens"):
        return _at_place(metric, hidden, segments)
    if not hasattr(metric, "at"):
        return metric(model.predict_tokens(hidden))
    return metric.at(model.predict_tokens(_at(hidden, metric.position, segments)[:, None])[:, 0])


def _at_place(metric: Any, scores: Array, segments: Array | None) -> Array:
    return metric.at(_at(scores, metric.position, segments)) if hasattr(metric, "at") else metric(scores)


def _at(values: Float[Array, "B T D"], position: int, segments: Array | None) -> Float[Array, "B D"]:
    """Values at a position of each text; a negative one counts back from the last place that is no padding."""
    if position >= 0 or segments is None:
        return values[:, position]
    places = jnp.arange(segments.shape[1])
    end = jnp.where(jnp.asarray(segments) > 0, places + 1, 0).max(1)
    return values[jnp.arange(len(values)), end + position]
