"""The command line: python -m train.COMMAND --exp=NAME [--option VALUE ...] [--dotted.field VALUE ...]

Read in two stages. The first finds the experiment's name and answers `--list`, a bare `--help` and a mistaken name
before JAX is imported. The second loads the experiment, puts the overrides into it and lets every part check itself.
Bad input ends with exit code 2 and one line that says what is wrong, where, and what to do.

A flag may be written `--a.b VALUE`, `--a.b=VALUE` or `a.b=VALUE`, with hyphens or underscores; the last of two wins.
"""

import contextlib
import dataclasses
import os
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from data.cache import user_path
from data.foreign import one_line
from train.options import Options, RunOptions
from train.registry import Declared, Entry, entries, find, is_published, listing, load, no_model
from train.suggest import ALIASES, nearest

# Whatever imports JAX is imported inside the functions that need it.

FLAG = re.compile(r"--[A-Za-z_][\w.-]*(=|$)")
ASSIGNMENT = re.compile(r"[A-Za-z_][\w.-]*=")
PATHS = ("run_dir", "init", "out", "base")  # options that may begin with ~
SWITCH_VALUES = ("true", "false", "flags", "json", "none")


@dataclass(frozen=True)
class Request:
    """What a command was asked to do."""

    name: str
    """The experiment's name."""
    experiment: Any
    """The experiment with the overrides."""
    base: Any
    """The experiment as declared."""
    options: Any
    """The options of the run."""
    given: frozenset[str]
    """Fields and options that the user gave, as dotted paths."""
    folder: str | None = None
    """The run folder, for commands that start from one."""
    command: str = "pretrain"
    """The command that asked."""


def parse(
    argv: Sequence[str],
    *,
    command: str,
    options: type[Options] = RunOptions,
    short: Mapping[str, str] = MappingProxyType({}),
) -> Request:
    """Read the command line of a command that takes `--exp=NAME`. `short` gives fields of the experiment a shorter name.

    Raises:
        SystemExit: with code 2 and one line on stderr for bad input; with code 0 after `--help`, `--list`,
        `--print-config`
            or `--diff`.
    """
    with one_line_errors():
        flags, positional = split(argv, options)
        flags = {short.get(path, path): text for path, text in flags.items()}
        if "list" in flags:
            print(listing())
            raise SystemExit(0)
        if positional:
            known = nearest(positional[0].replace("-", "_"), [item.name for item in entries()])
            hint = f"did you mean --exp={known}?" if known else "flags begin with --"
            raise ValueError(f"unexpected argument {positional[0]!r}; {hint}")
        exp = flags.pop("exp", None)
        if not exp:
            if "help" in flags:
                print_help(command, options())
            raise ValueError(no_experiment(command, flags, options))
        check_command(command, exp, find(exp))  # a mistaken name is answered before JAX is imported
        declared = load(exp)
        check_kind(command, exp, declared.experiment.is_task)
        return answer(command, declared, flags, options, short)


def no_experiment(command: str, flags: Mapping[str, str | None], options: type[Options]) -> str:
    """What is said where --exp is missing: the flag that stands in its place, or the experiments that the command takes."""
    known = ["exp", *(field.name for field in dataclasses.fields(options))]
    for flag in flags:
        if flag not in known and "exp" in (nearest(flag, known), ALIASES.get(flag)):
            return f"there is no option --{flag.replace('_', '-')}; did you mean --exp?"
    wanted = {"pretrain": False, "finetune": True}.get(command)
    names = ", ".join(item.name for item in entries() if wanted is None or item.is_task is wanted)
    kind = "the tasks " if wanted else ""
    return f"which experiment? python -m train.{command} --exp=NAME; there are {kind}{names}"


def check_command(command: str, exp: str, place: Any) -> None:
    """ValueError if an experiment of the house is of another command."""
    if isinstance(place, Entry):
        check_kind(command, exp, place.is_task)


def check_kind(command: str, exp: str, is_task: bool) -> None:
    """ValueError, with the command that is meant, for a task that is to be pre-trained, or text to be fine-tuned on."""
    if command == "pretrain" and is_task:
        raise ValueError(
            f"{exp} is a task; to fine-tune on it: python -m train.finetune --exp={exp} --init=RUN_OR_FOLDER"
        )
    if command == "finetune" and not is_task:
        tasks = ", ".join(item.name for item in entries() if item.is_task)
        raise ValueError(f"{exp} pre-trains on text: python -m train.pretrain --exp={exp}; there are the tasks {tasks}")


def parse_folder(
    argv: Sequence[str],
    *,
    command: str,
    options: type[Options] = Options,
    published: Callable[[str], Declared] | None = None,
) -> Request:
    """Read the command line of a command that takes a run folder: its experiment is what was trained there.

    Where the command takes published folders too, `published` makes an experiment of one. Overrides work as for `parse`, so
    that `--data.source WORD` scores a run on another text. Raises SystemExit like it.
    """
    with one_line_errors():
        flags, positional = split(argv, options)
        if not positional:
            if "help" in flags:
                print_help(command, options(), subject="RUN_DIR")
            raise ValueError(f"which run? python -m train.{command} RUN_DIR")
        if len(positional) > 1:
            raise ValueError(f"unexpected argument {positional[1]!r} after the run folder; flags begin with --")
        folder = str(user_path(positional[0]))
        if published is not None and is_published(folder):
            return dataclasses.replace(answer(command, published(folder), flags, options), folder=folder)
        if not (Path(folder) / "config.json").is_file():
            raise ValueError(no_model(folder))
        return dataclasses.replace(answer(command, load(f"{folder}/config.json"), flags, options), folder=folder)


@dataclass(frozen=True)
class ModelRequest:
    """What a command that takes a model was asked to do."""

    path: str
    """A run folder, a published folder, or a name on the Hugging Face hub."""
    options: Any
    """The options of the command."""
    given: frozenset[str]
    """Options that the user gave."""


def parse_model(argv: Sequence[str], *, command: str, options: type, texts: Sequence[str] = ()) -> ModelRequest:
    """Read the command line of a command that takes a trained model, whoever trained it.

    Options named in `texts` are taken as they stand, whatever is in them: `--prompt None` is a word. One whose field is a
    tuple may be given several times. Raises SystemExit like `parse`.
    """
    with one_line_errors():
        words, raw = take_texts(argv, texts)
        flags, positional = split(words, options)
        prog = f"python -m train.{command} RUN_OR_DIR"
        if "help" in flags:
            print(f"{prog} {' '.join(f'--{name} TEXT' for name in texts[:1])} [--option VALUE ...]\n")
            print("RUN_OR_DIR is a run folder, a published folder, or the name of one on the Hugging Face hub.\n")
            from train.values import print_fields

            print_fields(prog, options=options())
            raise SystemExit(0)
        fields = {field.name: field for field in dataclasses.fields(options)}
        if strange := [name for name in flags if name not in fields]:
            known = nearest(strange[0], list(fields))
            hint = (
                f"did you mean --{known.replace('_', '-')}?"
                if known
                else f"python -m train.{command} --help lists them"
            )
            raise ValueError(f"there is no option --{strange[0].replace('_', '-')}; {hint}")
        if not positional:
            raise ValueError(f"which model? {prog}: a run folder, or a published folder")
        if len(positional) > 1:
            raise ValueError(
                f"unexpected argument {positional[1]!r}; quote a text that has spaces, and name flags with --"
            )
        path = os.path.expanduser(positional[0].rstrip("/") or "/")
        user_path(path)
        if not Path(path).exists() and (path.count("/") != 1 or path.startswith((".", "~", "/", "runs/"))):
            raise ValueError(f"there is no folder {path}; give a run folder, or a published folder")
        if Path(path).exists() and not (Path(path) / "config.json").is_file():
            if os.path.isfile(os.path.join(path, "adapter_config.json")):
                raise ValueError(no_model(path))
            raise ValueError(f"{path} is neither a run folder nor a published one (it has no config.json); name one")
        values = read_options(options, flags, path)
        several = {n: tuple(found) if isinstance(fields[n].default, tuple) else found[-1] for n, found in raw.items()}
        return ModelRequest(path, dataclasses.replace(values, **several), frozenset([*flags, *raw]))


def take_texts(argv: Sequence[str], names: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Take the options of these names, with their values as they stand, out of a command line.

    >>> take_texts(["run", "--stop", "a b", "--stop=--c", "--seed", "1"], ["stop"])
    (['run', '--seed', '1'], {'stop': ['a b', '--c']})
    """
    rest, found = [], {}
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name.replace("-", "_") not in names:
            rest.append(word)
            continue
        if not equals and not words:
            raise ValueError(f"--{name} needs a value: a text, in quotes if it has spaces")
        found.setdefault(name.replace("-", "_"), []).append(value if equals else words.pop(0))
    return rest, found


def override(experiment: Any, words: Sequence[str]) -> Any:
    """An experiment with overrides written as on a command line. ValueError with one line for bad input.

    override(experiment, ["--optimizer.schedule.peak", "1e-3", "steps=100"])
    """
    from train.overrides import overridden

    flags, positional = split(words, Options)
    if positional:
        raise ValueError(f"unexpected argument {positional[0]!r}; write --field VALUE or field=VALUE")
    return overridden(experiment, flags, known=())


def answer(
    command: str,
    declared: Declared,
    flags: dict[str, str | None],
    options: type[Options],
    short: Mapping[str, str] = MappingProxyType({}),
) -> Request:
    """The second stage: overrides and options as values, or what `--help`, `--print-config` and `--diff` print."""
    from train import usage
    from train.overrides import overridden

    names = {field.name: field for field in dataclasses.fields(options)}
    shown, flags = "help" in flags, {path: text for path, text in flags.items() if path != "help"}
    fields = {path: text for path, text in flags.items() if path not in names}
    experiment = overridden(declared.experiment, fields, known=[*names, "exp"])
    chosen = read_options(options, {path: text for path, text in flags.items() if path in names}, declared.name)
    if shown:
        usage.print_full_help(command, declared, experiment, chosen, short)
    elif chosen.print_config:
        print(usage.config_text(command, declared, experiment, chosen.print_config))
    elif chosen.diff:
        print(usage.diff_text(declared, experiment))
    else:
        return Request(declared.name, experiment, declared.experiment, chosen, frozenset(flags), command=command)
    raise SystemExit(0)


def split(argv: Sequence[str], options: type[Options]) -> tuple[dict[str, str | None], list[str]]:
    """Flags by dotted path with hyphens as underscores (None for a bare flag), and the words that belong to no flag.

    >>> split(["--exp=bert_tiny", "--run-dir", "a b", "optimizer.b2=0.98", "--verify-resume"], RunOptions)
    ({'exp': 'bert_tiny', 'run_dir': 'a b', 'optimizer.b2': '0.98', 'verify_resume': None}, [])
    """
    switches = {"help", "print_config", *(field.name for field in dataclasses.fields(options) if field.type is bool)}
    flags: dict[str, str | None] = {}
    positional = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "-h":
            word = "--help"
        if not (FLAG.match(word) or ASSIGNMENT.match(word)):
            if word.startswith("-"):
                raise ValueError(f"unexpected {word!r}; flags are written --field VALUE")
            positional.append(word)
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        path = name.replace("-", "_")
        if not equals:
            follows = bool(words) and not FLAG.match(words[0]) and words[0] != "-h"
            if follows and path in switches:
                follows = words[0].lower() in SWITCH_VALUES
            value = words.pop(0) if follows else None
        flags.pop(path, None)  # the last one wins, and comes last
        flags[path] = value
    return flags, positional


def read_options(kind: type[Options], texts: dict[str, str | None], name: str) -> Any:
    """The options of a command from their texts."""
    from train.values import read

    kinds = typing.get_type_hints(kind)
    values = {}
    for path, text in texts.items():
        if path == "print_config" and text is None:
            text = "flags"
        default = next(field.default for field in dataclasses.fields(kind) if field.name == path)
        values[path] = read(f"--{path.replace('_', '-')}", text, kinds[path], default)
        if path in PATHS and isinstance(values[path], str):
            values[path] = os.path.expanduser(values[path])
            user_path(values[path], f"name another with --{path.replace('_', '-')}")
    if "run_dir" in kinds and values.get("run_dir") is None:
        values["run_dir"] = f"runs/{name}"
    if values.get("mesh"):
        from train.sharding import MeshShape

        MeshShape.parse(values["mesh"])
    return kind(**values)


def print_help(command: str, options: Options, subject: str = "--exp=NAME") -> NoReturn:
    """The help of a command without an experiment; needs no JAX."""
    from train import usage

    usage.print_bare_help(command, options, subject)
    raise SystemExit(0)


@contextlib.contextmanager
def one_line_errors():
    """Print a ValueError as one line on stderr and exit with code 2."""
    try:
        yield
    except ValueError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None
