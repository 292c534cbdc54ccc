"""Which weights are the result of a run: the last ones, or the best by a named score, and when to stop looking for better."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

FALLING = ("loss", "perplexity", "error", "bits_per_byte", "nats_per_byte")  # scores of which less is better
CLOSING = ("held_out_targets", "held_out_examples")  # what only the closing evaluation says


@dataclass(frozen=True)
class Selection:
    """How the result is chosen. Without a metric it is the weights after the last step."""

    metric: str | None = None
    """Score by whose best evaluation the weights are chosen and restored at the end, as accuracy or valid_loss."""
    patience: int | None = None
    """Evaluations without a better score after which the run ends early; None: never."""
    average: float | None = None
    """Share of the run, at its end, over whose steps the weights are averaged; their mean is what is scored and what is the
    result. None: the weights as they are."""

    def __post_init__(self):
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience={self.patience} must be at least 1, or None")
        if self.patience is not None and self.metric is None:
            raise ValueError(
                f"patience={self.patience} needs a score to watch; name it with --selection.metric accuracy"
            )
        if self.average is not None and not 0 < self.average <= 1:
            raise ValueError(f"average={self.average} is a share of the run; use more than 0 and at most 1, or None")

    def average_from(self, steps: int) -> int:
        """Of a run of `steps` steps those before the ones whose weights are averaged.

        >>> Selection(average=0.25).average_from(200)
        150
        """
        return steps - max(1, round((self.average or 0.0) * steps))


@dataclass
class Selector:
    """What has been seen of the chosen score so far.

    >>> selector = Selector(Selection("accuracy", patience=2))
    >>> [selector.see(step, {"accuracy": score}) for step, score in ((10, 0.5), (20, 0.7), (30, 0.7), (40, 0.6))]
    [True, True, False, False]
    >>> selector.best_step, selector.exhausted
    (20, True)
    """

    selection: Selection
    best_step: int | None = None
    best: float = -math.inf
    waited: int = 0
    seen: set[int] = field(default_factory=set)

    @classmethod
    def from_lines(cls, selection: Selection, lines: Iterable[Mapping[str, Any]]) -> "Selector":
        """What the evaluations of a record come to; the closing one is no candidate."""
        selector = cls(selection)
        for line in lines:
            if "event" not in line and selection.metric in line and not any(name in line for name in CLOSING):
                selector.see(line["step"], line)
        return selector

    def rank(self, scores: Mapping[str, Any]) -> float | None:
        """The score as a number of which more is better; None where it is missing or not a number."""
        value = scores.get(self.selection.metric or "valid_loss")
        if value is None or not math.isfinite(value):
            return None
        name = self.selection.metric or "valid_loss"
        return -float(value) if name.endswith(FALLING) else float(value)

    def check(self, scores: Mapping[str, Any], remedy: str = "") -> None:
        """MetricError, which names those that are there, if the chosen score is none of an evaluation."""
        metric = self.selection.metric
        if metric is not None and metric not in scores:
            there = ", ".join(name for name in scores if name not in ("step", "time"))
            raise MetricError(f"selection.metric={metric} is none of the scores of this run: {there}{remedy}")

    def see(self, step: int, scores: Mapping[str, Any]) -> bool:
        """Take in an evaluation; whether it is the best so far. ValueError if the score is none of them."""
        metric = self.selection.metric
        if metric is None:
            return False
        self.check(scores)
        if step in self.seen:
            return step == self.best_step
        self.seen.add(step)
        rank = self.rank(scores)
        if rank is None or rank <= self.best:
            self.waited += 1
            return False
        self.best, self.best_step, self.waited = rank, step, 0
        return True

    @property
    def exhausted(self) -> bool:
        """Whether it is time to stop."""
        return self.selection.patience is not None and self.waited >= self.selection.patience


class MetricError(ValueError):
    """A score that is not there; the message is one line with those that are."""

    exit_code = 2
