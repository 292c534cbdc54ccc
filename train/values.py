"""The door to tyro: one value from one word of text by the annotation of its field, and fields shown as help."""

import contextlib
import dataclasses
import functools
import io
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal


def read(flag: str, text: str | None, kind: Any, default: Any) -> Any:
    """One value from its text, by the annotation of its field; tyro does the reading. A bare flag (None) is True."""
    import tyro

    if text is None:
        if kind is bool:
            return True
        raise ValueError(f"{flag} needs a value: {in_words(kind)}")
    word = "None" if text.lower() == "none" and type(None) in typing.get_args(kind) else as_literal(text, kind)
    silence = io.StringIO()
    try:
        with value_rules(), contextlib.redirect_stderr(silence), contextlib.redirect_stdout(silence):
            holder = dataclasses.make_dataclass("Value", [("value", kind)])
            value = tyro.cli(holder, args=[f"--value={word}"], config=markers()).value
            return default if value == default and type(value) is type(default) else value
    except (SystemExit, tyro.constructors.UnsupportedTypeAnnotationError):
        present = "''" if default == "" else default
        raise ValueError(f"{flag} {text or repr(text)}: expected {in_words(kind)} (default {present})") from None


def as_literal(text: str, kind: Any) -> str:
    """Words with commas between them as the tuple that they are, where one is expected; anything else as it stands.

    >>> as_literal("bad, good", tuple[str, ...]), as_literal("1,2", tuple[float, ...]), as_literal("('a',)", tuple[str, ...])
    ("('bad', 'good')", '(1, 2)', "('a',)")
    """
    members = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    tuples = [typing.get_args(member) for member in members if typing.get_origin(member) is tuple]
    others = [member for member in members if member is not type(None) and typing.get_origin(member) is not tuple]
    if not tuples or (others and "," not in text) or text.lstrip().startswith(("(", "[")):
        return text
    words = [word.strip() for word in text.split(",") if word.strip()]
    shown = [repr(word) if tuples[0][0] is str else word for word in words]
    return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"


def print_fields(prog: str, **parts: Any) -> None:
    """Print the fields of some dataclasses, each without a prefix of its own, as tyro shows them."""
    import tyro

    kinds: list[Any] = [(name, Annotated[type(part), tyro.conf.arg(name="")]) for name, part in parts.items()]
    shown = dataclasses.make_dataclass("Shown", kinds)
    with value_rules(), contextlib.suppress(SystemExit):
        tyro.cli(shown, prog=prog, description="", default=shown(**parts), args=["--help"], config=markers())


def markers() -> tuple[Any, ...]:
    """How tyro reads: no subcommands for choices, True and False as words, tuples as Python writes them."""
    from tyro import conf

    return conf.AvoidSubcommands, conf.FlagConversionOff, conf.UsePythonSyntaxForLiteralCollections


@functools.cache
def value_rules() -> Any:
    """Rules of our own for tyro: 1e4 is a whole number, and true is True."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

    rules = ConstructorRegistry()

    def rule(kind: type, metavar: str, from_text: Callable[[str], Any]) -> None:
        spec = PrimitiveConstructorSpec(
            nargs=1,
            metavar=metavar,
            instance_from_str=lambda words: from_text(words[0]),
            is_instance=lambda item: type(item) is kind,
            str_from_instance=lambda item: [str(item)],
        )
        rules.primitive_rule(lambda info: spec if info.type is kind else None)

    rule(int, "INT", whole_number)
    rule(bool, "{True,False}", truth)
    rules.primitive_rule(named)
    return rules


def named(info: Any) -> Any:
    """A value that is written as one word, and read by its class."""
    from tyro.constructors import PrimitiveConstructorSpec

    reader = getattr(info.type, "__from_word__", None)
    return reader and PrimitiveConstructorSpec(
        nargs=1,
        metavar=info.type.__name__.upper(),
        instance_from_str=lambda words: reader(words[0]),
        is_instance=lambda item: isinstance(item, info.type),
        str_from_instance=lambda item: [str(item)],
    )


def whole_number(text: str) -> int:
    """10000, 10_000 and 1e4 alike. ValueError for anything that is not whole.

    >>> whole_number("1e4"), whole_number("100_000")
    (10000, 100000)
    """
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise ValueError(f"{text} is not a whole number") from None
        return int(number)


def truth(text: str) -> bool:
    """true and false in any spelling of case, yes and no, 1 and 0."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise ValueError(f"{text} is neither True nor False")
    return words[text.lower()]


def in_words(kind: Any) -> str:
    """What a field of this annotation expects, for an error message.

    >>> in_words(int), in_words(float | None), in_words(Literal["dynamic", "static"])
    ('a whole number', 'a number or None', 'one of dynamic, static')
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return in_words(arguments[0])
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(in_words(member) for member in arguments)
    if origin is tuple:
        return f"{in_words(arguments[0])}, or several with commas between them"
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "a word", type(None): "None"}
    return names.get(kind, f"a value of type {getattr(kind, '__name__', kind)}" if origin is None else str(kind))
