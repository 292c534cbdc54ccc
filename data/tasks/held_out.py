"""Examples to be scored: the held-out ones of a task as one small file of a run folder, so that scoring needs that folder only,
and those of another source.
"""

import gzip
import io
import json
import os
import zlib
from dataclasses import replace
from pathlib import Path

from data.errors import DataError
from data.held_out import read_lines
from data.tasks.choices import Classification, Generation, MultiLabel, Similarity, Tagging, Task
from data.tasks.column_checks import check_columns
from data.tasks.config import TaskData
from data.tasks.examples import Example, examples_of
from data.tasks.generation import gather_references
from data.tasks.label_reading import Known
from data.tasks.many_segments import check_pairs
from data.tasks.missing import Dropped
from data.tasks.naming import resolve_labels, with_names
from data.tasks.opened import OpenedTask, Say, TaskSet, positive_class, task_set
from data.tasks.reading import read_source
from data.tasks.tag_resolution import in_one_scheme
from data.tasks.tagging import check_prefix
from data.tokenizers.interface import Tokenizer

HELD_OUT_TASK = "held_out_task.jsonl.gz"


def write_held_out_task(opened: OpenedTask, folder: str | Path) -> Path:
    """Write the held-out examples: a line with the labels, then one an example. Equal examples give equal bytes."""
    lines = [{"task": type(opened.task).__name__, "labels": list(opened.valid.labels)}]
    lines += [{"place": example.place, **example.fields} for example in opened.valid.examples]
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        for line in lines:
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
    target = Path(folder) / HELD_OUT_TASK
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{HELD_OUT_TASK}-{os.getpid()}")
    temporary.write_bytes(buffer.getvalue())
    temporary.replace(target)
    return target


def read_held_out_task(folder: str | Path) -> tuple[dict, list[Example]]:
    """What `write_held_out_task` wrote: its first line, and the examples."""
    path = Path(folder) / HELD_OUT_TASK
    try:
        head, *lines = read_lines(path)
        if not isinstance(head, dict):
            raise TypeError("its first line is no object")
        return head, [Example({k: v for k, v in line.items() if k != "place"}, line["place"]) for line in lines]
    except FileNotFoundError as error:
        raise DataError(
            f"there is no {HELD_OUT_TASK} in {folder}; name a run folder, or a source with --data.source"
        ) from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); name a source with --data.source") from error


def open_held_out_task(folder: str | Path, data: TaskData, tokenizer: Tokenizer, say: Say = print) -> TaskSet:
    """The held-out part of a run folder as rows, with the labels that the run had."""
    head, examples = read_held_out_task(folder)
    task: Task = data.task
    if head.get("task") != type(task).__name__:
        raise DataError(f"{Path(folder) / HELD_OUT_TASK} is of {head.get('task')}, not of {type(task).__name__}; name the run "
                        "folder that this task was trained in")  # fmt: skip
    if isinstance(task, Classification | MultiLabel | Tagging):
        labels = head.get("labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise DataError(
                f"{Path(folder) / HELD_OUT_TASK} does not name its labels; name a source with --data.source"
            )
        task = replace(task, labels=tuple(labels))
    return task_set(task, examples, tokenizer, data, say)


def open_scored(data: TaskData, tokenizer: Tokenizer, say: Say = print, known: Known = "model") -> TaskSet:
    """What a source has for a model that was trained elsewhere: its held-out part, or all of it where it has none.

    The labels are those of `data.task`, whose names the model knows, and whose numbers, unless they are "sorted".
    """
    train_table, valid_table = read_source(data.source, data.task, say=say)
    table = train_table if valid_table is None else valid_table
    check_columns(data.task, (table,))
    dropped = Dropped(getattr(data.task, "missing", None))
    examples = examples_of(data.task, table, dropped)
    if isinstance(data.task, Tagging):
        check_prefix(data.task, examples)
    if isinstance(data.task, Similarity):
        check_pairs(data.task, examples, examples, say)
    if isinstance(data.task, Generation):
        examples = gather_references(examples)
    task = data.task
    if isinstance(task, Tagging):
        task, (examples,) = in_one_scheme(task, [examples], table.classes, say, known)
    task = resolve_labels(task, examples, table.classes, say)
    (named,) = with_names(task, [examples[: data.valid_limit]], examples, table.classes, say, known, [dropped])
    dropped.tell(say)
    if line := positive_class(task):
        say(line)
    return task_set(task, named, tokenizer, data, say)
