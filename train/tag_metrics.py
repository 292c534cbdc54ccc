"""Scores of tags, a tag a word: entities found exactly, by two conventions that differ, and always both.

`f1_strict` counts an entity only where its tags are well formed in the scheme (seqeval's mode "strict" with that scheme);
`f1` is what conlleval and most papers give (seqeval's default mode): a tag I-PER behind no other PER begins an entity too. A
tagger that writes I- for every B- has f1 1 and f1_strict 0 on IOB2, and both 1 on IOB1.
References: Tjong Kim Sang and De Meulder, CoNLL-2003; Nakayama, seqeval.
"""

from collections.abc import Sequence

import numpy as np

from data.tasks.tag_schemes import GRAMMARS, NAMES, Spelling, Tag, fits, grammars_with, spans_of, spelling_of, tags_of
from train.task_metrics import METRICS, MetricError, check_metrics, f1_score

DOUBTFUL = 0.2  # a share of predicted tags that do not fit a scheme, where another one explains nearly all of them


def tagging_scores(
    predicted: Sequence[Sequence[str]],
    targets: Sequence[Sequence[str]],
    scheme: str = "IOB2",
    metrics: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
) -> dict[str, float]:
    """Precision, recall and f1 of entities over all texts together, strict and by default; of single tags, the share that is
    right and the mean f1 of those that occur.

    Args:
        predicted, targets: for each text the tags of its words, as "B-PER".
        scheme: how tags spell entities, a name of data/tasks/tag_schemes.py: IOB2 (or BIO), IOB1, IO, IOE1, IOE2, IOBES (or
            BIOES), BILOU, BMES, ...
        labels: every tag that there is, where those of these texts do not show how tags are written.

    Raises:
        MetricError: unequal lengths, or tags that the scheme does not have, where the f1 of entities means nothing.

    >>> tagging_scores([["I-PER", "I-PER"]], [["B-PER", "I-PER"]], metrics=["f1_strict", "f1", "accuracy"])
    {'f1_strict': 0.0, 'f1': 1.0, 'accuracy': 0.5}
    """
    names = METRICS["tagging"] if metrics is None else check_metrics("tagging", metrics)
    _check(predicted, targets)
    scores = {}
    if entities := [name for name in names if name not in ("accuracy", "macro_f1")]:
        if scheme not in NAMES:
            raise MetricError(f"no tagging scheme is called {scheme!r}; use {', '.join(NAMES)}")
        ours, theirs = _read(predicted, targets, scheme, labels)
        scores = _entities(ours, theirs, NAMES[scheme][0], entities)
    ours, theirs = ([tag for tags in side for tag in tags] for side in (predicted, targets))
    if "accuracy" in names:
        scores["accuracy"] = sum(one == other for one, other in zip(ours, theirs, strict=True)) / len(ours)
    if "macro_f1" in names:
        scores["macro_f1"] = f1_score(np.array(theirs), np.array(ours), average="macro")
    return {name: scores[name] for name in names}


def doubtful_scheme(predicted: Sequence[Sequence[str]], scheme: str, labels: Sequence[str]) -> str:
    """The scheme that predicted tags follow where it clearly is not the one that they are scored in, else "".

    >>> doubtful_scheme([["I-PER", "O", "I-LOC"]] * 9, "IOB2", ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    'IOB1'
    """
    spelling = spelling_of(labels)
    if spelling is None or scheme not in NAMES:
        return ""
    read = [[spelling.read(tag) or Tag("O") for tag in tags] for tags in predicted]
    letters = {tag.letter for label in labels if (tag := spelling.read(label))} - {"O"}
    inside = sum(tag.letter != "O" for tags in read for tag in tags)
    mine = fits(read, [NAMES[scheme][0]])[0]
    best = fits(
        read, [name for name in grammars_with(letters) if set(GRAMMARS[name].letters) == letters] or [mine.grammar]
    )[0]
    return best.grammar if mine.odd > DOUBTFUL * inside and 10 * best.odd <= mine.odd else ""


def _entities(ours: list[list[Tag]], theirs: list[list[Tag]], grammar: str, names: Sequence[str]) -> dict[str, float]:
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support
    from seqeval.metrics.v1 import precision_recall_fscore_support as strict
    from seqeval.scheme import IOB2

    kinds = {
        kind: f"T{number}"
        for number, kind in enumerate(sorted({t.kind for side in (ours, theirs) for x in side for t in x}))
    }

    def written(tags: list[Tag]) -> list[str]:
        return [tag.letter if tag.letter == "O" else f"{tag.letter}-{kinds[tag.kind]}" for tag in tags]

    options = {"average": "micro", "zero_division": 0}
    found = {}
    if any(name.endswith("_strict") for name in names):
        # Well-formed spans are the same in any scheme; seqeval knows some schemes only, IOE1 with faults.
        good = [
            [written(tags_of(spans_of(tags, grammar), len(tags), "IOB2")) for tags in side] for side in (theirs, ours)
        ]
        values = strict(*good, scheme=IOB2, **options)
        found |= dict(zip(("precision_strict", "recall_strict", "f1_strict"), values, strict=False))
    if any(not name.endswith("_strict") for name in names):
        values = precision_recall_fscore_support([written(x) for x in theirs], [written(x) for x in ours], **options)
        found |= dict(zip(("precision", "recall", "f1"), values, strict=False))
    return {name: float(found[name]) for name in names}


def _read(
    predicted: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], scheme: str, labels: Sequence[str] | None
) -> tuple[list[list[Tag]], list[list[Tag]]]:
    """What the tags of both sides mean; MetricError for one that the scheme does not have."""
    seen = {tag for side in (predicted, targets) for tags in side for tag in tags} | set(labels or ())
    grammar, spelt = NAMES[scheme]
    try:
        spelling = spelling_of(seen)
    except ValueError as error:
        raise MetricError(str(error)) from error
    spelling = spelling or Spelling("letter first")
    letters = GRAMMARS[grammar].letters

    def read(tag: str, text: int, word: int) -> Tag:
        found = spelling.read(tag)
        if found is None or found.letter not in "O" + letters:
            shown = [spelt.get(letter, letter) for letter in letters]
            raise MetricError(
                f"tag {tag!r} of word {word} of text {text} is none of {scheme}, whose tags are O and a letter of "
                f"{''.join(shown)} with a type, as {shown[0]}-PER; name another scheme, or the metric accuracy"
            )
        return found

    ours, theirs = (
        [[read(tag, text, word) for word, tag in enumerate(tags)] for text, tags in enumerate(side)]
        for side in (predicted, targets)
    )
    return ours, theirs


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
