"""A tree of frozen dataclasses as dotted fields: taken apart, changed by name, put together again, and compared.

Nothing here knows what an experiment is. `optimizer.schedule.peak` is a *leaf*, a value that is set from one word of
text. `optimizer` is a *choice* where its annotation names several dataclasses; writing `optimizer.name=lion` puts
another one in its place and keeps the fields that both have. Putting together calls every constructor, so each
dataclass checks itself, once, on the final values.
"""

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Any

from model.config import choice_name, from_json, to_json

REQUIRED = object()  # stands for the value of a field that has none yet


@dataclass
class Node:
    """A dataclass taken apart. `fields` holds nodes for nested dataclasses and plain values for everything else."""

    kind: type
    fields: dict[str, Any]


@dataclass(frozen=True)
class Leaf:
    """A field that is set from one word: its annotation and its present value."""

    kind: Any
    value: Any


@dataclass(frozen=True)
class Choice:
    """A field that holds one of several dataclasses: its annotation, the present one (or None), and all by name."""

    kind: Any
    value: Node | None
    options: dict[str, type | None]


def take_apart(value: Any) -> Node:
    """The inverse of `put_together`."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    return Node(type(value), {name: take_apart(item) if is_value(item) else item for name, item in fields.items()})


def put_together(node: Node, path: str = "") -> Any:
    """Build the value again. A constructor's ValueError gets the path in front; a field without a value is named."""
    fields = {}
    for name, item in node.fields.items():
        if item is REQUIRED:
            raise ValueError(f"{choice_name(node.kind)} needs --{join(path, name)}")
        fields[name] = put_together(item, join(path, name)) if isinstance(item, Node) else item
    try:
        return node.kind(**fields)
    except ValueError as error:
        raise ValueError(placed(str(error), path, fields)) from error


def placed(message: str, path: str, fields: typing.Container[str]) -> str:
    """A constructor's complaint with the path of its dataclass: "optimizer.b1=2 must ..." or "optimizer: it must ..."."""
    if not path:
        return message
    return f"{path}.{message}" if message.partition("=")[0] in fields else f"{path}: {message}"


def fields_of(node: Node, prefix: str = "") -> dict[str, Leaf | Choice]:
    """Every field below a node by its dotted path, in the order of declaration; a choice comes before what it holds."""
    kinds = typing.get_type_hints(node.kind, include_extras=True)
    found: dict[str, Leaf | Choice] = {}
    for name, item in node.fields.items():
        path, options = join(prefix, name), choices_in(kinds[name])
        if isinstance(item, Node) and item.kind not in options.values():
            options[choice_name(item.kind)] = item.kind  # a class of the user's own
        if options:
            found[path] = Choice(kinds[name], item if isinstance(item, Node) else None, options)
        else:
            found[path] = Leaf(kinds[name], item)
        if isinstance(item, Node):
            found |= fields_of(item, path)
    return found


def choices_in(kind: Any) -> dict[str, type | None]:
    """The dataclasses that an annotation allows, by name; "none" where it allows None. Empty if it is no choice."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    members = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    options: dict[str, type | None] = {choice_name(m): m for m in members if isinstance(m, type) and is_value(m)}
    if options and type(None) in members:
        options["none"] = None
    return options


def put(node: Node, path: str, value: Any) -> None:
    """Set the field at a dotted path of a tree that has it."""
    *above, name = path.split(".")
    for step in above:
        node = node.fields[step]
    node.fields[name] = take_apart(value) if is_value(value) else value


def swap(old: Node | None, kind: type) -> Node:
    """A node of another dataclass: fields that both have keep a value that fits, the others take their default, and so do those
    that one of the two names as `not_shared`, for they mean something else in it: "b2", or "schedule.peak" below a field."""
    if old is not None and old.kind is kind:
        return old
    kinds, fields = typing.get_type_hints(kind, include_extras=True), {}
    not_shared = {name for one in (kind, old and old.kind) for name in getattr(one, "not_shared", ())}
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        item = old.fields.get(field.name, REQUIRED) if old is not None and field.name not in not_shared else REQUIRED
        if item is not REQUIRED and not fits(item, kinds[field.name]):
            item = REQUIRED
        if item is REQUIRED:
            item = default_of(field)
        fields[field.name] = take_apart(item) if is_value(item) else item
        below = [path.partition(".")[2] for path in not_shared if path.startswith(f"{field.name}.")]
        if below:
            kept, own = fields[field.name], take_apart(default_of(field)).fields
            changed = {name: own[name] for name in below if name in own and name in kept.fields}
            fields[field.name] = Node(kept.kind, kept.fields | changed)
    return Node(kind, fields)


def fits(item: Any, kind: Any) -> bool:
    """Whether a field of this annotation can hold the item."""
    if isinstance(item, Node):
        return item.kind in choices_in(kind).values()
    try:
        return from_json(kind, to_json(item)) == item
    except (TypeError, ValueError):
        return False


def default_of(field: dataclasses.Field) -> Any:
    """The default of a field, or REQUIRED."""
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else REQUIRED


def differences(old: Any, new: Any) -> list[tuple[str, str, str]]:
    """(dotted path, before, after) of each field in which two values differ, as they are written on the command line.

    >>> from model.norms import LayerNorm
    >>> differences(LayerNorm(epsilon=1e-12), LayerNorm(epsilon=1e-6))
    [('epsilon', '1e-12', '1e-06')]
    """
    before, after = written(old), written(new)
    above = list(dict.fromkeys(path.rpartition(".")[0] for path in [*before, *after]))
    paths = sorted(dict.fromkeys([*before, *after]), key=lambda path: above.index(path.rpartition(".")[0]))
    return [(p, before.get(p, "absent"), after.get(p, "absent")) for p in paths if before.get(p) != after.get(p)]


def written(value: Any) -> dict[str, str]:
    """Every field as one word of text that sets it, by its dotted path; a choice among several by `path.name`."""
    words = {}
    for path, field in fields_of(take_apart(value)).items():
        if isinstance(field, Leaf):
            words[path] = word_of(field)
        elif len(field.options) > 1:
            words[f"{path}.name"] = choice_name(field.value.kind) if field.value else "none"
    return words


def word_of(field: Leaf) -> str:
    """The value of a field as a word. A whole number where any number may stand is the same as JSON gives it back.

    >>> word_of(Leaf(float | None, 10)), word_of(Leaf(int, 10)), word_of(Leaf(float, True))
    ('10.0', '10', 'True')
    """
    kinds = typing.get_args(field.kind) or (field.kind,)
    whole = isinstance(field.value, int) and not isinstance(field.value, bool)
    return str(float(field.value)) if whole and float in kinds and int not in kinds else str(field.value)


def type_fields(kind: type) -> set[str]:
    """The names of the fields of a dataclass that can be set."""
    return {field.name for field in dataclasses.fields(kind) if field.init}


def is_value(item: Any) -> bool:
    """Whether an item is a dataclass, or an instance of one, that has a place in the tree."""
    return dataclasses.is_dataclass(item) and not isinstance(item, Node)


def join(prefix: str, name: str) -> str:
    """A dotted path one step further down."""
    return f"{prefix}.{name}" if prefix else name
