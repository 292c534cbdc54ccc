"""What the command line prints of an experiment: help, the resolved fields, and what differs from the declaration."""

import json
import operator
import shlex
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from train.options import Options
from train.registry import Declared, listing
from train.values import print_fields


def print_bare_help(command: str, options: Options, subject: str) -> None:
    """The help of a command without an experiment: how to call it, its options, and what experiments there are."""
    prog = f"python -m train.{command}"
    print(
        f"{prog} {subject} [--option VALUE ...] [--dotted.field VALUE ...]\n\n"
        f"Any field of the experiment can be set: {prog} {subject} --help shows them all.\n\n"
        f"Experiments (or a file of your own, --exp=path/to/mine.py):\n{listing()}\n"
    )
    print_fields(f"{prog} {subject}", options=options)


def print_full_help(
    command: str,
    declared: Declared,
    experiment: Any,
    options: Options,
    short: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """What an experiment is, the choices in it, and every field and option with its present value."""
    from train.tree import Choice, fields_of, take_apart

    print(declared.text, end="\n\n")
    words = [f"  --{path} WORD  now {word}" for path, word in one_words(experiment).items()]
    fields = fields_of(take_apart(experiment))
    choices = {path: list(field.options) for path, field in fields.items() if isinstance(field, Choice)}
    names = [f"  --{path}.name {{{','.join(names)}}}" for path, names in choices.items() if len(names) > 1]
    print(
        "Choices (putting another in the place of one keeps the fields that mean the same in both):",
        *words,
        *names,
        "",
        sep="\n",
    )
    if short:
        names = ", ".join(f"--{name.replace('_', '-')} for --{path}" for name, path in short.items())
        print(f"Shorter: {names}\n")
    print_fields(f"python -m train.{command} --exp={declared.name}", experiment=experiment, options=options)


def config_text(command: str, declared: Declared, experiment: Any, form: str) -> str:
    """The experiment in full, as JSON or as a command that can be given again, with what differs on top."""
    from model.config import to_json

    if form == "json":
        return json.dumps(to_json(experiment), indent=2, ensure_ascii=False)
    flags = " \\\n    ".join(f"--{path} {shlex.quote(word)}" for path, word in flag_words(experiment).items())
    comment = "".join(f"# {line}\n" for line in diff_text(declared, experiment).splitlines())
    return f"{comment}python -m train.{command} --exp={declared.name} \\\n    {flags}"


def diff_text(declared: Declared, experiment: Any) -> str:
    """One line for each field that differs from the experiment as declared."""
    from train.agreement import compare

    lines = compare(declared.experiment, experiment)
    return "\n".join(lines) if lines else f"{declared.name} as declared"


def flag_words(experiment: Any) -> dict[str, str]:
    """Every field as the flag that sets it; a choice with a one-word form by that, and no field that follows another."""
    from train.tree import written

    words = written(experiment)
    for path, word in one_words(experiment).items():
        words = {path: word} | {p: other for p, other in words.items() if not p.startswith(f"{path}.")}
    follows = getattr(type(experiment), "follows", {})
    return {path: word for path, word in words.items() if path not in follows}


def one_words(experiment: Any) -> dict[str, str]:
    """The choices that one word sets, by their dotted path, where that word says all there is to them."""
    found = {}
    for path, readers in getattr(type(experiment), "one_word", {}).items():
        value = operator.attrgetter(path)(experiment)
        parse = readers
        if isinstance(readers, dict):
            parse = readers[type(operator.attrgetter(path.rpartition(".")[0])(experiment))]
        if parse(str(value)) == value:
            found[path] = str(value)
    return found
