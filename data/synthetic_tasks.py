"""Tasks that a seed makes: small worlds in which it is known what there is to learn.

    task:modular                        all equations a / b = c modulo 97
    task:modular/prime=59/operation=add     fields that differ from their default, each after a stroke
    task:repeats/documents=10000        random blocks, repeated: what induction heads copy
    task:copy/kind=reverse              pairs of digit strings: the same, turned round, or sorted

`str(task)` gives the word and `parse_task(word)` the task back. What makes the documents is in `data.corpus.tasks`.
"""

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_type_hints

from data.errors import DataError

LONGEST = 65_536  # symbols of a document: thousands of them are drawn at once
SYMBOLS, MANY, SEEDS = (2, 1_000_000), (1, 2**40), (0, 2**63 - 1)
SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


class _Task:
    """The one word of a task: its name, and the fields that differ from their defaults."""

    def __str__(self) -> str:
        fields: tuple[Any, ...] = dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
        said = [f"/{f.name}={getattr(self, f.name)}" for f in fields if getattr(self, f.name) != f.default]
        return f"task:{TASK_NAMES[type(self).__name__]}{''.join(said)}"

    def _within(self, **bounds: tuple[int, int]) -> None:
        for name, (least, most) in bounds.items():
            if not least <= (value := getattr(self, name)) <= most:
                fault = f"too small; use {least} or more" if value < least else f"too large; use {least} to {most}"
                raise DataError(f"{name}={value} is {fault}")


@dataclass(frozen=True)
class ModularArithmetic(_Task):
    """All equations a o b = c modulo a prime, one a document: "a / b = c" (Power et al. 2022, arXiv:2201.02177).

    Division has p (p - 1) of them, for nothing is divided by 0; the other operations have p^2.
    """

    prime: int = 97  # p
    operation: Literal["add", "subtract", "multiply", "divide"] = "divide"

    def __post_init__(self):
        _check_word("operation", self.operation, tuple(SIGNS))
        if not 2 <= self.prime < 10_000 or any(self.prime % n == 0 for n in range(2, int(self.prime**0.5) + 1)):
            raise DataError(f"prime={self.prime} is not a prime number below 10000; use 59, 97 or 113")


@dataclass(frozen=True)
class RepeatedBlocks(_Task):
    """A block of random symbols repeated until the document is full: what follows is known from the second block on.

    The length of a block is uniform in shortest..longest, its symbols in 0..vocabulary - 1. It is the test bed of
    induction heads (Olsson et al. 2022, arXiv:2209.11895): log(vocabulary) nats a symbol in the first block, 0 after it.
    """

    length: int = 64  # symbols of a document
    shortest: int = 16
    longest: int = 32
    vocabulary: int = 64
    documents: int = 131_072
    seed: int = 0

    def __post_init__(self):
        self._within(length=(2, LONGEST), shortest=(1, LONGEST), vocabulary=SYMBOLS, documents=MANY, seed=SEEDS)
        if not self.shortest <= self.longest <= self.length:
            raise DataError(
                f"shortest={self.shortest}, longest={self.longest}, length={self.length} must rise in this order"
            )


@dataclass(frozen=True)
class CopyTask(_Task):
    """Pairs of texts: random symbols, and the same ones copied, in reverse, or sorted.

    The toy test of encoder-decoders since the original Transformer (Vaswani et al. 2017, arXiv:1706.03762): ten symbols,
    strings of ten of them. Lengths are uniform in shortest..longest.
    """

    kind: Literal["copy", "reverse", "sort"] = "copy"
    shortest: int = 10
    longest: int = 10
    vocabulary: int = 10
    documents: int = 16_384
    seed: int = 0

    def __post_init__(self):
        _check_word("kind", self.kind, ("copy", "reverse", "sort"))
        self._within(shortest=(1, LONGEST), longest=(1, LONGEST), vocabulary=SYMBOLS, documents=MANY, seed=SEEDS)
        if self.shortest > self.longest:
            raise DataError(f"shortest={self.shortest} is more than longest={self.longest}")


Task: TypeAlias = ModularArithmetic | RepeatedBlocks | CopyTask
TASKS: dict[str, type[Task]] = {"modular": ModularArithmetic, "repeats": RepeatedBlocks, "copy": CopyTask}
TASK_NAMES = {kind.__name__: name for name, kind in TASKS.items()}


def parse_task(word: str) -> Task:
    """The task of a word: the inverse of `str(task)`.

    >>> parse_task("task:modular/prime=59")
    ModularArithmetic(prime=59, operation='divide')
    >>> str(CopyTask("sort", longest=20))
    'task:copy/kind=sort/longest=20'
    >>> parse_task("task:modulo")
    Traceback (most recent call last):
    data.errors.DataError: there is no task 'modulo'; did you mean task:modular?
    """
    name, *given = word.removeprefix("task:").split("/")
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"did you mean task:{near[0]}?" if near else f"use task:{', task:'.join(TASKS)}"
        raise DataError(f"there is no task '{name}'; {hint}")
    kinds = get_type_hints(TASKS[name])
    fields: dict[str, Any] = {}
    for part in given:
        field, equals, value = part.partition("=")
        if field not in kinds or not equals:
            raise DataError(f"cannot read '{part}' in {word}; write /FIELD=VALUE with a field of {', '.join(kinds)}")
        if kinds[field] is int and not value.isdecimal():
            raise DataError(f"{field}={value} in {word} is not a whole number")
        fields[field] = int(value) if kinds[field] is int else value
    return TASKS[name](**fields)


def _check_word(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise DataError(f"{field}={value} is not one of {', '.join(known)}")
