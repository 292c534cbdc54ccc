"""From records to examples: each role of a task filled from its column, labels as names, or one line that says what is wrong."""

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from data.errors import DataError
from data.tasks import example_parts as parts
from data.tasks.choices import (
    Answers,
    Classification,
    Generation,
    MultiLabel,
    MultipleChoice,
    Names,
    Regression,
    Similarity,
    Tagging,
    Task,
    names_in,
)
from data.tasks.tables import Record, Table


@dataclass(frozen=True)
class Example:
    """One example: its roles by name (`text`, `second`, `label`, ...), columns that a template names, and its place."""

    fields: dict[str, Any]
    place: str

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


def examples_of(task: Task, table: Table) -> list[Example]:
    """The examples of a part of a source; labels are still as the source spells them."""
    fill = FILL[type(task)]
    kept = [name for name in template_names(task) if name not in ROLES[type(task)]]
    examples = []
    for record in table.records:
        fields = fill(task, record)
        for name in kept:
            if name not in record.columns and role_of(task, name) is None:
                raise parts.no_column(record, (name,), "template")
        examples.append(Example(fields | {n: record.columns[n] for n in kept if n in record.columns}, record.place))
    return examples


def resolve_labels(task: Task, train: Sequence[Example], classes: Mapping[str, Names]) -> Task:
    """The task with its labels: those it names, those the source names, or those of the training examples, sorted."""
    if not isinstance(task, Classification | MultiLabel | Tagging):
        return task
    labels = task.labels
    if labels is None:
        names = task.tags if isinstance(task, Tagging) else task.label
        labels = next((classes[name] for name in names if name in classes), None)
    if labels is None:
        if isinstance(task, Tagging):
            found = {tag for example in train for tag in example["tags"]}
        elif isinstance(task, MultiLabel):
            found = {label for example in train for label in example["labels"]}
        else:
            found = {example["label"] for example in train}
        labels = tuple(sorted(found, key=parts.label_order))
        if len(labels) < 2:
            raise DataError(f"the training examples have one label only ({', '.join(labels) or 'none'}); there is nothing to "
                            "tell apart: name another file, or another --data.task.label")  # fmt: skip
    return replace(task, labels=labels)


def with_names(task: Task, examples: Iterable[Example], classes: Mapping[str, Names]) -> list[Example]:
    """The examples with the names of their labels, whichever way the source spells them; an unknown one is an error.

    `classes` are the names that a source gives to its own numbers, by column.
    """
    if not isinstance(task, Classification | MultiLabel | Tagging):
        return list(examples)
    assert task.labels is not None
    spelt = () if isinstance(task, Tagging) else task.spelt
    known = parts.spellings(task.labels, spelt)
    columns = task.tags if isinstance(task, Tagging) else task.label
    numbered = next((classes[name] for name in columns if name in classes), ())
    if set(numbered) <= set(task.labels):  # the source's own order may be another
        known |= {str(number): name for number, name in enumerate(numbered)}
    named = []
    for example in examples:
        if isinstance(task, Classification):
            fields = {"label": parts.label_name(example["label"], known, task.labels, example.place)}
        elif isinstance(task, MultiLabel):
            fields = {"labels": [parts.label_name(x, known, task.labels, example.place) for x in example["labels"]]}
        else:
            tags = [
                parts.label_name(tag, known, task.labels, parts.line_of_word(example.place, place))
                for place, tag in enumerate(example["tags"])
            ]
            fields = {"tags": tags}
        named.append(Example(example.fields | fields, example.place))
    return named


def template_names(task: Task) -> list[str]:
    """The names in braces of a task's templates."""
    templates = (getattr(task, field, None) for field in ("template", "prompt"))
    return list(dict.fromkeys(name for template in templates for name in names_in(template)))


def role_of(task: Task, name: str) -> str | None:
    """The role that a column fills by one of its names, or None."""
    aliases = {role: getattr(task, role, ()) for role in ROLES[type(task)]}
    return next((role for role, names in aliases.items() if isinstance(names, tuple) and name in names), None)


def fill_template(task: Task, template: str, example: Example) -> str:
    """A template with the columns of an example in it; a name of a role's column stands for that role."""
    values = {}
    for name in names_in(template):
        values[name] = example.fields.get(name, example.fields.get(role_of(task, name) or name, ""))
    return string.Formatter().vformat(template, (), values)


def _fill_text(task: Classification | MultiLabel | Regression, record: Record) -> dict[str, Any]:
    fields = {"text": parts.text(record, task.text, "text")}
    if task.second:
        fields["second"] = parts.text(record, task.second, "second")
    return fields


def _fill_classification(task: Classification, record: Record) -> dict[str, Any]:
    return _fill_text(task, record) | {"label": parts.label(record, task.label, "label")}


def _fill_multi_label(task: MultiLabel, record: Record) -> dict[str, Any]:
    value = parts.value(record, task.label, "label")
    listed = value.split(task.separator) if isinstance(value, str) else value
    if not isinstance(listed, list | tuple):
        raise DataError(f"{record.place} has labels that are neither a list nor a text ({value!r}); write [] or words with "
                        f"{task.separator!r} between")  # fmt: skip
    labels = [parts.spelling(item) for item in listed]
    return _fill_text(task, record) | {"labels": [label for label in labels if label]}


def _fill_regression(task: Regression, record: Record) -> dict[str, Any]:
    return _fill_text(task, record) | {"target": parts.number(record, task.target, "target")}


def _fill_tagging(task: Tagging, record: Record) -> dict[str, Any]:
    words, tags = parts.words_and_tags(record, task.words, task.tags)
    return {"words": [word.removeprefix(task.prefix) or word for word in words], "tags": tags}


def _fill_answers(task: Answers, record: Record) -> dict[str, Any]:
    return {
        "id": str(record.columns.get("id", record.place)),
        "title": str(record.columns.get("title", "")),
        "question": parts.text(record, task.question, "question", empty=not task.strict),
        "context": parts.text(record, task.context, "context"),
        "answers": parts.gold_answers(record, task.golds),
    }


def _fill_choice(task: MultipleChoice, record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {"text": parts.text(record, task.text, "text")}
    if task.second:
        fields["second"] = parts.text(record, task.second, "second")
    choices, called = parts.choices(record, task.choices)
    spelt = called or (task.spelt[: len(choices)] if len(task.spelt) >= len(choices) else ())
    names = [str(place) for place in range(len(choices))]
    label = parts.label(record, task.label, "label")
    known = parts.spellings(names, spelt)
    number = known[label] if spelt and label in spelt else parts.label_name(label, known, names, record.place)
    return fields | {"choices": choices, "label": int(number)}


def _fill_similarity(task: Similarity, record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {"text": parts.text(record, task.text, "text")}
    if set(task.positive) & set(record.columns):
        for role in ("positive", "negative"):
            if names := getattr(task, role):
                fields[role] = parts.text(record, names, role)
    if set(task.score) & set(record.columns):
        fields["score"] = parts.number(record, task.score, "score")
    return fields


def _fill_generation(task: Generation, record: Record) -> dict[str, Any]:
    source = parts.value(record, task.source, "source")
    fields: dict[str, Any] = {}
    if isinstance(source, list):
        fields["spoken"] = True
        source, target = parts.conversation(record, source, task.message)
    else:
        source, target = parts.text(record, task.source, "source"), parts.text(record, task.target, "target")
    more = [parts.text(record, (name,), "references") for name in task.references if name in record.columns]
    return fields | {"source": source, "target": target, "references": [target, *more]}


FILL: dict[type, Callable[[Any, Record], dict[str, Any]]] = {
    Classification: _fill_classification,
    MultiLabel: _fill_multi_label,
    Regression: _fill_regression,
    Tagging: _fill_tagging,
    Answers: _fill_answers,
    MultipleChoice: _fill_choice,
    Similarity: _fill_similarity,
    Generation: _fill_generation,
}
ROLES: dict[type, Names] = {
    Classification: ("text", "second", "label"),
    MultiLabel: ("text", "second", "labels"),
    Regression: ("text", "second", "target"),
    Tagging: ("words", "tags"),
    Answers: ("question", "context"),
    MultipleChoice: ("text", "second", "choices", "label"),
    Similarity: ("text", "positive", "negative", "score"),
    Generation: ("source", "target"),
}
