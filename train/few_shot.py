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
from data.tasks.label_names import plain
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
        label: the column of the right one: its number, or as `labels` spells it.
        labels: how files spell classes, in the order of their numbers; numbers may count from 1.
        also: other names of columns, the usual one first: (("sentence", "content"),).
        prepare: what is done to an example before all this.
        between: what parts prompt and answer.
        source: where examples come from unless --data.source says it.
        metrics: of a classification; choices of examples of their own have accuracy only.
    """

    prompt: str
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    label: str = "label"
    labels: tuple[str, ...] = ()
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


def questions(task: Prompted, examples: Iterable[Mapping[str, Any]]) -> list[Question]:
    """Examples as questions.

    Raises:
        DataError: a column is missing, or a label is none of the task's; with the place of the example where it is known.

    >>> task = Prompted(prompt="{text} It was", answers=("bad", "good"))
    >>> questions(task, [{"text": "Fine.", "label": 1}])
    [Question(context='Fine. It was', choices=(' bad', ' good'), gold=1)]
    """
    examples = [renamed(task, example) for example in examples]
    numbers = classes(task, examples)
    made = []
    for example, gold in zip(examples, numbers, strict=True):
        if task.prepare is not None:
            example = {**example, **task.prepare(example)}
        context = filled(task.prompt, example)
        found = task.answers or _choices(task, example)
        gold = int(example["gold"]) if gold is None else gold
        if not 0 <= gold < len(found):
            raise DataError(f"{place(example)}label {gold} is none of the {len(found)} answers; they count from 0")
        made.append(Question(context, tuple(task.between + answer for answer in found), gold))
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


def classes(task: Prompted, examples: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """The number of the right class of each example; None where `prepare` finds it.

    Numbers count from 0, or from 1 where one of them is as large as there are classes and none is 0; DataError where they may
    count from either. Names are the same in any case.
    """
    if task.prepare is not None and not task.answers and not any(task.label in example for example in examples):
        return [None] * len(examples)
    values = []
    for example in examples:
        if task.label not in example:
            raise DataError(f"{place(example)}there is no column {task.label!r}; there are {columns(example)}")
        values.append(example[task.label])
    spelt = {plain(name): number for number, name in enumerate(task.labels)}
    named: list[Any] = [spelt.get(plain(str(value)), value) for value in values]
    found: list[int] = []
    for example, value in zip(examples, named, strict=True):
        if isinstance(value, str) and not re.fullmatch(r"\d+", value.strip()):
            known = f"numbers or {', '.join(task.labels)}" if task.labels else "numbers from 0"
            raise DataError(f"{place(example)}label {value!r} is none of the task's, which are {known}")
        found.append(int(value))
    written = not any(plain(str(value)) in spelt for value in values)
    count = len(task.answers) or None
    most = count or max((_count(task, example) for example in examples), default=0)
    if written and most > 2 and len(set(found)) > 1 and min(found) > 0 and max(found) < most:
        names = f"names ({', '.join(task.labels[:6])}) or " if task.labels else ""
        raise DataError(f"{place(examples[0])}labels are the numbers {min(found)} to {max(found)} of {most} answers, which may "
                        f"count from 0 or from 1; write {names}numbers from 0, at least one of which is 0")  # fmt: skip
    if count and written and found and max(found) == count and min(found) >= 1:
        found = [number - 1 for number in found]
    return list(found)


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


def place(example: Mapping[str, Any]) -> str:
    """Where an example stands, for messages."""
    return f"{example['__place__']}: " if "__place__" in example else ""


def columns(example: Mapping[str, Any]) -> str:
    """The columns of an example, for messages."""
    return ", ".join(name for name in example if name != "__place__") or "none"


def _count(task: Prompted, example: Mapping[str, Any]) -> int:
    """How many choices an example has in its columns, 0 where `prepare` makes them."""
    if task.prepare is not None:
        return 0
    listed = example.get(task.choices[0]) if len(task.choices) == 1 else task.choices
    return len(listed) if isinstance(listed, list | tuple) else 0


def _choices(task: Prompted, example: Mapping[str, Any]) -> tuple[str, ...]:
    for name in task.choices:
        if name not in example:
            raise DataError(f"{place(example)}there is no column {name!r}; there are {columns(example)}")
    if len(task.choices) == 1:
        return tuple(map(str, example[task.choices[0]]))
    return tuple(str(example[name]).strip() for name in task.choices)
