"""Exact match and f1 of answers, as the official scripts of SQuAD, CMRC 2018 and MLQA count them.

An answer is compared after it was normalised; f1 is that of the bags of words of answer and gold, in CMRC 2018 that of their
longest common run of characters. Of several golds the best counts, for each score apart. A question without an answer has no
golds, and is right where nothing was answered. Scores are shares of 1; the scripts print percent.

    squad      lower case, without ASCII punctuation and the words a, an, the; words between spaces
    unicode    lower case, without any punctuation; words between spaces
    cmrc2018   lower case, without any punctuation; each character of a script without spaces, and words of others
    mlqa-LL    as unicode, and without the articles of the language LL (en, es, de, ar, vi, hi); zh by characters

References: Rajpurkar et al., arXiv:1606.05250; Rajpurkar, Jia and Liang, arXiv:1806.03822; Cui et al., arXiv:1810.07366; Lewis et
al., arXiv:1910.07475. CMRC's script splits words between its Chinese characters by NLTK, and here they are split at spaces.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from train.metric_tokens import MIXED, unicode_words, unspaced
from train.task_metrics import METRICS, MetricError, check_metrics

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# As in MLQA's script; Hindi and Chinese have none.
ARTICLES = {
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "ar": "\u0627\u0644",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "hi": "",
    "zh": "",
}


Script = str | Sequence[str]  # the name of a scoring, or one for each question


class Scoring(NamedTuple):
    """How answers are compared: what is left of one, its words, and whether they count as a bag or as one run."""

    normalise: Callable[[str], str]
    words: Callable[[str], list[str]]
    run: bool = False


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation, without the words a, an, the, single spaces: in this order.

    >>> normalised("The Cat's,  an  answer")
    'cats answer'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def without_punctuation(text: str, articles: str = "") -> str:
    """Lower case, without anything that Unicode or ASCII calls punctuation, without articles, single spaces.

    >>> without_punctuation("«L'été», 北京。"), without_punctuation("Das Haus!", ARTICLES["de"])
    ('lété 北京', 'haus')
    """
    kept = (c for c in text.lower() if c not in string.punctuation and not unicodedata.category(c).startswith("P"))
    found = "".join(kept)
    return " ".join((re.sub(articles, " ", found) if articles else found).split())


def scoring_of(name: str, golds: Sequence[Sequence[str]] = ()) -> list[str]:
    """The scoring of each question, which fits its golds where none is named: CMRC's for scripts without spaces, SQuAD's for
    Latin letters. Numbers, golds of both scripts, and Latin ones where they are few go with the others.

    >>> scoring_of("auto", [["北京大学"], []]), scoring_of("auto", [["in Köln"], ["北京"]]), scoring_of("auto", [["Москва"]])
    (['cmrc2018', 'cmrc2018'], ['squad', 'cmrc2018'], ['unicode'])
    """
    if name != "auto":
        return [name] * len(golds)
    own = [_fitting(several) for several in golds]
    counts = Counter(filter(None, own))
    mixed = "cmrc2018" if unspaced(text for several in golds for text in several) else "squad"
    common = max(counts, key=counts.__getitem__, default=mixed)
    few = counts["squad"] < MIXED * counts.total()
    return [common if one is None or (few and one == "squad") else one for one in own]


def scoring_signature(name: str, golds: Sequence[Sequence[str]]) -> str:
    """How answers are compared, in words for scores.json.

    >>> scoring_signature("auto", [["Köln"], ["Bonn"], ["北京"]])
    'script:squad,cmrc2018:1/3'
    """
    (common, _), *others = Counter(scoring_of(name, golds)).most_common() or [(name, 0)]
    return f"script:{common}" + "".join(f",{other}:{count}/{len(golds)}" for other, count in sorted(others))


def _fitting(golds: Sequence[str]) -> str | None:
    """The scoring that fits the golds of one question; None where any may."""
    if unspaced(golds):
        return "cmrc2018" if unspaced(golds, 0.5) else None
    letters = [c for text in golds for c in unicodedata.normalize("NFD", text) if c.isalpha()]
    other = sum(c > "\x7f" and not unicodedata.name(c, "").startswith("LATIN") for c in letters)
    return None if not letters else "unicode" if 2 * other > len(letters) else "squad"


def scorings(name: str) -> Scoring:
    """A scoring by its name; MetricError where none is called so."""
    language = name.removeprefix("mlqa-")
    if name == "squad":
        return Scoring(normalised, lambda text: normalised(text).split())
    if name == "unicode":
        return Scoring(without_punctuation, lambda text: without_punctuation(text).split())
    if name == "cmrc2018":
        return Scoring(lambda text: "".join(without_punctuation(text).split()), unicode_words, run=True)
    if name != language and language in ARTICLES:

        def left(text: str) -> str:
            return without_punctuation(text, ARTICLES[language])

        return Scoring(
            left, (lambda text: unicode_words(left(text))) if language == "zh" else lambda text: left(text).split()
        )
    raise MetricError(f"no scoring of answers is called {name}; use auto, squad, unicode, cmrc2018 or mlqa-"
                      f"{', mlqa-'.join(ARTICLES)}")  # fmt: skip


def exact_match(answer: str, gold: str, *, scoring: str = "squad") -> float:
    """1 where both are the same after they were normalised, else 0."""
    left = scorings(scoring).normalise
    return float(left(answer) == left(gold))


def f1(answer: str, gold: str, *, version: int = 2, scoring: str = "squad") -> float:
    """2 p r / (p + r) of the words that answer and gold share.

    Where one of them has no words left, version 2 gives 1 if both have none and else 0; version 1 gives 0.

    >>> round(f1("the black cat", "a black dog sat"), 3), f1("北京大学", "大学。", scoring="cmrc2018")
    (0.4, 0.6666666666666666)
    """
    how = scorings(scoring)
    ours, theirs = how.words(answer), how.words(gold)
    if not ours or not theirs:
        return float(ours == theirs) if version == 2 else 0.0
    if how.run:
        same = SequenceMatcher(None, ours, theirs, autojunk=False).find_longest_match().size
    else:
        same = sum((Counter(ours) & Counter(theirs)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


def answer_scores(
    answers: Sequence[str],
    golds: Sequence[Sequence[str]],
    metrics: Sequence[str] | None = None,
    *,
    version: int | None = None,
    scoring: Script = "squad",
) -> dict[str, float]:
    """exact_match and f1 over all questions; where some have no answer, also over those with one and those without.

    Args:
        answers: one a question, "" for none.
        golds: the answers that count as right, none for a question that has no answer.
        version: of the official script; None: 2 where a question has no answer, else 1.
        scoring: squad, or one of the others above, or one for each question.

    >>> answer_scores(["Paris", ""], [["paris", "Paris, France"], []])["f1_no_answer"]
    1.0
    """
    names = METRICS["answers"] if metrics is None else check_metrics("answers", metrics)
    version = _version(golds) if version is None else version
    per_question = question_scores(answers, golds, version=version, scoring=scoring)
    has = [bool(gold) for gold in golds]
    scores = {name: _mean([scores[name] for scores in per_question]) for name in names}
    if version == 2:
        for split, wanted in (("has_answer", True), ("no_answer", False)):
            inside = [scores for scores, answerable in zip(per_question, has, strict=True) if answerable is wanted]
            if inside:
                scores |= {f"{name}_{split}": _mean([one[name] for one in inside]) for name in names}
    return scores


def question_scores(
    answers: Sequence[str], golds: Sequence[Sequence[str]], *, version: int | None = None, scoring: Script = "squad"
) -> list[dict[str, float]]:
    """exact_match and f1 of each question: the best over its golds."""
    if len(answers) != len(golds):
        raise MetricError(f"there are {len(answers)} answers to {len(golds)} questions; give one to each")
    if not answers:
        raise MetricError("there are no answers to score; the data set is empty")
    version = _version(golds) if version is None else version
    if version not in (1, 2):
        raise MetricError(f"the scripts of SQuAD have versions 1 and 2, not {version}")
    if version == 1 and not all(golds):
        at = next(index for index, gold in enumerate(golds) if not gold)
        raise MetricError(f"question {at} has no gold answer, which SQuAD 1.1 does not know; use version=2")
    every = [scoring] * len(golds) if isinstance(scoring, str) else scoring
    return [
        {
            "exact_match": max(exact_match(answer, t, scoring=script) for t in _texts(gold, version, script)),
            "f1": max(f1(answer, t, version=version, scoring=script) for t in _texts(gold, version, script)),
        }
        for answer, gold, script in zip(answers, golds, every, strict=True)
    ]


def span_f1(spans: Sequence[str], golds: Sequence[Sequence[str]], scoring: Script = "squad") -> float:
    """f1 of the best span of each question, over the questions that have an answer: how well answers are found, whether or not
    they would have been given.

    >>> span_f1(["a cat", "a dog"], [["the cat"], []])
    1.0
    """
    if not any(golds):
        return 0.0
    found = question_scores(spans, golds, version=2, scoring=scoring)
    return _mean([one["f1"] for one, gold in zip(found, golds, strict=True) if gold])


def best_threshold(
    answers: Sequence[str],
    golds: Sequence[Sequence[str]],
    no_answer: Sequence[float],
    metric: str = "f1",
    *,
    scoring: Script = "squad",
) -> tuple[float, float]:
    """The best score that withholding unlikely answers can reach, and the threshold: answers with `no_answer` over it go.

    `no_answer` is how likely each question has none, on any scale (null score minus best span's, in BERT). Chosen on the
    very questions that it is scored on, as the official script does for its "best" figures: an upper bound.

    >>> best_threshold(["a cat", "a dog"], [["cat"], []], [0.1, 0.9])
    (1.0, 0.1)
    """
    check_metrics("answers", [metric])
    if len(no_answer) != len(golds):
        raise MetricError(f"there are {len(no_answer)} no-answer scores to {len(golds)} questions; give one to each")
    scores = [one[metric] for one in question_scores(answers, golds, version=2, scoring=scoring)]
    has = [bool(gold) for gold in golds]
    current = best = has.count(False)
    lowest = min(no_answer)
    threshold = 0.0 if lowest >= 0 else lowest - 1.0  # under all of them: nothing is answered
    for index in sorted(range(len(golds)), key=lambda index: no_answer[index]):
        current += scores[index] if has[index] else -1 if answers[index] else 0
        if current > best:
            best, threshold = current, float(no_answer[index])
    return best / len(golds), threshold


def _version(golds: Sequence[Sequence[str]]) -> int:
    return 1 if all(golds) else 2


def _texts(golds: Sequence[str], version: int, scoring: str) -> Sequence[str]:
    """The golds that the script compares with: version 2 leaves out those of which nothing is left, and has "" for none."""
    return golds if version == 1 else [gold for gold in golds if scorings(scoring).normalise(gold)] or [""]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
