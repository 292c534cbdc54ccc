"""Metrics of tasks against the libraries that define them, the official scripts worked by hand, and the edges."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from train import answer_metrics as answers
from train import tag_metrics as tags
from train import task_metrics as metrics
from train import text_metrics as texts

LABELS = ("no", "yes")


def some(seed, n=40, classes=3):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    return logits, rng.integers(0, classes, n)


# Classes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 5])
def test_classification_is_scikit_learns(seed, classes):
    logits, targets = some(seed, classes=classes)
    predicted = logits.argmax(1)
    probabilities = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(1, keepdims=True)
    expected = {
        "accuracy": sk.accuracy_score(targets, predicted),
        "macro_f1": sk.f1_score(targets, predicted, average="macro"),
        "matthews": sk.matthews_corrcoef(targets, predicted),
        "valid_loss": sk.log_loss(targets, probabilities, labels=range(classes)),
    }
    if classes == 2:
        expected["f1"] = sk.f1_score(targets, predicted)
    scores = metrics.classification_scores(logits, targets, [str(c) for c in range(classes)])
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-7)
    assert set(scores) == {*expected, "expected_calibration_error"}
    assert all(type(value) is float for value in scores.values())


def test_f1_is_that_of_the_second_class():
    logits = np.eye(2, dtype=np.float32)[[1, 1, 0, 0, 0]]
    scores = metrics.classification_scores(logits, np.array([1, 0, 1, 0, 0]), LABELS, ["f1"])
    assert scores == {"f1": pytest.approx(0.5)}  # one hit, one false alarm, one missed


@pytest.mark.parametrize("targets", [[0, 1, 1], [0, 0, 0], [1, 1, 1]])
@pytest.mark.parametrize("always", [0, 1])
def test_constant_predictions_have_scores_and_no_warnings(targets, always):
    logits = np.zeros((3, 2), np.float32)
    logits[:, always] = 3
    scores = metrics.classification_scores(logits, np.array(targets), LABELS)
    assert scores["matthews"] == 0.0
    assert all(math.isfinite(value) for value in scores.values())


def test_a_uniform_model_loses_log_classes():
    scores = metrics.classification_scores(np.zeros((6, 4), np.float32), np.arange(6) % 4, "abcd", ["valid_loss"])
    assert scores["valid_loss"] == pytest.approx(math.log(4))


def test_large_logits_do_not_overflow():
    logits = np.array([[1e4, -1e4], [3e38, 0]], np.float32)
    assert metrics.classification_scores(logits, np.array([0, 0]), LABELS)["valid_loss"] == 0.0


def test_calibration_error_by_hand():
    """Two predictions at 0.9, one right: |0.5 - 0.9|; two at 0.6, both right: |1 - 0.6|; each half of the examples."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.6, 0.4]])
    targets = np.array([0, 1, 1, 0])
    assert metrics.expected_calibration_error(probabilities, targets) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    bins = metrics.calibration_bins(probabilities, targets)
    assert len(bins) == 15 and sum(b.count for b in bins) == 4
    assert bins[13] == (2, pytest.approx(0.9), 0.5) and bins[8] == (2, pytest.approx(0.6), 1.0)


def test_a_calibrated_model_has_no_calibration_error():
    confidence = np.repeat([0.55, 0.75, 0.95], 20_000)
    targets = (np.random.default_rng(0).random(60_000) > confidence).astype(int)
    probabilities = np.stack([confidence, 1 - confidence], 1)
    assert metrics.expected_calibration_error(probabilities, targets) < 0.01


def test_the_edges_of_bins_belong_to_the_lower_one():
    probabilities = np.array([[1.0, 0.0], [0.6, 0.4]])
    bins = metrics.calibration_bins(probabilities, np.array([0, 0]), bins=5)
    assert [b.count for b in bins] == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("seed", range(3))
def test_several_labels_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 2, (30, 4)).astype(np.float32)
    predicted = (logits > 0).astype(int)
    scores = metrics.multi_label_scores(logits, targets, "abcd")
    assert scores["micro_f1"] == pytest.approx(sk.f1_score(targets, predicted, average="micro"))
    assert scores["macro_f1"] == pytest.approx(sk.f1_score(targets, predicted, average="macro"))
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(targets, predicted))
    probability = 1 / (1 + np.exp(-logits.astype(float)))
    loss = -(targets * np.log(probability) + (1 - targets) * np.log(1 - probability)).mean()
    assert scores["valid_loss"] == pytest.approx(loss)
    nothing = metrics.multi_label_scores(-abs(logits), np.zeros((30, 4), np.float32), "abcd")
    assert nothing["micro_f1"] == nothing["macro_f1"] == 0.0 and nothing["accuracy"] == 1.0


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30))
@settings(max_examples=40, deadline=None)
def test_regression_is_scipys(pairs):
    x, y = np.array(pairs, float).T
    scores = metrics.regression_scores(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pearson, spearman = scipy.stats.pearsonr(x, y)[0], scipy.stats.spearmanr(x, y)[0]
    assert scores["pearson"] == pytest.approx(np.nan_to_num(pearson), abs=1e-9)
    assert scores["spearman"] == pytest.approx(np.nan_to_num(spearman), abs=1e-9)
    assert scores["mse"] == pytest.approx(((x - y) ** 2).mean())


def test_what_does_not_vary_correlates_with_nothing():
    scores = metrics.regression_scores(np.full(7, 0.1), np.arange(7.0))
    assert scores["pearson"] == scores["spearman"] == 0.0


def test_the_report_of_classes_is_scikit_learns():
    logits, targets = some(1, classes=4)
    predicted = logits.argmax(1)
    ours = metrics.classification_report(predicted, targets, ("a", "b", "c", "d", "never"))
    theirs = sk.classification_report(
        targets, predicted, labels=range(5), target_names=list(ours), output_dict=True, zero_division=0
    )
    for label, row in ours.items():
        assert row["f1"] == pytest.approx(theirs[label]["f1-score"]) and row["support"] == theirs[label]["support"]
    assert ours["never"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert (
        metrics.confusion_matrix(predicted, targets, 5) == sk.confusion_matrix(targets, predicted, labels=range(5))
    ).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.check_metrics("classification", ["bleu"]), "use accuracy, f1, macro_f1"),
        (lambda: metrics.check_metrics("classification", ["f1"], 3), "use macro_f1"),
        (lambda: metrics.check_metrics("classification", ["bleu"], 3), "use accuracy, macro_f1"),
        (lambda: metrics.check_metrics("guessing", []), "there are classification"),
        (lambda: metrics.classification_scores(np.zeros((2, 3)), np.zeros(2, int), LABELS), r"must be \(2, 2\)"),
        (lambda: metrics.classification_scores(np.zeros((2, 2)), np.array([0, 2]), LABELS), "target 2 of example 1"),
        (lambda: metrics.classification_scores(np.zeros((0, 2)), np.zeros(0, int), LABELS), "empty"),
        (lambda: metrics.classification_scores(np.full((1, 2), np.nan), np.zeros(1, int), LABELS), "not finite"),
        (lambda: metrics.regression_scores(np.zeros(2), np.zeros(3)), "2 predictions for 3 targets"),
        (lambda: metrics.multi_label_scores(np.zeros((1, 2)), np.full((1, 2), 0.5), LABELS), "0 or 1"),
        (lambda: tags.tagging_scores([["O"]], [["O", "O"]]), "text 0 has 2 words"),
        (lambda: tags.tagging_scores([["NN"]], [["VB"]]), "name another scheme, or the metric accuracy"),
        (lambda: tags.tagging_scores([["E-X"]], [["B-X"]]), "'E-X' of word 0 of text 0"),
        (lambda: answers.answer_scores(["a"], []), "1 answers to 0 questions"),
        (lambda: answers.answer_scores(["a"], [[]], version=1), "version=2"),
        (lambda: texts.generation_scores(["a"], ["a"]), "a list of one reference"),
        (lambda: texts.generation_scores(["a"], [["a"]], ["accuracy"]), "use bleu"),
        (lambda: texts.perplexity(1.0, 0), "there are none"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(call, words):
    with pytest.raises(metrics.MetricError, match=words) as caught:
        call()
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
