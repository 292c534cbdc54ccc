"""Tasks put to a language model in words: prompts, answers, examples before them, and what comes of their likelihoods.

    question        a context and the texts that may follow it, one of them right: the likeliest is the model's answer
    shots           solved questions before it, drawn from the training examples by (seed, number of the question)

Reference: Brown et al., arXiv:2005.14165, section 2.4. Prompts are those that lm-evaluation-harness made usual.
"""

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import DataError
from train.few_shot_labels import Say, choice_numbers, class_numbers, columns, place
from train.likelihood import Likelihood, Scorer
from train.task_metrics import check_metrics, classification_scores
from train.text_metrics import bits_per_byte, perplexity

BETWEEN = "\n\n"  # examples in a prompt


@dataclass(frozen=True)
class Prompted:
    """A task in words: how an example becomes a question.

    Attributes:
        prompt: the context, with columns in braces.
        answers: what follows it, one for each class; or, where every example has its own,
        choices: their columns, or one column that holds a list.
        label: the column of the right one.
        labels: how files spell classes, in the order of their numbers from 0; none: as the answers.
        spelt: how published files write them, where that is by other numbers.
        also: other names of columns, the usual one first: (("sentence", "content"),).
        prepare: what is done to an example before all this; `__called__` may be what a source calls its choices.
        between: what parts prompt and answer.
        source: where examples come from unless --data.source says it.
        metrics: of a classification; choices of examples of their own have accuracy only.
    """

    prompt: str
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    label: str = "label"
    labels: tuple[str, ...] = ()
    spelt: tuple[str, ...] = ()
    also: tuple[tuple[str, ...], ...] = ()
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    between: str = " "
    source: str = ""
    metrics: tuple[str, ...] = ("accuracy",)

    def __post_init__(self):
        if bool(self.answers) == bool(self.choices):
            raise ValueError("a task in words has either answers, the same for every example, or columns with choices")
        if self.answers:
            check_metrics("classification", self.metrics, len(self.answers))
        elif self.metrics != ("accuracy",):
            raise ValueError(f"metrics={self.metrics}: choices that differ between examples have accuracy only")


@dataclass(frozen=True)
class WholeTexts:
    """Documents that are scored whole: perplexity of a language model, comparable by word and by byte.

    Attributes:
        source: as data/sources.py spells sources of text; empty: it must be named.
        clean: what is done to a document before it is read; words and bytes are those of the document as it was.
    """

    source: str = ""
    clean: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Question:
    """A context, the texts that may follow it with the space before them, and which one is right."""

    context: str
    choices: tuple[str, ...]
    gold: int


def questions(
    task: Prompted,
    examples: Iterable[Mapping[str, Any]],
    *,
    among: Iterable[Mapping[str, Any]] = (),
    spelt: Sequence[str] = (),
    say: Say = lambda line: None,
) -> list[Question]:
    """Examples as questions.

    Args:
        task: how they are put.
        examples: their columns.
        among: other examples by which it is judged, too, how labels are to be read.
        spelt: how they write the classes, or the choices, in order.
        say: is told how labels are read, where that is not by their names.

    Raises:
        DataError: a column is missing, a label is none of the task's, or labels can be read in two ways; with the place of the
            example where it is known.

    >>> task = Prompted(prompt="{text} It was", answers=("bad", "good"))
    >>> questions(task, [{"text": "Fine.", "label": 1}])
    [Question(context='Fine. It was', choices=(' bad', ' good'), gold=1)]
    """
    shown = [prepared(task, renamed(task, example)) for example in examples]
    others = [prepared(task, renamed(task, example)) for example in among]
    if task.answers:
        names = task.labels or task.answers
        golds = class_numbers(shown, others, task.label, names, spelt=spelt, published=task.spelt, say=say)
    else:
        golds = choice_numbers(shown, others, task.label, lambda one: _choices(task, one), spelt=spelt, say=say)
    made = []
    for example, gold in zip(shown, golds, strict=True):
        found = task.answers or _choices(task, example)[0]
        made.append(Question(filled(task.prompt, example), tuple(task.between + answer for answer in found), gold))
    return made


def prompts(question: Question, shots: Sequence[Question]) -> str:
    """The context of a question behind solved ones.

    >>> one = Question("1 + 1 =", (" 2", " 3"), 0)
    >>> prompts(one, [one])
    '1 + 1 = 2\\n\\n1 + 1 ='
    """
    return BETWEEN.join([*(shot.context + shot.choices[shot.gold] for shot in shots), question.context])


def drawn(pool: Sequence[Question], count: int, seed: int, number: int, own: bool = False) -> list[Question]:
    """So many questions of the pool for question `number`; with `own` it is one of the pool itself and never drawn.

    DataError if there are too few.
    """
    if count > len(pool) - own:
        raise DataError(
            f"{count} shots need {count + own} examples to draw from, and there are {len(pool)}; name a --data.source with "
            "a training part, or ask for fewer --shots"
        )
    order = np.random.default_rng((seed, number)).permutation(len(pool))
    return [pool[at] for at in order if not (own and at == number)][:count]


def answer_scores(task: Prompted, asked: Sequence[Question], found: Sequence[Sequence[Likelihood]]) -> dict[str, float]:
    """Scores of one round: the metrics of the task, accuracy by likelihood per byte of the answer, and the standard error.

    `accuracy_per_byte` divides each log-likelihood by the bytes of its answer without the space before it; the harness's acc_norm
    divides by characters, which is the same for ASCII. `accuracy_stderr` is sqrt(p (1 - p) / (n - 1)).
    """
    nats = [np.array([one.nats for one in several]) for several in found]
    sizes = [np.array([len(c.strip().encode()) or 1 for c in question.choices]) for question in asked]
    golds = np.array([question.gold for question in asked])
    right = np.array([values.argmax() for values in nats]) == golds
    per_byte = np.array([(values / size).argmax() for values, size in zip(nats, sizes, strict=True)]) == golds
    scores = {"accuracy": float(right.mean())}
    if task.answers:
        scores = classification_scores(np.stack(nats).astype(np.float32), golds, task.answers, task.metrics)
    share = float(right.mean())
    return scores | {
        "accuracy_per_byte": float(per_byte.mean()),
        "accuracy_stderr": math.sqrt(share * (1 - share) / max(len(asked) - 1, 1)),
    }


def floor(task: Prompted, asked: Sequence[Question]) -> float:
    """What knowing nothing reaches: the share of the commonest class, or of one choice among those that there are."""
    if task.answers:
        return max(Counter(question.gold for question in asked).values()) / len(asked)
    return float(np.mean([1 / len(question.choices) for question in asked]))


def few_shot(
    scorer: Scorer,
    task: Prompted,
    asked: Sequence[Question],
    pool: Sequence[Question],
    shots: int,
    seeds: Sequence[int] = (0,),
    own: bool = False,
) -> dict[str, float]:
    """Scores of a task behind so many shots: means over the seeds that draw them, and with several seeds their spread.

    `own` says that the pool begins with the very questions that are asked: none is ever a shot of its own.
    `NAME_spread` is the sample standard deviation over seeds. Without shots nothing is drawn, and one round is all.
    """
    rounds = []
    for seed in seeds if shots else seeds[:1]:
        requests = []
        for number, question in enumerate(asked):
            context = prompts(question, drawn(pool, shots, seed, number, own) if shots else ())
            requests += [scorer.encode(context, choice) for choice in question.choices]
        found, at, likelihoods = [], 0, scorer.score(requests)
        for question in asked:
            found.append(likelihoods[at : at + len(question.choices)])
            at += len(question.choices)
        rounds.append(answer_scores(task, asked, found))
    names = list(rounds[0])
    scores = {name: statistics.fmean(one[name] for one in rounds) for name in names}
    if len(rounds) > 1:
        spread = [name for name in names if name != "accuracy_stderr"]
        scores |= {f"{name}_spread": statistics.stdev([one[name] for one in rounds]) for name in spread}
    return scores


def text_scores(scorer: Scorer, task: WholeTexts, texts: Sequence[str]) -> dict[str, float]:
    """Perplexity by token, word and byte of whole documents; words and bytes as they were before cleaning."""
    nats = tokens = words = size = 0.0
    for text in texts:
        ids = scorer.tokenizer.encode(task.clean(text) if task.clean else text)
        if not len(ids):
            continue
        requests = scorer.windows(ids)
        nats -= sum(one.nats for one in scorer.score(requests))
        tokens += sum(len(request.continuation) for request in requests)
        words += len(re.split(r"\s+", text))
        size += len(text.encode())
    return {
        "perplexity": perplexity(nats, tokens),
        "word_perplexity": perplexity(nats, words),
        "byte_perplexity": perplexity(nats, size),
        "bits_per_byte": bits_per_byte(nats, size),
    }


def renamed(task: Prompted, example: Mapping[str, Any]) -> dict[str, Any]:
    """An example with the usual names of its columns."""
    example = dict(example)
    for usual, *others in task.also:
        for other in others:
            if usual not in example and other in example:
                example[usual] = example[other]
    return example


def prepared(task: Prompted, example: Mapping[str, Any]) -> Mapping[str, Any]:
    """An example with what the task's `prepare` makes of it; DataError where it has not the form for that."""
    if task.prepare is None:
        return example
    try:
        return {**example, **task.prepare(dict(example))}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        missing = f"there is no column {error}" if isinstance(error, KeyError) else "a column holds something else"
        raise DataError(f"{place(example)}{missing} of this task; there are {columns(example)}") from error


def filled(prompt: str, example: Mapping[str, Any]) -> str:
    """A prompt with the columns of an example in the place of their names.

    >>> filled("{a}? {b}", {"a": "Who", "b": "You {a}"})
    'Who? You {a}'
    """

    def column(found: re.Match) -> str:
        if found[1] not in example:
            raise DataError(f"{place(example)}there is no column {found[1]!r}; there are {columns(example)}")
        return str(example[found[1]]).strip()

    return re.sub(r"{(\w+)}", column, prompt)


def _choices(task: Prompted, example: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The choices of an example, and what the source calls them, if it does."""
    for name in task.choices:
        if name not in example:
            raise DataError(f"{place(example)}there is no column {name!r}; there are {columns(example)}")
    if len(task.choices) == 1:
        listed = example[task.choices[0]]
        if not isinstance(listed, list | tuple) or len(listed) < 2:
            raise DataError(
                f"{place(example)}the column {task.choices[0]!r} holds no list of two choices or more; write one"
            )
        return tuple(map(str, listed)), tuple(example.get("__called__", ()))
    return tuple(str(example[name]).strip() for name in task.choices), task.choices
