"""Examples with the names of their labels: which labels a task has, and each label of an example under its name."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from data.errors import DataError
from data.tasks import example_parts as parts
from data.tasks.choice_reading import Asked, read_choices
from data.tasks.choices import Classification, MultiLabel, MultipleChoice, Names, Tagging, Task
from data.tasks.examples import Example
from data.tasks.label_names import label_order, numeral, plain, row_of, shown
from data.tasks.label_reading import Known, discovered, read_labels
from data.tasks.label_vectors import bits, check_length, names_of, vectors
from data.tasks.missing import Dropped, MissingValue

Say = Callable[[str], None]


def resolve_labels(task: Task, train: Sequence[Example], classes: Mapping[str, Names], say: Say) -> Task:
    """The task with its labels: those it names, those the source names, or those of the training examples, sorted."""
    if not isinstance(task, Classification | MultiLabel | Tagging):
        return task
    labels = task.labels or next((classes[name] for name in _columns(task) if name in classes), None)
    if labels is None:
        if isinstance(task, MultiLabel) and (found := _vectors(train)):
            check_length(None, len(found[0]), train[0].place)
        names, notes = discovered(label for example in train for label in spellings_of(task, example))
        for note in notes:
            say(note)
        labels = tuple(sorted(set(names.values()), key=label_order))
        if isinstance(task, MultiLabel):
            _refuse_joined(task, train, labels)
        if len(labels) < 2:
            raise DataError(f"the training examples have one label only ({shown(labels) or 'none'}); there is nothing to "
                            "tell apart: name another file, or another --data.task.label")  # fmt: skip
        if {"-1", "0"} <= set(labels):
            say(f"the label -1 is a class here (classes: {shown(labels)}); where it marks what is not labelled, name the others "
                "with --data.task.labels and leave such examples out with --data.task.missing drop")  # fmt: skip
    return replace(task, labels=labels)


def _refuse_joined(task: MultiLabel, train: Sequence[Example], labels: Sequence[str]) -> None:
    """DataError for a label that other labels make up, or share parts with: the cells have another separator."""
    for mark in [mark for mark in (";", "|", "/", ",", " ") if mark not in task.separator]:
        parts = {name: [part.strip() for part in name.split(mark) if part.strip()] for name in labels}
        joined = [name for name in labels if len(parts[name]) > 1]
        in_names = Counter(part for several in parts.values() for part in set(several))
        often = [name for name in joined if mark in ";|" and any(in_names[part] > 1 for part in parts[name])]
        made = [name for name in joined if all(part in parts for part in parts[name])]
        for name in (often or made)[:1]:
            place = next((example.place for example in train if name in example["labels"]), "a training example")
            raise DataError(f"{place} has the label {shown([name])!r}, of whose parts other labels are made: if {mark!r} is "
                            f"between labels, say --data.task.separator {mark!r}; if that is one label, name all with "
                            "--data.task.labels")  # fmt: skip


def with_names(
    task: Task,
    named: Sequence[Sequence[Example]],
    among: Iterable[Example],
    classes: Mapping[str, Names],
    say: Say,
    known: Known = "task",
    dropped: Sequence[Dropped] = (),
) -> list[list[Example]]:
    """Parts of a source with the names of their labels, whichever way it spells them; an unknown one is an error.

    Args:
        task: with its labels.
        named: the parts.
        among: all examples, by which it is judged how labels are to be read.
        classes: the names of the classes that the source itself numbers, by column.
        say: is told how labels are read, where that is not by their names.
        known: who says which labels there are.
        dropped: takes what has no label, part by part.
    """
    if isinstance(task, MultipleChoice):
        return _with_choices(task, named, list(among), classes, say, dropped)
    if not isinstance(task, Classification | MultiLabel | Tagging):
        return [list(part) for part in named]
    assert task.labels is not None
    everything = list(among)
    if isinstance(task, MultiLabel) and (found := _vectors(everything)):
        check_length(task.labels, len(found[0]), everything[0].place)
        say(f"labels are vectors of zeros and ones, read as places: {shown(task.labels)}")
        return [_of_vectors(part, task.labels) for part in named]
    reading = read_labels(
        task.labels,
        (label for example in everything for label in spellings_of(task, example)),
        spelt=() if isinstance(task, Tagging) else task.spelt,  # tags were read as spelt with their scheme
        source=next((classes[name] for name in _columns(task) if name in classes), ()),
        known=known,
        where=everything[0].place if everything else "the source",
    )
    for note in reading.notes:
        say(note)

    def fields(example: Example) -> dict:
        if isinstance(task, Classification):
            return {"label": reading.name(example["label"], example.place)}
        if isinstance(task, MultiLabel):
            return {"labels": [reading.name(label, example.place) for label in example["labels"]]}
        places = (parts.line_of_word(example.place, number) for number in range(len(example["tags"])))
        return {"tags": [reading.name(tag, place) for tag, place in zip(example["tags"], places, strict=True)]}

    return [_filled(part, fields, _taker(dropped, number)) for number, part in enumerate(named)]


def who_says(task: Task, classes: Mapping[str, Names]) -> Known:
    """Who says which labels there are: the task or the source, or only the training examples."""
    if not isinstance(task, Classification | MultiLabel | Tagging) or task.labels:
        return "task"
    return "task" if any(name in classes for name in _columns(task)) else "examples"


def read_tags(
    task: Tagging, parts_of: Sequence[Sequence[Example]], labels: Sequence[str], say: Say, known: Known
) -> list[list[Example]]:
    """Tags that are numbers, or written as the task's `spelt` says, by the names of these labels; others stay as they are."""
    tagged = [example for part in parts_of for example in part]
    own = {plain(word) for word in task.spelt}
    odd = {
        tag
        for e in tagged
        for tag in e["tags"]
        if plain(tag) in own or (numeral(tag) is not None and (task.spelt or tag not in labels))
    }
    if not odd:
        return [list(part) for part in parts_of]
    if not task.spelt:
        _refuse_mixed(parts_of, labels)
    reading = read_labels(labels, sorted(odd, key=label_order), spelt=task.spelt, known=known, where=tagged[0].place)
    for note in reading.notes:
        say(note)

    def names(example: Example) -> Example:
        tags = [
            reading.name(tag, parts.line_of_word(example.place, at)) if tag in odd else tag
            for at, tag in enumerate(example["tags"])
        ]
        return Example(example.fields | {"tags": tags}, example.place)

    return [[names(example) for example in part] for part in parts_of]


def _refuse_mixed(parts_of: Sequence[Sequence[Example]], labels: Sequence[str]) -> None:
    """DataError for a number among tags that are names: it may be the letter O written wrongly, and no place of a tag."""
    for part in parts_of:
        if not any(tag in labels and numeral(tag) is None for example in part for tag in example["tags"]):
            continue
        for example in part:
            for at, tag in enumerate(example["tags"]):
                if tag not in labels and numeral(tag) is not None and row_of(tag) is not None:
                    place = parts.line_of_word(example.place, at)
                    raise DataError(f"{place} has the tag {tag[:60]}, a number, where other tags are names; write the name of "
                                    "that tag, such as the letter O")  # fmt: skip


def spellings_of(task: Classification | MultiLabel | Tagging, example: Example) -> list[str]:
    """The labels of an example as they are spelt, one or several."""
    if isinstance(task, Classification):
        return [example["label"]]
    return example["labels" if isinstance(task, MultiLabel) else "tags"]


def _columns(task: Classification | MultiLabel | Tagging) -> Names:
    return task.tags if isinstance(task, Tagging) else task.label


def _taker(dropped: Sequence[Dropped], number: int) -> Dropped:
    return dropped[number] if dropped else Dropped(None)


def _filled(part: Sequence[Example], fields: Callable[[Example], dict], dropped: Dropped) -> list[Example]:
    made = []
    for example in part:
        try:
            made.append(Example(example.fields | fields(example), example.place))
        except MissingValue as error:
            dropped.take(error, error.what, example.place)
    return made


def _vectors(examples: Sequence[Example]) -> list[list[int]] | None:
    return vectors([example["labels"] for example in examples], [example.place for example in examples])


def _of_vectors(part: Sequence[Example], labels: Names) -> list[Example]:
    return [Example(e.fields | {"labels": names_of(bits(e["labels"]) or [], labels)}, e.place) for e in part]


def _with_choices(
    task: MultipleChoice,
    named: Sequence[Sequence[Example]],
    among: list[Example],
    classes: Mapping[str, Names],
    say: Say,
    dropped: Sequence[Dropped],
) -> list[list[Example]]:
    source = next((list(classes[name]) for name in task.label if name in classes), [])
    asked = [Asked(e["choices"], e["called"], e["label"], e.place, source) for e in among]
    numbers, note = read_choices(asked, task.spelt)
    if note:
        say(note)
    read = {id(example): number for example, number in zip(among, numbers, strict=True)}

    def fields(example: Example) -> dict:
        if isinstance(number := read[id(example)], DataError):
            raise number
        return {"label": number}

    made = [_filled(part, fields, _taker(dropped, number)) for number, part in enumerate(named)]
    return [[Example({n: v for n, v in e.fields.items() if n != "called"}, e.place) for e in part] for part in made]
