"""From records to examples: each role of a task filled from its column, labels as names, or one line that says what is wrong."""

import string
from collections.abc import Callable
from dataclasses import dataclass
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
from data.tasks.gold_answers import gold_answers
from data.tasks.missing import WORDS, Dropped, MissingValue
from data.tasks.tables import Record, Table


@dataclass(frozen=True)
class Example:
    """One example: its roles by name (`text`, `second`, `label`, ...), columns that a template names, and its place."""

    fields: dict[str, Any]
    place: str

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


def examples_of(task: Task, table: Table, dropped: Dropped | None = None) -> list[Example]:
    """The examples of a part of a source; labels are still as the source spells them.

    What lacks something is an error, or where `dropped` takes it, left out.
    """
    fill = FILL[type(task)]
    dropped = Dropped(getattr(task, "missing", None)) if dropped is None else dropped
    dropped.seen += len(table.records)
    kept = [name for name in template_names(task) if name not in ROLES[type(task)]]
    examples = []
    for record in table.records:
        try:
            if record.lacking:
                raise MissingValue(record.lacking, "a cell too few")
            fields = fill(task, record)
        except MissingValue as error:
            dropped.take(error, error.what, record.place)
            continue
        for name in kept:
            if name not in record.columns and role_of(task, name) is None:
                raise parts.no_column(record, (name,), "template")
        examples.append(Example(fields | {n: record.columns[n] for n in kept if n in record.columns}, record.place))
    return examples


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


def _named(task: Classification | MultiLabel | Tagging) -> list[str]:
    """The labels that a task names, and how files spell them."""
    return [*(task.labels or ()), *task.spelt]


def _fill_text(task: Classification | MultiLabel | Regression, record: Record) -> dict[str, Any]:
    fields = {"text": parts.text(record, task.text, "text")}
    if task.second:
        fields["second"] = parts.text(record, task.second, "second")
    return fields


def _fill_classification(task: Classification, record: Record) -> dict[str, Any]:
    fields = _fill_text(task, record)
    return fields | {"label": parts.label(record, task.label, "label", _named(task), task.missing)}


def _fill_multi_label(task: MultiLabel, record: Record) -> dict[str, Any]:
    fields = _fill_text(task, record)
    found = parts.listed(record, parts.value(record, task.label, "label"), task.separator)
    return fields | {"labels": [parts.present(record, item, _named(task), task.missing, WORDS) for item in found]}


def _fill_regression(task: Regression, record: Record) -> dict[str, Any]:
    return _fill_text(task, record) | {"target": parts.number(record, task.target, "target")}


def _fill_tagging(task: Tagging, record: Record) -> dict[str, Any]:
    words, tags = parts.words_and_tags(record, task.words, task.tags, _named(task), task.missing)
    return {"words": [word.removeprefix(task.prefix) or word for word in words], "tags": tags}


def _fill_answers(task: Answers, record: Record) -> dict[str, Any]:
    return {
        "id": str(record.columns.get("id", record.place)),
        "title": str(record.columns.get("title", "")),
        "question": parts.text(record, task.question, "question", empty=not task.strict),
        "context": parts.text(record, task.context, "context"),
        "answers": gold_answers(record, task.golds),
    }


def _fill_choice(task: MultipleChoice, record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {"text": parts.text(record, task.text, "text")}
    if task.second:
        fields["second"] = parts.text(record, task.second, "second")
    fields["choices"], fields["called"] = parts.choices(record, task.choices)
    found = parts.value(record, task.label, "label")
    if isinstance(found, list | tuple | dict):
        raise DataError(
            f"{record.place} has the label {str(found)[:60]}, a list, where one choice is right; write that one"
        )
    label = parts.spelling(found)
    named = [*fields["choices"], *fields["called"], *task.spelt]
    return fields | {"label": parts.present(record, label, named, task.missing, WORDS)}


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
    names = [name if name in record.columns else name.removesuffix("?") for name in task.references]
    more = [parts.text(record, (name,), "references") for name in names if name in record.columns]
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
