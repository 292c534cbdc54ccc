"""What the scores of a task are called and which of them fit; those of classes and of numbers. On the host, in NumPy.

Shares lie between 0 and 1, losses are in nats; BLEU and chrF, of train/text_metrics.py, are out of 100 as they are published.
No function gives NaN: where a formula divides by nothing, the score is 0, as the libraries have it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

BINS = 15  # of equal width, as Guo et al. count calibration

# Kind of task -> the metrics that fit it; the first is the one that a task is known by.
METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "f1", "macro_f1", "matthews", "expected_calibration_error", "valid_loss"),
    "multiple_choice": ("accuracy", "expected_calibration_error", "valid_loss"),
    "multi_label": ("micro_f1", "macro_f1", "accuracy", "valid_loss"),
    "regression": ("pearson", "spearman", "mse"),
    "similarity": ("spearman", "pearson"),
    "tagging": ("f1_strict", "precision_strict", "recall_strict", "f1", "precision", "recall", "accuracy", "macro_f1"),
    "answers": ("f1", "exact_match"),
    "generation": ("bleu", "chrf", "rouge1", "rouge2", "rougeL", "rougeLsum", "exact_match"),
}


class MetricError(ValueError):
    """A metric, or predictions, that do not fit; the message is one line with the remedy."""

    exit_code = 2


class Bin(NamedTuple):
    """The predictions whose confidence lies in one interval: how many, how sure on average, how many of them right."""

    count: int
    confidence: float
    accuracy: float


def check_metrics(kind: str, names: Sequence[str], classes: int | None = None) -> tuple[str, ...]:
    """The names, if every one of them fits the kind of task; worth calling before anything is trained.

    Raises:
        MetricError: one does not; the message names those that do.

    >>> check_metrics("regression", ["pearson", "mse"])
    ('pearson', 'mse')
    """
    known = METRICS.get(kind)
    if known is None:
        raise MetricError(f"no kind of task is called {kind!r}; there are {', '.join(METRICS)}")
    if kind == "classification" and classes is not None and classes != 2:
        if "f1" in names:
            raise MetricError(
                f"f1 is that of the second of two classes, and there are {classes}; use macro_f1, or one of "
                f"{', '.join(name for name in known if name not in ('f1', 'macro_f1'))}"
            )
        known = tuple(name for name in known if name != "f1")
    if strange := [name for name in names if name not in known]:
        raise MetricError(f"{strange[0]} is no metric of {kind.replace('_', ' ')}; use {', '.join(known)}")
    return tuple(names)


def classification_scores(
    logits: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, " n"],
    labels: Sequence[str],
    metrics: Sequence[str] | None = None,
) -> dict[str, float]:
    """Scores of one class an example; `metrics` None: every one that fits.

        accuracy     the share of examples whose largest logit is that of the target
        f1           2 tp / (2 tp + fp + fn) of the class of index 1, as GLUE scores MRPC and QQP; two classes only
        macro_f1     the mean of the classes' f1, over the classes that occur among targets or predictions
        matthews     Matthews correlation, 0 where targets or predictions are all of one class
        expected_calibration_error   sum over 15 bins of confidence of (share of examples) |accuracy - confidence|
        valid_loss   mean cross entropy in nats

    References: GLUE (arXiv:1804.07461); calibration, Guo et al. (arXiv:1706.04599).

    >>> logits = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]], np.float32)
    >>> classification_scores(logits, np.array([0, 1, 1, 1]), ("no", "yes"), ["accuracy", "f1"])
    {'accuracy': 0.75, 'f1': 0.8}
    """
    names = _asked("classification", metrics, len(labels))
    _check(logits, targets, len(labels))
    log_probabilities = log_softmax(logits)
    predicted = logits.argmax(axis=1)

    def value(name: str) -> float:
        match name:
            case "accuracy":
                return float((predicted == targets).mean())
            case "f1":
                return f1_score(targets, predicted, average="binary", pos_label=1)
            case "macro_f1":
                return f1_score(targets, predicted, average="macro")
            case "matthews":
                return matthews(targets, predicted)
            case "expected_calibration_error":
                return expected_calibration_error(np.exp(log_probabilities), targets)
        return float(-np.take_along_axis(log_probabilities, targets[:, None], axis=1).mean())

    return {name: value(name) for name in names}


def multi_label_scores(
    logits: Float[np.ndarray, "n C"],
    targets: Float[np.ndarray, "n C"],
    labels: Sequence[str],
    metrics: Sequence[str] | None = None,
) -> dict[str, float]:
    """Scores where an example has any number of labels; one is predicted where its probability is over a half.

    `micro_f1` counts hits over all labels together, `macro_f1` is the mean of the labels' f1 (0 for one that is neither there
    nor predicted), `accuracy` the share of examples with every label right, `valid_loss` binary cross entropy in nats,
    the mean over examples and labels.
    """
    names = _asked("multi_label", metrics)
    _check_numbers("logits", logits)
    if logits.shape != targets.shape or logits.shape[1] != len(labels):
        raise MetricError(
            f"logits are {logits.shape}, targets {targets.shape} and there are {len(labels)} labels; all must agree"
        )
    if not np.isin(targets, (0, 1)).all():
        raise MetricError("targets of several labels are 0 or 1 for each label; encode them so")
    scores = np.asarray(logits, np.float64)
    predicted, true = scores > 0, np.asarray(targets) > 0.5

    def value(name: str) -> float:
        match name:
            case "micro_f1" | "macro_f1":
                return f1_score(true.astype(int), predicted.astype(int), average=name.removesuffix("_f1"))
            case "accuracy":
                return float((predicted == true).all(axis=1).mean())
        return float((np.logaddexp(0.0, scores) - scores * true).mean())

    return {name: value(name) for name in names}


def regression_scores(
    predictions: Float[np.ndarray, " n"],
    targets: Float[np.ndarray, " n"],
    metrics: Sequence[str] | None = None,
    kind: str = "regression",
) -> dict[str, float]:
    """Pearson's r, Spearman's rho (Pearson's r of the ranks, ties sharing their mean rank) and the mean squared error.

    A correlation with what does not vary is 0.

    >>> regression_scores(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]), ["spearman", "mse"])
    {'spearman': 1.0, 'mse': 0.3333333333333333}
    """
    names = _asked(kind, metrics)
    _check_numbers("predictions", predictions)
    _check_numbers("targets", targets)
    if predictions.shape != targets.shape:
        raise MetricError(f"there are {len(predictions)} predictions for {len(targets)} targets; give one for each")
    ours, theirs = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
    values = {
        "pearson": lambda: correlation(ours, theirs),
        "spearman": lambda: correlation(ranks(ours), ranks(theirs)),
        "mse": lambda: float(((ours - theirs) ** 2).mean()),
    }
    return {name: values[name]() for name in names}


def classification_report(
    predicted: Int[np.ndarray, " n"], targets: Int[np.ndarray, " n"], labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Precision, recall, f1 and support of every label, those that never occur included.

    >>> classification_report(np.array([0, 1, 1]), np.array([0, 0, 1]), ("no", "yes"))["yes"]
    {'precision': 0.5, 'recall': 1.0, 'f1': 0.6666666666666666, 'support': 1}
    """
    from sklearn.metrics import precision_recall_fscore_support

    every = list(range(len(labels)))
    columns: Any = precision_recall_fscore_support(targets, predicted, labels=every, zero_division=0)  # pyright: ignore
    names = ("precision", "recall", "f1", "support")
    return {
        label: {
            name: int(value[at]) if name == "support" else float(value[at])
            for name, value in zip(names, columns, strict=True)
        }
        for at, label in enumerate(labels)
    }


def confusion_matrix(
    predicted: Int[np.ndarray, " n"], targets: Int[np.ndarray, " n"], classes: int
) -> Int[np.ndarray, "C C"]:
    """How often each target (row) was taken for each class (column).

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (targets, predicted), 1)
    return counts


def calibration_bins(
    probabilities: Float[np.ndarray, "n C"], targets: Int[np.ndarray, " n"], bins: int = BINS
) -> list[Bin]:
    """Predictions by their confidence, the probability of the likeliest class, in intervals ((b - 1) / bins, b / bins]."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    at = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for index in range(bins):
        inside = at == index
        count = int(inside.sum())
        found.append(
            Bin(count, float(confidence[inside].mean()), float(right[inside].mean())) if count else Bin(0, 0.0, 0.0)
        )
    return found


def expected_calibration_error(
    probabilities: Float[np.ndarray, "n C"], targets: Int[np.ndarray, " n"], bins: int = BINS
) -> float:
    """How far confidence and accuracy lie apart: sum over bins of n_b / n |accuracy_b - confidence_b| (arXiv:1706.04599)."""
    found = calibration_bins(probabilities, targets, bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in found) / len(targets)


def log_softmax(logits: Float[np.ndarray, "n C"]) -> Float[np.ndarray, "n C"]:
    """Log-probabilities over the last axis, in float64."""
    shifted = logits - logits.max(axis=-1, keepdims=True).astype(np.float64)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def f1_score(targets: np.ndarray, predicted: np.ndarray, **options: Any) -> float:
    """scikit-learn's f1, 0 where nothing is there to be found and nothing was."""
    from sklearn.metrics import f1_score

    return float(f1_score(targets, predicted, zero_division=0, **options))  # pyright: ignore


def matthews(targets: np.ndarray, predicted: np.ndarray) -> float:
    """scikit-learn's Matthews correlation, 0 where either side is all of one class."""
    from sklearn.metrics import matthews_corrcoef

    if len(np.unique(targets)) < 2 or len(np.unique(predicted)) < 2:
        return 0.0
    return float(matthews_corrcoef(targets, predicted))


def correlation(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Pearson's r, 0 where one side does not vary."""
    if not np.ptp(x) or not np.ptp(y):  # looked at before the mean is taken away, which leaves rounding errors
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()), -1.0, 1.0))


def ranks(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The place of each value in their order, from 1; equal values share the mean of their places.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return ((last - counts + 1 + last) / 2.0)[inverse]


def _asked(kind: str, metrics: Sequence[str] | None, classes: int | None = None) -> tuple[str, ...]:
    if metrics is not None:
        return check_metrics(kind, metrics, classes)
    return tuple(name for name in METRICS[kind] if not (name == "f1" and classes != 2))


def _check(logits: np.ndarray, targets: np.ndarray, classes: int) -> None:
    _check_numbers("logits", logits)
    if logits.shape != (len(targets), classes):
        raise MetricError(
            f"logits are {logits.shape} for {len(targets)} targets and {classes} labels; they must be "
            f"({len(targets)}, {classes})"
        )
    if (wrong := (targets < 0) | (targets >= classes)).any():
        at = int(wrong.argmax())
        raise MetricError(f"target {int(targets[at])} of example {at} is none of the {classes} labels")


def _check_numbers(name: str, values: np.ndarray) -> None:
    if not len(values):
        raise MetricError(f"there are no {name} to score; the data set is empty")
    if not np.isfinite(values).all():
        at = int(np.argwhere(~np.isfinite(values))[0][0])
        raise MetricError(f"{name} of example {at} are not finite; the model diverged, score an earlier checkpoint")
