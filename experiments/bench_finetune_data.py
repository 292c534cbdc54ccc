"""The examples of the bench of fine-tuning, as files that both sides read, and the one scorer of both.

A task is drawn once, by a key of its own and not by the seed of a run: `train.jsonl` and `valid.jsonl`, one object a line, with
labels by name. SQuAD's half is split by article: a quarter of its questions, whole articles chosen by a hash of their title,
is held out.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.randomness import permute
from data.tasks.choices import Answers, Classification, Tagging, Task
from data.tasks.config import TaskData
from data.tasks.examples import Example, examples_of
from data.tasks.known import from_folder
from data.tasks.naming import resolve_labels, with_names
from data.tasks.reading import read_source
from data.tasks.sources import TaskFiles
from data.tasks.splitting import split_by_text
from experiments.local_data import local
from train.answer_metrics import answer_scores, best_threshold, span_f1
from train.tag_metrics import tagging_scores

FOLDERS = {"sst2": "sst2", "wikiann": "wikiann_en", "squad2": "squad2_dev_half"}
FILES = {
    "sst2": ("sst2/glue_train.tsv", "sst2/glue_dev.tsv"),
    "wikiann": ("wikiann_en/train.txt", "wikiann_en/test.txt"),
    "squad2": ("squad2_dev_half/dev-v2.0.json",),
}
# The first is what is compared. Where a model has learnt too little to give any answer of its own accord, two more still say how
# good its answers are: `best_f1` withholds them by the best threshold, `span_f1` is of those to questions that have an answer.
SCORES = {"sst2": ("accuracy",), "wikiann": ("f1_strict",), "squad2": ("f1", "best_f1", "span_f1")}
HELD_OUT = 0.25  # of SQuAD's questions
KEY = 5  # of the draw


def write_examples(name: str, folder: Path, examples: int, held_out: int) -> TaskData:
    """Draw so many examples to train on and to hold out, write them, and say how they are read."""
    data = from_folder(name, local(FOLDERS[name]))
    train_table, valid_table = read_source(data.source, data.task)
    train = examples_of(data.task, train_table)
    if valid_table is None:
        train, valid = split_by_text(train, HELD_OUT, str(data.source))
    else:
        valid = examples_of(data.task, valid_table)
    task = resolve_labels(data.task, train, train_table.classes, print)
    folder.mkdir(parents=True)
    paths = []
    for part, chosen, limit in (("train", train, examples), ("valid", valid, held_out)):
        (shown,) = with_names(task, [drawn(chosen, limit)], [*train, *valid], train_table.classes, print)
        paths.append(str(folder / f"{part}.jsonl"))
        lines = (json.dumps(record(task, example), ensure_ascii=False) + "\n" for example in shown)
        Path(paths[-1]).write_text("".join(lines), encoding="utf-8")
    if isinstance(task, Tagging):
        task = dataclasses.replace(task, prefix="")  # it is gone from the words
    return dataclasses.replace(data, task=task, source=TaskFiles(*paths))


def drawn(examples: Sequence[Example], limit: int) -> list[Example]:
    """Some of the examples, evenly, in an order that does not depend on the seed of a run."""
    order = permute(np.arange(len(examples)), len(examples), KEY, 0)[:limit]
    return [examples[int(number)] for number in order]


def record(task: Task, example: Example) -> dict[str, Any]:
    """An example as a line that our own reader and any other program understand."""
    match task:
        case Classification():
            return {"sentence": example["text"], "label": example["label"]}
        case Tagging():
            return {"tokens": example["words"], "tags": example["tags"]}
        case Answers():
            golds = [{"text": answer["text"], "answer_start": answer["start"]} for answer in example["answers"]]
            return {name: example[name] for name in ("id", "title", "context", "question")} | {"answers": golds}
    raise TypeError(f"{task!r} is not in this bench")


def describe(data: TaskData) -> dict[str, Any]:
    """What the other side must know to do the same: kind, labels, lengths."""
    task = data.task
    described = {name: getattr(data, name) for name in ("row_length", "stride", "batch_size", "bucket", "grouped")}
    if isinstance(task, Answers):
        return described | {"kind": "answers", "max_answer": task.max_answer, "best": task.best}
    assert isinstance(task, Classification | Tagging) and task.labels is not None
    return described | {
        "kind": "tagging" if isinstance(task, Tagging) else "classification",
        "labels": list(task.labels),
    }


def floor(name: str, folder: Path) -> float:
    """What is compared, of predictions without a look at the text: the commonest label, no tag, no answer."""
    lines = [json.loads(line) for line in (folder / "valid.jsonl").read_text(encoding="utf-8").splitlines()]
    if name == "sst2":
        commonest = Counter(line["label"] for line in lines).most_common(1)[0][0]
        return score(name, folder, [commonest] * len(lines))["accuracy"]
    if name == "wikiann":
        return score(name, folder, [["O"] * len(line["tags"]) for line in lines])["f1_strict"]
    return score(name, folder, [("", "", 0.0)] * len(lines))["f1"]


def score(name: str, folder: Path, predicted: Sequence[Any]) -> dict[str, float]:
    """What predictions for the held-out lines score, by the names of SCORES: labels, lists of tags, or of each question the
    answer, the best span whether or not it is the answer, and how much better none scores than that.
    """
    lines = [json.loads(line) for line in (folder / "valid.jsonl").read_text(encoding="utf-8").splitlines()]
    if len(lines) != len(predicted):
        raise ValueError(f"there are {len(predicted)} predictions for {len(lines)} held-out examples of {name}")
    if name == "sst2":
        right = sum(line["label"] == label for line, label in zip(lines, predicted, strict=True))
        return {"accuracy": right / len(lines)}
    if name == "wikiann":
        return {"f1_strict": tagging_scores(predicted, [line["tags"] for line in lines], "BIO")["f1_strict"]}
    golds = [[answer["text"] for answer in line["answers"]] for line in lines]
    answers, spans, differences = zip(*predicted, strict=True)
    best, _ = best_threshold(spans, golds, differences, "f1")
    return {"f1": answer_scores(answers, golds, version=2)["f1"], "best_f1": best, "span_f1": span_f1(spans, golds)}
