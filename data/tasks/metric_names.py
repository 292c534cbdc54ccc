"""Which metrics fit which kind of task, by name; what computes them is not here."""

from collections.abc import Sequence

from data.errors import DataError

FITTING: dict[str, tuple[str, ...]] = {
    "Classification": ("accuracy", "f1", "macro_f1", "matthews", "expected_calibration_error"),
    "MultiLabel": ("micro_f1", "macro_f1", "accuracy"),
    "Regression": ("pearson", "spearman", "mse"),
    "Tagging": ("f1_strict", "f1", "accuracy", "macro_f1"),
    "Answers": ("exact_match", "f1"),
    "MultipleChoice": ("accuracy", "expected_calibration_error"),
    "Similarity": ("spearman", "pearson", "accuracy"),
    "Generation": ("bleu", "chrf", "rouge1", "rouge2", "rougeL", "rougeLsum", "exact_match", "perplexity"),
}  # fmt: skip


def check_metrics(kind: str, metrics: Sequence[str]) -> None:
    """DataError where a metric does not fit a kind of task; it names those that do.

    >>> check_metrics("Regression", ("pearson", "accuracy"))
    Traceback (most recent call last):
    data.errors.DataError: the metric accuracy does not fit Regression; use pearson, spearman or mse
    """
    fitting = FITTING[kind]
    if not metrics:
        raise DataError(f"{kind} has no metric; use {_either(fitting)}")
    for metric in metrics:
        if metric not in fitting:
            raise DataError(f"the metric {metric} does not fit {kind}; use {_either(fitting)}")


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
