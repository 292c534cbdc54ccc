"""Scores of tags, a tag a word: entities found exactly, by two conventions that differ, and always both.

`f1_strict` counts an entity only where its tags are well formed in the scheme (seqeval's mode "strict" with that scheme);
`f1` is what conlleval and most papers give (seqeval's default mode): a tag I-PER behind no other PER begins an entity too. A
tagger that writes I- for every B- has f1 1 and f1_strict 0 on IOB2.
References: Tjong Kim Sang and De Meulder, CoNLL-2003; Nakayama, seqeval.
"""

from collections.abc import Sequence

import numpy as np

from train.task_metrics import METRICS, MetricError, check_metrics, f1_score

# Scheme -> the letters that open its tags, and the scheme of seqeval that is strict about it.
SCHEMES = {
    "IOB2": ("BI", "IOB2"),
    "BIO": ("BI", "IOB2"),
    "IOB1": ("IB", "IOB1"),
    "IO": ("I", "IOB1"),
    "IOE2": ("IE", "IOE2"),
    "IOE1": ("IE", "IOE1"),
    "IOBES": ("BIES", "IOBES"),
    "BIOES": ("BIES", "IOBES"),
    "BILOU": ("BILU", "IOBES"),
    "BMES": ("BMES", "IOBES"),
}
SPELT = {"BILOU": {"L": "E", "U": "S"}, "BMES": {"M": "I"}}  # the same scheme as IOBES in other letters


def tagging_scores(
    predicted: Sequence[Sequence[str]],
    targets: Sequence[Sequence[str]],
    scheme: str = "IOB2",
    metrics: Sequence[str] | None = None,
) -> dict[str, float]:
    """Precision, recall and f1 of entities over all texts together, strict and by default; of single tags, the share that is
    right and the mean f1 of those that occur.

    Args:
        predicted, targets: for each text the tags of its words, as "B-PER".
        scheme: how tags spell entities: IOB2 (or BIO), IOB1, IO, IOE1, IOE2, IOBES (or BIOES), BILOU, or BMES (Chinese sets,
            IOBES with M for I).

    Raises:
        MetricError: unequal lengths, or tags that the scheme does not have, where the f1 of entities means nothing.

    >>> tagging_scores([["I-PER", "I-PER"]], [["B-PER", "I-PER"]], metrics=["f1_strict", "f1", "accuracy"])
    {'f1_strict': 0.0, 'f1': 1.0, 'accuracy': 0.5}
    """
    names = METRICS["tagging"] if metrics is None else check_metrics("tagging", metrics)
    _check(predicted, targets)
    scores = {}
    if entities := [name for name in names if name not in ("accuracy", "macro_f1")]:
        if scheme not in SCHEMES:
            raise MetricError(f"no tagging scheme is called {scheme!r}; use {', '.join(SCHEMES)}")
        spelt = [[_spelt(tags, scheme, text) for text, tags in enumerate(side)] for side in (predicted, targets)]
        scores = _entities(spelt[0], spelt[1], SCHEMES[scheme][1], entities)
    ours, theirs = ([tag for tags in side for tag in tags] for side in (predicted, targets))
    if "accuracy" in names:
        scores["accuracy"] = sum(one == other for one, other in zip(ours, theirs, strict=True)) / len(ours)
    if "macro_f1" in names:
        scores["macro_f1"] = f1_score(np.array(theirs), np.array(ours), average="macro")
    return {name: scores[name] for name in names}


def scheme_of(tags: Sequence[str]) -> str | None:
    """The likeliest scheme of a set of tags by their letters; None where they spell no entities, as parts of speech.

    IOB1 has the letters of IOB2, and IOE1 those of IOE2: name those.

    >>> scheme_of(["O", "B-PER", "I-PER"]), scheme_of(["S-LOC", "B-LOC", "M-LOC", "E-LOC"]), scheme_of(["NN", "VB"])
    ('IOB2', 'BMES', None)
    """
    if not tags or not all(tag == "O" or tag[1:2] == "-" for tag in tags):
        return None
    letters = {tag[0] for tag in tags}
    fitting = [name for name in ("IOB2", "IOE2", "IOBES", "BILOU", "BMES") if letters <= {"O", *SCHEMES[name][0]}]
    return fitting[0] if fitting else None


def _entities(ours: list, theirs: list, scheme: str, names: Sequence[str]) -> dict[str, float]:
    from seqeval import scheme as schemes
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support
    from seqeval.metrics.v1 import precision_recall_fscore_support as strict

    options = {"average": "micro", "zero_division": 0}
    found = {}
    if any(name.endswith("_strict") for name in names):
        values = strict(theirs, ours, scheme=getattr(schemes, scheme), **options)
        found |= dict(zip(("precision_strict", "recall_strict", "f1_strict"), values, strict=False))
    if any(not name.endswith("_strict") for name in names):
        values = precision_recall_fscore_support(theirs, ours, **options)
        found |= dict(zip(("precision", "recall", "f1"), values, strict=False))
    return {name: float(found[name]) for name in names}


def _spelt(tags: Sequence[str], scheme: str, text: int) -> list[str]:
    spelling = SPELT.get(scheme, {})
    for word, tag in enumerate(tags):
        if tag != "O" and not (len(tag) > 2 and tag[1] == "-" and tag[0] in SCHEMES[scheme][0]):
            letters = SCHEMES[scheme][0]
            raise MetricError(
                f"tag {tag!r} of word {word} of text {text} is none of {scheme}, whose tags are O and a letter of "
                f"{letters} with a type, as {letters[0]}-PER; name another scheme, or the metric accuracy"
            )
    return [tag if tag == "O" else spelling.get(tag[0], tag[0]) + tag[1:] for tag in tags]


def _check(predicted: Sequence[Sequence[str]], targets: Sequence[Sequence[str]]) -> None:
    if len(predicted) != len(targets):
        raise MetricError(
            f"there are tags for {len(predicted)} texts, and {len(targets)} texts; give one list for each"
        )
    for text, (ours, theirs) in enumerate(zip(predicted, targets, strict=True)):
        if len(ours) != len(theirs):
            raise MetricError(
                f"text {text} has {len(theirs)} words and {len(ours)} predicted tags; give one for each word"
            )
    if not any(targets):
        raise MetricError("there are no tags to score; the data set is empty")
