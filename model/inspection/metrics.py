"""One number for each example: what patching and gradients ask of a model's scores.

Any function of scores [B T V] to [B] is a metric. Those here look at one position, so that only its scores are computed.
"""

from dataclasses import dataclass
from typing import Any

import jax
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
    """A metric from last hidden states; the head runs at its one position where it has one. That of a task is asked about
    whole segments, or about every token.
    """
    if isinstance(model, TaskHead):
        assert segments is not None  # every caller with such a model has them
        summed = model.summed_up(hidden, segments)
        return metric(summed if model.head is None else model.classify(summed))
    if not hasattr(model, "predict_tokens"):
        return metric(hidden)
    if not hasattr(metric, "at"):
        return metric(model.predict_tokens(hidden))
    here = hidden[:, metric.position][:, None]
    return metric.at(model.predict_tokens(here)[:, 0])
