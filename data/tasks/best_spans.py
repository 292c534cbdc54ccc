"""From scores of starts and ends in each window to the answer of a question, as published."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class WindowScores(NamedTuple):
    """What a model says of one window. The n tokens of its context stand from `place` on."""

    start: np.ndarray  # float32[T]
    end: np.ndarray  # float32[T]
    place: int
    starts: np.ndarray  # int[n], characters of the context
    stops: np.ndarray  # int[n]
    widest: np.ndarray | None = None  # bool[n]: starts that count in this window; None: all


class Span(NamedTuple):
    """A piece of the context with its score, the sum of the logits of its start and its end."""

    text: str
    score: float
    start: int
    stop: int
    probability: float = 0.0


class Prediction(NamedTuple):
    """Spans of a question, the best first, and what no answer scores."""

    spans: tuple[Span, ...]
    null_score: float

    @property
    def difference(self) -> float:
        """How much better no answer scores than the best span; infinite where there is no span."""
        return self.null_score - self.spans[0].score if self.spans else float("inf")

    def text(self, *, no_answer: bool, threshold: float = 0.0) -> str:
        """The answer: the best span, or nothing where that is allowed and better by more than a threshold."""
        if not self.spans or (no_answer and self.difference > threshold):
            return ""
        return self.spans[0].text


def best_spans(context: str, windows: Sequence[WindowScores], *, best: int = 20, max_answer: int = 30) -> Prediction:
    """The best spans of all windows together, at most `best` of them, their text cut from the context itself.

    In each window the `best` highest starts are tried with the `best` highest ends; what is no context, ends before it
    starts, or is longer than `max_answer` tokens, is passed over. No answer scores start[0] + end[0], the least of all
    windows. Probabilities are a softmax over the spans that are kept and no answer.
    Reference: Devlin et al., arXiv:1810.04805, section 4.3, and the code published with it.
    """
    found: dict[tuple[int, int], float] = {}
    null_score = min(float(window.start[0]) + float(window.end[0]) for window in windows)
    for window in windows:
        size = len(window.starts)
        begins = [int(at) - window.place for at in np.argsort(-window.start, kind="stable")[:best]]
        ends = [int(at) - window.place for at in np.argsort(-window.end, kind="stable")[:best]]
        for first in begins:
            if not 0 <= first < size or (window.widest is not None and not window.widest[first]):
                continue
            for last in ends:
                if first <= last < min(size, first + max_answer):
                    span = int(window.starts[first]), int(window.stops[last])
                    score = float(window.start[first + window.place]) + float(window.end[last + window.place])
                    if span[0] < span[1]:
                        found[span] = max(score, found.get(span, score))
    kept = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:best]
    scores = np.array([score for _, score in kept] + [null_score])
    weights = np.exp(scores - scores.max())
    chances = weights / weights.sum()
    spans = [
        Span(context[start:stop], score, start, stop, float(chance))
        for ((start, stop), score), chance in zip(kept, chances, strict=False)
    ]
    return Prediction(tuple(spans), null_score)


def best_null_threshold(
    differences: Sequence[float], scores: Sequence[float], answerable: Sequence[bool]
) -> tuple[float, float]:
    """The best mean score that any threshold of no answer reaches, and that threshold (SQuAD 2.0's `best_exact_thresh`).

    `scores` are those of the best spans, had each question been answered; questions whose difference is above the threshold
    are left without an answer, which scores 1 where there is none and 0 otherwise.
    Reference: Rajpurkar et al., arXiv:1806.03822, and the evaluation published with it.

    >>> best_null_threshold([-2.0, 1.0, 3.0], [1.0, 1.0, 0.0], [True, True, False])
    (1.0, 1.0)
    """
    total = best = float(sum(not has for has in answerable))
    threshold = 0.0
    order = np.argsort(np.asarray(differences, np.float64), kind="stable").tolist()
    for place, number in enumerate(order):
        total += scores[number] if answerable[number] else -1.0
        last = place + 1 == len(order) or differences[order[place + 1]] > differences[number]
        if total > best and last:  # a threshold cannot part equal differences
            best, threshold = total, float(differences[number])
    return best / max(1, len(order)), threshold
