"""Linear probes with a control task: is a label written in the activations, or could the probe have learnt anything?

A probe is a logistic regression from activations to labels. Its control is the same regression on labels drawn at random, one
for each word type, with the frequencies of the real ones: nothing linguistic is in them, so what a probe reaches there it has
memorised. What remains is the evidence:

    selectivity = accuracy - control accuracy

Reference: Hewitt and Liang, arXiv:1909.03368. Needs scikit-learn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped


@dataclass(frozen=True)
class Probed:
    """What a probe found, on examples that it was not fitted to.

    Attributes:
        accuracy: share of labels that it gets right.
        control_accuracy: the same on random labels of word types.
        floor: what the commonest training label alone would reach.
        num_classes: how many labels there are.
        num_fitted: examples that the probe was fitted to.
        num_held_out: examples that it was measured on.
    """

    accuracy: float
    control_accuracy: float
    floor: float
    num_classes: int
    num_fitted: int
    num_held_out: int

    @property
    def selectivity(self) -> float:
        """accuracy - control_accuracy."""
        return self.accuracy - self.control_accuracy


def linear_probe(
    activations: Float[np.ndarray, "n D"],
    labels: Shaped[np.ndarray, " n"],
    words: Shaped[np.ndarray, " n"],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    held_out: float = 0.3,
    strength: float = 1.0,
    max_iterations: int = 1_000,
    seed: int = 0,
) -> Probed:
    """Fit a probe and its control, and measure both on held-out examples.

    Args:
        activations: one vector an example, a token as a rule.
        labels: what is to be read from it, words or numbers.
        words: the word type of each example; the control's labels are drawn for these.
        groups: what stays together when examples are held out, as sentences; None: each example by itself.
        held_out: share of the groups to measure on.
        strength: of the L2 penalty, on columns brought to unit variance; more forgets more.
        max_iterations: of the solver, L-BFGS; scikit-learn warns where they were too few.
        seed: of the split and of the control's labels.

    ValueError where there are fewer than two labels to fit, or nothing to hold out; ImportError without scikit-learn.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out={held_out} must lie between 0 and 1")
    sizes = [len(one) for one in (activations, labels, words, *(() if groups is None else (groups,)))]
    if np.ndim(activations) != 2 or len(set(sizes)) > 1:
        raise ValueError(
            f"activations of shape {np.shape(activations)} beside {sizes[1]} labels and {sizes[2]} words; give one vector, label "
            "and word an example, those of padding left out, as values[real]"
        )
    draw = np.random.default_rng(seed)
    kinds, coded = np.unique(np.asarray(labels), return_inverse=True)
    test = _held_out(np.arange(len(labels)) if groups is None else np.asarray(groups), held_out, draw)
    if len(np.unique(coded[~test])) < 2 or not test.any():
        raise ValueError(f"{len(labels)} examples of {len(kinds)} labels are too few to fit a probe and hold some out")
    control = control_labels(coded, np.asarray(words), draw)
    vectors = np.asarray(activations, np.float64)
    fitted = {"strength": strength, "max_iterations": max_iterations}
    commonest = np.bincount(coded[~test]).argmax()
    return Probed(
        accuracy=_accuracy(vectors, coded, test, **fitted),
        control_accuracy=_accuracy(vectors, control, test, **fitted),
        floor=float((coded[test] == commonest).mean()),
        num_classes=len(kinds),
        num_fitted=int((~test).sum()),
        num_held_out=int(test.sum()),
    )


def control_labels(
    labels: Int[np.ndarray, " n"], words: Shaped[np.ndarray, " n"], draw: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """A random label for each word type, drawn with the frequencies that the labels have.

    >>> control_labels(np.array([0, 1, 0]), np.array(["the", "cat", "the"]), np.random.default_rng(0))
    array([1, 0, 1])
    """
    types, which = np.unique(words, return_inverse=True)
    return draw.choice(labels, len(types))[which]


def _held_out(groups: np.ndarray, share: float, draw: np.random.Generator) -> np.ndarray:
    """Which examples are held out: whole groups, about this share of them."""
    names, which = np.unique(groups, return_inverse=True)
    chosen = draw.permutation(len(names))[: round(share * len(names))]
    return np.isin(which, chosen)


def _accuracy(
    vectors: np.ndarray, labels: np.ndarray, test: np.ndarray, *, strength: float, max_iterations: int
) -> float:
    """The share that a regression fitted to the rest gets right of the held-out examples."""
    regression, scaler, pipeline = _scikit_learn()
    if len(np.unique(labels[~test])) < 2:  # a control of few word types may come out all alike
        return float((labels[test] == labels[~test][0]).mean())
    probe = pipeline(scaler(), regression(C=1.0 / strength, max_iter=max_iterations))
    probe.fit(vectors[~test], labels[~test])
    return float(probe.score(vectors[test], labels[test]))


def _scikit_learn() -> tuple[Any, Any, Any]:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError as error:
        raise ImportError("probes need scikit-learn: pip install scikit-learn") from error
    return LogisticRegression, StandardScaler, make_pipeline
