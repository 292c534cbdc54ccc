"""A task opened: its examples read and checked, its labels resolved, its rows made."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from data.batch import Row
from data.errors import DataError
from data.tasks.answers import answer_rows, check_answers, predictions
from data.tasks.best_spans import Prediction
from data.tasks.choices import (
    Answers,
    Classification,
    Generation,
    MultiLabel,
    MultipleChoice,
    Regression,
    Similarity,
    Tagging,
    Task,
)
from data.tasks.column_checks import check_columns
from data.tasks.config import TaskData
from data.tasks.examples import Example, examples_of
from data.tasks.generation import gather_references, generation_rows
from data.tasks.label_names import shown
from data.tasks.label_reading import Known
from data.tasks.many_segments import check_pairs, choice_rows, similar_rows
from data.tasks.missing import Dropped
from data.tasks.naming import resolve_labels, who_says, with_names
from data.tasks.reading import read_source
from data.tasks.rows import Rows, labelled_rows, pad_of
from data.tasks.splitting import split_by_text, without_repeated
from data.tasks.tag_resolution import in_one_scheme
from data.tasks.tagging import check_prefix, lost_words, tagging_rows, word_tags
from data.tokenizers.interface import Tokenizer

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class TaskSet:
    """One part of a task, training or held out: its examples, and the rows that are made of them.

    `extras` holds what turns predictions back into answers: see `data.tasks.tagging` and `data.tasks.answers`.
    """

    task: Task
    examples: list[Example]
    rows: list[Row]
    owner: np.ndarray
    """The example of each row, int32[rows]."""
    pad: int
    cut: int = 0
    """Examples that did not fit into a row."""
    extras: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes or tags, in the order of their numbers; none where the task has no classes."""
        return getattr(self.task, "labels", None) or ()

    def word_tags(self, predicted: Sequence[np.ndarray]) -> tuple[list[list[str]], int]:
        """Tags of words from those predicted at the places of each row, int[T], and how many words were lost (Tagging)."""
        return word_tags(self.labels, self.extras["word_places"], predicted)

    def answers(self, starts: Sequence[np.ndarray], ends: Sequence[np.ndarray]) -> list[Prediction]:
        """The best spans of each question from the logits of its rows, float[T], in the order of the rows (Answers).

        What a batch padded a row with behind its end is not looked at.
        """
        assert isinstance(self.task, Answers)
        starts, ends = (
            [scores[: len(row.tokens)] for scores, row in zip(side, self.rows, strict=True)] for side in (starts, ends)
        )
        return predictions(self.task, self.examples, self.owner, self.extras, starts, ends)

    def texts(self, number: int) -> list[str]:
        """The texts of an example as a reader sees them, one or two."""
        fields = self.examples[number].fields
        shown = [fields[name] for name in ("text", "second", "question", "context", "source") if name in fields]
        return shown or [" ".join(fields["words"])]

    def describe(self) -> dict[str, Any]:
        """What a report says about this part."""
        sides = [(row.tokens, row.source_tokens) for row in self.rows]
        sizes = np.array([len(tokens) + (0 if source is None else len(source)) for tokens, source in sides])
        described: dict[str, Any] = {
            "examples": len(self.examples),
            "rows": len(self.rows),
            "tokens": int(sizes.sum()),
            "mean_length": round(float(sizes.mean()), 1),
            "longest": int(sizes.max()),
            "cut": self.cut,
        }
        counts = self.label_counts()
        if counts:
            described["labels"] = counts
            described["majority"] = round(max(counts.values()) / sum(counts.values()), 4)
        return described

    def label_counts(self) -> dict[str, int]:
        """How often each class or tag occurs, in their order."""
        counted: Counter[str] = Counter()
        for example in self.examples:
            if isinstance(self.task, Classification):
                counted[example["label"]] += 1
            elif isinstance(self.task, MultiLabel):
                counted.update(example["labels"])
            elif isinstance(self.task, Tagging):
                counted.update(example["tags"])
        return {label: counted[label] for label in self.labels} if counted else {}


@dataclass(frozen=True, eq=False)
class OpenedTask:
    """Both parts of a task, with labels that have names and numbers."""

    data: TaskData
    task: Task
    train: TaskSet
    valid: TaskSet
    tokenizer: Tokenizer
    notes: tuple[str, ...] = ()
    """What was said while it was opened."""
    known: Known = "task"
    """Who says which labels there are."""

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the task and of every example, in their order: equal if and only if they are."""
        found = hashlib.sha256(f"{self.task!r}\n{self.tokenizer.fingerprint}\n".encode())
        for part in (self.train, self.valid):
            for example in part.examples:
                line = json.dumps(example.fields, sort_keys=True, ensure_ascii=False, default=str)
                found.update(line.encode("utf-8", "replace") + b"\n")
            found.update(b"--\n")
        return found.hexdigest()[:32]

    def describe(self) -> dict[str, Any]:
        """What a report says about the data. Equal whenever the data is: notes, which a task that is settled has fewer of, are
        not in it."""
        return {
            "source": str(self.data.source),
            "task": type(self.task).__name__,
            "tokenizer": self.tokenizer.fingerprint,
            "vocab_size": self.tokenizer.vocab_size,
            "fingerprint": self.fingerprint,
            "train": self.train.describe(),
            "valid": self.valid.describe(),
        }


def open_task(data: TaskData, tokenizer: Tokenizer, say: Say = print, *, fetch: bool = False) -> OpenedTask:
    """Read, check and encode both parts; bad input is one line with its file, its line and a remedy.

    With `fetch`, data sets of TFDS are downloaded and prepared first.
    """
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        say(line)

    train_table, valid_table = read_source(data.source, data.task, fetch=fetch, say=say)
    check_columns(data.task, (train_table, valid_table))
    dropped = [Dropped(getattr(data.task, "missing", None), named) for named in ("training", "held-out")]
    train = examples_of(data.task, train_table, dropped[0])
    if valid_table is None:
        train, valid = split_by_text(train, data.valid_fraction, str(data.source))
    else:
        valid = examples_of(data.task, valid_table, dropped[1])
    if isinstance(data.task, Tagging):
        check_prefix(data.task, train)
    if isinstance(data.task, Generation):
        valid = gather_references(valid)
    if isinstance(data.task, Similarity):
        check_pairs(data.task, train, valid, note)
    task, classes = data.task, train_table.classes
    known = who_says(task, classes)
    if isinstance(task, Tagging):
        task, (train, valid) = in_one_scheme(task, [train, valid], classes, note, known)
    among = [*train, *valid]
    task = resolve_labels(task, train, classes, note)
    train = _unrepeated(train, valid, data, note)[: data.train_limit]
    train, valid = with_names(task, (train, valid[: data.valid_limit]), among, classes, note, known, dropped)
    for part in dropped:
        part.tell(note)
    opened = OpenedTask(
        data,
        task,
        task_set(task, train, tokenizer, data, note, named="training"),
        task_set(task, valid, tokenizer, data, note, named="held-out"),
        tokenizer,
        (),
        known,
    )
    _tell_of_labels(opened, note)
    return OpenedTask(data, task, opened.train, opened.valid, tokenizer, tuple(notes), known)


def task_set(
    task: Task, examples: Sequence[Example], tokenizer: Tokenizer, data: TaskData, say: Say, *, named: str = "held-out"
) -> TaskSet:
    """Rows of examples whose labels are names."""
    examples = list(examples)
    if not examples:
        raise DataError(f"{data.source} has no {named} example; name a source that holds some")
    if isinstance(task, Answers):
        examples, lines = check_answers(task, examples, training=named == "training")
        for line in lines:
            say(line)
    made = _rows(task, examples, tokenizer, data)
    if parted := (made.extras or {}).get("parted"):
        say(f"{parted} answers of {len(examples)} {named} questions lie whole in no window; a larger --data.row_length or "
            "--data.stride holds more of them")  # fmt: skip
    if made.cut:
        said = f"{made.cut} of {len(examples)} {named} examples are longer than a row of {data.row_length} tokens and were cut; "
        if isinstance(task, Tagging):
            said += f"their {lost_words((made.extras or {})['word_places'])} words behind the end count as O; "
        elif isinstance(task, Answers):
            said = f"{made.cut} {named} questions have more than max_question={task.max_question} tokens and were cut; "
        say(
            said
            + f"a larger {'--data.task.max_question' if isinstance(task, Answers) else '--data.row_length'} keeps more"
        )
    return TaskSet(task, examples, made.rows, made.owner, pad_of(tokenizer), made.cut, made.extras or {})


def _rows(task: Task, examples: list[Example], tokenizer: Tokenizer, data: TaskData) -> Rows:
    match task:
        case Classification() | MultiLabel() | Regression():
            return labelled_rows(task, examples, tokenizer, data.row_length)
        case Tagging():
            return tagging_rows(task, examples, tokenizer, data.row_length)
        case Answers():
            return answer_rows(task, examples, tokenizer, data.row_length, data.stride)
        case MultipleChoice():
            return choice_rows(task, examples, tokenizer, data.row_length)
        case Similarity():
            return similar_rows(examples, tokenizer, data.row_length)
        case Generation():
            return generation_rows(task, examples, tokenizer, data.row_length)


def _unrepeated(train: list[Example], valid: list[Example], data: TaskData, say: Say) -> list[Example]:
    """The training examples, repeated ones counted, and left out where the data says so."""
    kept = without_repeated(train, valid)
    if not (repeated := len(train) - len(kept)):
        return train
    consequence = "left out" if data.drop_repeated else "--data.drop_repeated True leaves them out"
    say(f"{repeated} of {len(train)} training examples open as a held-out one does: {consequence}")
    if data.drop_repeated and not kept:
        raise DataError(
            f"{data.source} has no training example that is not held out as well; name another held-out part"
        )
    return kept if data.drop_repeated else train


def _tell_of_labels(opened: OpenedTask, say: Say) -> None:
    """Say what makes a score mean less: a class that is never trained on, held-out labels that are all the same."""
    trained, held_out = opened.train.label_counts(), opened.valid.label_counts()
    for label, count in held_out.items():
        if count and not trained[label]:
            place = next(e.place for e in opened.valid.examples if label in _labels_of(e))
            say(f"no training example has the label {shown([label])}, which {count} held-out ones have (the first: {place}); it "
                "cannot be learnt from them")  # fmt: skip
    if line := positive_class(opened.task):
        say(line)
    present = [label for label, count in held_out.items() if count]
    several = sum(count > 0 for count in trained.values()) > 1
    if isinstance(opened.task, Classification) and len(present) == 1 and len(opened.valid) > 1 and several:
        first = opened.valid.examples[0].place
        say(f"all {len(opened.valid)} held-out examples have the label {shown(present)} (the first: {first}): where those are "
            "the placeholders of an unlabelled file, its scores mean nothing")  # fmt: skip


def positive_class(task: Task) -> str:
    """What is said about f1 of two classes: whose it is; empty where there are not two.

    >>> positive_class(Classification(labels=("-1", "1")))
    'of the classes -1 and 1, f1 is that of 1, the second'
    """
    if not isinstance(task, Classification) or len(task.labels or ()) != 2:
        return ""
    first, second = task.labels or ("", "")
    return f"of the classes {shown([first])} and {shown([second])}, f1 is that of {shown([second])}, the second"


def _labels_of(example: Example) -> list[str]:
    for name in ("labels", "tags"):
        if name in example.fields:
            return example[name]
    return [example.fields.get("label", "")]
