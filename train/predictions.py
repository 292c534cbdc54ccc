"""`predictions.json` of a run folder: what a fine-tuned classifier said of each held-out example. The report reads it.

    {
      "labels": ["negative", "positive"],              names of the classes, in the order of their numbers
      "examples": [
        {
          "text": "one long string of cliches",        or a list of two texts, for pairs
          "target": 0,                                 number of the right class
          "predicted": 1,                              number of the likeliest class
          "probabilities": [0.21, 0.79],               of every class
          "attributions": {                            may be missing: what the predicted class owes to each token
            "tokens": ["[CLS]", "one", "long", ...],   pieces as the vocabulary calls them
            "scores": [0.0, -0.02, 0.31, ...]          positive speaks for it, negative against it
          }
        }, ...
      ]
    }

Attributions are integrated gradients of the log-probability of the predicted class (model/inspection/saliency.py); a few
mistakes are enough, since the report shows the surest ones only. `surest_mistakes` says which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from data.errors import DataError
from data.foreign import read_json
from train.task_metrics import log_softmax

FILE = "predictions.json"
MOST_BYTES = 256 << 20
DIGITS = 5  # of probabilities and attributions


@dataclass(frozen=True)
class Attributions:
    """What the predicted class owes to each token: positive speaks for it."""

    tokens: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Predictions:
    """The file, read: n examples of C classes.

    Attributes:
        labels: names of the classes.
        texts: of each example its one text or two.
        targets, predicted: numbers of classes.
        probabilities: of every class.
        attributions: by the number of the example, where there are any.
    """

    labels: tuple[str, ...]
    texts: list[tuple[str, ...]]
    targets: Int[np.ndarray, " n"]
    predicted: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n C"]
    attributions: dict[int, Attributions]

    @classmethod
    def read(cls, folder: str | Path) -> "Predictions | None":
        """The predictions of a run folder; None where there are none, or the file is not what it should be."""
        try:
            value = read_json(Path(folder) / FILE, DataError, most=MOST_BYTES)
            labels, examples = tuple(map(str, value["labels"])), value["examples"]
            targets = np.array([int(one["target"]) for one in examples], np.int64)
            predicted = np.array([int(one["predicted"]) for one in examples], np.int64)
            probabilities = np.array([one["probabilities"] for one in examples], np.float64)
            texts = [
                (str(text),) if isinstance(text := one["text"], str) else tuple(map(str, text)) for one in examples
            ]
        except (ValueError, KeyError, TypeError, OverflowError):
            return None
        fits = len(targets) > 0 and probabilities.shape == (len(targets), len(labels))
        numbers = np.concatenate([targets, predicted])
        if not fits or not np.isfinite(probabilities).all() or numbers.min() < 0 or numbers.max() >= len(labels):
            return None
        found = {number: made for number, one in enumerate(examples) if (made := _attributions(one)) is not None}
        return cls(labels, texts, targets, predicted, probabilities, found)


def predictions_json(
    labels: Sequence[str],
    texts: Sequence[str | Sequence[str]],
    logits: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, " n"],
    attributions: Mapping[int, Attributions] | None = None,
) -> dict[str, Any]:
    """What the file holds; `attributions` by the number of the example."""
    attributions, probabilities = attributions or {}, np.exp(log_softmax(np.asarray(logits, np.float32)))
    examples: list[dict[str, Any]] = []
    for number, (text, row, target) in enumerate(zip(texts, probabilities, targets, strict=True)):
        example: dict[str, Any] = {
            "text": text if isinstance(text, str) else list(text),
            "target": int(target),
            "predicted": int(row.argmax()),
            "probabilities": [round(float(share), DIGITS) for share in row],
        }
        if number in attributions:
            one = attributions[number]
            example["attributions"] = {
                "tokens": list(one.tokens),
                "scores": [round(float(value), DIGITS) for value in one.scores],
            }
        examples.append(example)
    return {"labels": list(labels), "examples": examples}


def surest_mistakes(
    predicted: Int[np.ndarray, " n"], targets: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n C"], most: int
) -> list[int]:
    """The wrong examples of which the model was surest, at most so many, the surest first.

    >>> p = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    >>> surest_mistakes(p.argmax(1), np.array([1, 1, 1]), p, 5)
    [0, 2]
    """
    wrong = np.flatnonzero(predicted != targets)
    sure = probabilities[wrong, predicted[wrong]]
    return [int(wrong[at]) for at in np.argsort(-sure, kind="stable")[:most]]


def _attributions(example: Mapping[str, Any]) -> Attributions | None:
    try:
        given = example["attributions"]
        tokens, scores = tuple(map(str, given["tokens"])), tuple(map(float, given["scores"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return Attributions(tokens, scores) if len(tokens) == len(scores) and np.isfinite(scores).all() else None
