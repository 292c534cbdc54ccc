"""Probes: a label that is written in the activations is found, one that is not is not, and memory is told from reading."""

import sys

import numpy as np
import pytest

from model.inspection.probes import control_labels, linear_probe

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
TOKENS, WIDTH, TYPES = 1_200, 16, 120


@pytest.fixture
def drawn():
    """Word types, and activations of noise."""
    draw = np.random.default_rng(0)
    return draw, draw.integers(0, TYPES, TOKENS), draw.normal(size=(TOKENS, WIDTH))


def test_a_planted_label_is_found_and_the_control_is_not(drawn):
    draw, words, vectors = drawn
    labels = draw.integers(0, 2, TOKENS)
    vectors = vectors + np.outer(2 * labels - 1, 4.0 * np.eye(WIDTH)[3])
    found = linear_probe(vectors, np.array(["noun", "verb"])[labels], words)
    assert found.accuracy > 0.98 and abs(found.control_accuracy - found.floor) < 0.1
    assert found.selectivity > 0.4
    assert found.num_classes == 2 and found.num_held_out == 360 and found.num_fitted == 840


def test_random_labels_are_not_found(drawn):
    draw, words, vectors = drawn
    found = linear_probe(vectors, draw.integers(0, 2, TOKENS), words)
    assert abs(found.selectivity) < 0.08 and abs(found.accuracy - found.floor) < 0.08


def test_memory_of_word_types_is_no_selectivity(drawn):
    """Activations that hold nothing but the word: any labels of word types can be read, those of the control as well."""
    draw, words, _ = drawn
    wide = 3.0 * np.eye(TYPES)[words] + 0.1 * draw.normal(size=(TOKENS, TYPES))
    found = linear_probe(wide, draw.integers(0, 2, TYPES)[words], words)
    assert found.accuracy > 0.95 and found.control_accuracy > 0.95 and abs(found.selectivity) < 0.05


def test_control_labels_belong_to_word_types_and_have_the_labels_frequencies():
    draw = np.random.default_rng(1)
    labels = (draw.random(5_000) < 0.8).astype(int)
    words = np.arange(5_000) // 2
    control = control_labels(labels, words, draw)
    assert (control[::2] == control[1::2]).all() and control.mean() == pytest.approx(0.8, abs=0.03)


def test_groups_are_held_out_whole(drawn):
    """A label that is the sentence itself cannot be read from sentences that were never seen."""
    draw, words, _ = drawn
    sentences = np.arange(TOKENS) // 40
    written = np.eye(30)[sentences] + 0.01 * draw.normal(size=(TOKENS, 30))
    labels = draw.integers(0, 2, 30)[sentences]
    assert linear_probe(written, labels, words).accuracy > 0.99
    assert linear_probe(written, labels, words, groups=sentences).accuracy < 0.9


def test_the_same_seed_finds_the_same(drawn):
    draw, words, vectors = drawn
    labels = draw.integers(0, 3, TOKENS)
    assert linear_probe(vectors, labels, words, seed=3) == linear_probe(vectors, labels, words, seed=3)


def test_mistakes_are_named(drawn, monkeypatch):
    _, words, vectors = drawn
    with pytest.raises(ValueError, match="1200 examples of 1 labels are too few"):
        linear_probe(vectors, np.zeros(TOKENS, int), words)
    with pytest.raises(ValueError, match=r"held_out=1.5 must lie between"):
        linear_probe(vectors, words, words, held_out=1.5)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ImportError, match="probes need scikit-learn: pip install"):
        linear_probe(vectors, words % 2, words)
