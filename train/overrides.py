"""Overrides: dotted fields of an experiment, set from words of text.

`optimizer.schedule.peak 3e-4` sets a value; `optimizer.name lion`, or `optimizer lion`, puts another choice in the
place of the present one and keeps the fields that mean the same in both; `data.source files:my/*.txt` reads a choice
that has a one-word form.
"""

from collections.abc import Iterable
from typing import Any

from model.config import choice_name
from train.suggest import nearest, nearest_field
from train.tree import Choice, Leaf, Node, fields_of, put, put_together, swap, take_apart, type_fields
from train.values import read


def overridden(experiment: Any, changes: dict[str, str | None], known: Iterable[str]) -> Any:
    """The experiment with each dotted field set from its text. `known` are names of options, for suggestions only."""
    if not changes:
        return experiment
    node, words = take_apart(experiment), getattr(type(experiment), "one_word", {})
    known = [*known, *words]
    leaves = {}
    by_depth = sorted(changes.items(), key=lambda change: change[0].count("."))  # what holds a field comes before it
    for path, text in by_depth:
        fields = fields_of(node)
        place = path if path in fields else path.removesuffix(".name")
        choice = fields.get(place)
        if path in words and text is not None:
            put(node, path, reader_of(words[path], node, path)(text))
        elif isinstance(choice, Choice):
            kind = option(path, text, choice)
            put(node, place, swap(choice.value, kind) if kind else None)
        else:
            leaves[path] = text
    fields = fields_of(node)
    for path, text in leaves.items():
        if path not in fields:
            raise ValueError(unknown(path, fields, known))
        put(node, path, read(f"--{path}", text, fields[path].kind, fields[path].value))
    follow(node, changes, getattr(type(experiment), "follows", {}))
    return put_together(node)


def reader_of(readers: Any, node: Node, path: str) -> Any:
    """What reads the one word of a choice: it may depend on the dataclass that holds the choice."""
    if not isinstance(readers, dict):
        return readers
    holder: Any = node
    for name in path.split(".")[:-1]:
        holder = holder.fields[name]
    return readers[holder.kind]


def follow(node: Node, changes: dict[str, str | None], follows: dict[str, str]) -> None:
    """Set the fields that follow others, where those have changed. ValueError if one was set against the other."""
    for path, leader in follows.items():
        fields = fields_of(node)
        if path not in fields:
            continue
        value = fields[leader].value if leader in fields else None
        if path in changes and fields[path].value != value:
            raise ValueError(f"--{path} {changes[path]}: the tokenizer decides it; set --{leader} and leave it out")
        if value is not None and any(
            leader == name or leader.startswith(name.removesuffix("name")) for name in changes
        ):
            put(node, path, value)


def option(path: str, text: str | None, choice: Choice) -> type | None:
    """The dataclass that a word names: "lion", "AdamW", "sinusoidal" for sinusoidal_positions."""
    if text is None:
        raise ValueError(f"--{path} needs one of {', '.join(choice.options)}")
    if len(choice.options) == 1 and choice.value is not None and not path.endswith(".name"):
        raise ValueError(
            f"--{path} {text}: its fields are set one by one, such as --{path}.{next(iter(choice.value.fields))}"
        )

    def plain(word: str) -> str:
        return word.replace("_", "").replace("-", "").lower()

    alike = [name for name in choice.options if plain(name) == plain(text)]
    alike = alike or [name for name in choice.options if plain(text) and plain(name).startswith(plain(text))]
    if len(alike) == 1:
        return choice.options[alike[0]]
    close = nearest(text, choice.options)
    hint = f"did you mean {close}? There are" if close else "there are"
    raise ValueError(f"--{path} {text}: there is no such choice; {hint} {', '.join(choice.options)}")


def unknown(path: str, fields: dict[str, Leaf | Choice], known: Iterable[str]) -> str:
    """What to say about a field that is not there: which choice would have it, or the nearest one."""
    place, _, name = path.rpartition(".")
    choice = fields.get(place)
    if isinstance(choice, Choice):
        owners = [word for word, kind in choice.options.items() if kind and name in type_fields(kind)]
        present = choice_name(choice.value.kind) if choice.value else "none"
        if owners:
            there = f"{' and '.join(owners)} ({place} is {present})"
            return f"--{path} is a field of {there}; add --{place}.name {owners[0]}"
    names = [place if isinstance(field, Leaf) else f"{place}.name" for place, field in fields.items()]
    close = nearest_field(path, [*names, *known])
    if not close:
        return f"there is no field --{path}; --help shows them all"
    present = getattr(fields.get(close), "value", None)
    default = f" (default {present})" if isinstance(present, (int, float, str)) else ""
    close = close.replace("_", "-") if close in known else close
    return f"there is no field --{path}; did you mean --{close}{default}?"
