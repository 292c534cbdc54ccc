"""Expressions of `alpha_pattern`, matched in linear time.

`peft` hands the keys of such a table to `re`, whose time can double with every letter of a name. Here a small part of its
language, all that `peft` and its users write, becomes a nondeterministic automaton that is run over a name once, in all its
states together (Thompson, CACM 11(6), 1968): letters, a point for any, \\d \\w \\s \\D \\W \\S, classes as [0-3x], groups, |,
and * + ? {m} {m,n} behind any of them; ^ at the beginning and $ at the end.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from model.peft.sites import PeftError

LONGEST, STATES, REPEATS = 500, 2_000, 100  # letters of an expression, states that it may need, a number in braces
# Comparisons of all expressions with all names of a file, and what a state counts among them: about a second of time.
STEPS, STATE = 4_000_000, 25
PLAIN = re.compile(r"[\w./-]+")
DEPTH = 50  # of groups in each other
Test = Callable[[str], bool]
_COUNT = re.compile(r"\{(\d{1,3})(,?)(\d{0,3})\}")
_KINDS: dict[str, Test] = {
    "d": str.isdecimal,
    "w": lambda letter: letter.isalnum() or letter == "_",
    "s": str.isspace,
}
_KINDS |= {kind.upper(): (lambda letter, test=test: not test(letter)) for kind, test in list(_KINDS.items())}


class _State(NamedTuple):
    """A state: what the next letter must be (None: no letter is taken), and the states that follow."""

    test: Test | None
    following: list[int]


class Pattern:
    """An expression that a name must meet as a whole, or from behind one of its points on. PeftError if it is not understood.

    >>> Pattern("h.[0-3].attn|wte").meets("transformer.h.2.attn"), Pattern("attn").meets("self_attn")
    (True, False)
    """

    def __init__(self, text: str):
        self.whole = text.startswith("^")
        self.text, self._at, self._depth, self.steps = text.removeprefix("^").removesuffix("$"), 0, 0, 0
        self._states: list[_State] = []
        if len(text) > LONGEST:
            raise self._strange(f"has more than {LONGEST:,} letters")
        self._end = self._state(None, [])
        self._start = self._either(self._end)
        if self._at < len(self.text):
            raise self._strange(f"has {self.text[self._at]!r} at letter {self._at + 1}, which is not understood")

    def meets(self, name: str) -> bool:
        """Whether a name, or what stands behind one of its points, is what the expression says."""
        current: set[int] = set()
        previous: str | None = None
        for letter in name:
            if previous is None or (previous == "." and not self.whole):
                self._enter(self._start, current)
            self.steps += len(current) + 1
            followed: set[int] = set()
            for number in current:
                test, following = self._states[number]
                if test is not None and test(letter):
                    for state in following:
                        self._enter(state, followed)
            current, previous = followed, letter
        if previous is None or (previous == "." and not self.whole):
            self._enter(self._start, current)  # nothing, where that is enough
        return self._end in current

    def _enter(self, state: int, into: set[int]) -> None:
        """Add a state, and those that follow it without a letter."""
        waiting = [state]
        while waiting:
            if (state := waiting.pop()) not in into:
                into.add(state)
                if self._states[state].test is None:
                    waiting += self._states[state].following

    def _state(self, test: Test | None, following: list[int]) -> int:
        if len(self._states) == STATES:
            raise self._strange(f"needs more than {STATES:,} states")
        self._states.append(_State(test, following))
        return len(self._states) - 1

    # Reading: what is read goes on with the state `then`, and what is returned is where it begins.

    def _either(self, then: int) -> int:
        begins = [self._one_after_other(then)]
        while self._next("|"):
            begins.append(self._one_after_other(then))
        return begins[0] if len(begins) == 1 else self._state(None, begins)

    def _one_after_other(self, then: int) -> int:
        # The end of an automaton is made before its beginning, so the parts are found first and then read from the last.
        parts = []
        while self._at < len(self.text) and self.text[self._at] not in "|)":
            start = self._at
            self._skip_atom()
            parts.append((start, self._at, self._counts()))
        after = self._at
        for start, stop, counts in reversed(parts):
            then = self._repeated(start, stop, counts, then)
        self._at = after
        return then

    def _repeated(self, start: int, stop: int, counts: tuple[int, int | None], then: int) -> int:
        least, most = counts
        if most is None:
            loop = self._state(None, [then])
            self._states[loop].following.append(self._atom(start, stop, loop))
            then = loop
        for _ in range((most or least) - least):
            then = self._state(None, [then, self._atom(start, stop, then)])
        for _ in range(least):
            then = self._atom(start, stop, then)
        return then

    def _counts(self) -> tuple[int, int | None]:
        """How often what was read stands there, at least and at most."""
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._next(sign):
                return counts
        if found := _COUNT.match(self.text, self._at):
            self._at = found.end()
            least = int(found[1])
            most = least if not found[2] else int(found[3]) if found[3] else None
            if max(least, most or 0) <= REPEATS and (most is None or most >= least):
                return least, most
            raise self._strange(f"repeats {found[0]}")
        return 1, 1

    def _skip_atom(self) -> None:
        """Go behind a letter, a class or a group."""
        letter = self.text[self._at]
        self._at += 1
        if letter == "(":
            self._group()
        elif letter == "[":
            self._class()
        elif letter == "\\":
            self._escaped()
        elif letter in "*+?{}^$]":
            self._at -= 1
            raise self._strange(f"has {letter!r} at letter {self._at + 1}, which is not understood there")

    def _atom(self, start: int, stop: int, then: int) -> int:
        """The states of what stands from `start` to `stop`."""
        self._at = start + 1
        match self.text[start]:
            case "(":
                begin = self._state(None, [self._group(then)])
            case "[":
                begin = self._state(self._class(), [then])
            case "\\":
                begin = self._state(self._escaped(), [then])
            case ".":
                begin = self._state(lambda letter: letter != "\n", [then])
            case letter:
                begin = self._state(letter.__eq__, [then])
        self._at = stop
        return begin

    def _group(self, then: int | None = None) -> int:
        """A group behind its bracket; without `then` its states are read and thrown away."""
        before, self._depth = len(self._states), self._depth + 1
        if self._depth > DEPTH:
            raise self._strange(f"has more than {DEPTH} groups in each other")
        if self.text.startswith("?", self._at) and not self._next("?:"):
            raise self._strange("asks with (? for more than a group")
        if then is None:
            depth = 1
            while depth and self._at < len(self.text):
                letter = self.text[self._at]
                self._at += 1
                if letter == "\\":
                    self._at += 1
                elif letter == "[":
                    self._class()
                else:
                    depth += {"(": 1, ")": -1}.get(letter, 0)
            closed, begin = not depth, before
        else:
            begin = self._either(then)
            closed = self._next(")")
        if not closed:
            raise self._strange("lacks a bracket that closes")
        self._depth -= 1
        return begin

    def _class(self) -> Test:
        """A class of letters behind its bracket."""
        wanted = not self._next("^")
        singles: set[str] = set()
        ranges: list[tuple[str, str]] = []
        tests: list[Test] = []
        first = True
        while first or not self.text.startswith("]", self._at):
            first = False
            letter = self.text[self._at : self._at + 1]
            self._at += 1
            if letter == "\\":
                test = self._escaped()
                if isinstance(test, _Letter):
                    letter = test.letter
                else:
                    tests.append(test)
                    continue
            if self.text.startswith("-", self._at) and self.text[self._at + 1 : self._at + 2] not in ("", "]"):
                high = self.text[self._at + 1]
                self._at += 2
                if high in "\\[" or high < letter:
                    raise self._strange(f"has the range {letter}-{high}")
                ranges.append((letter, high))
            elif not letter:
                raise self._strange("lacks a bracket that closes")
            else:
                singles.add(letter)
        self._at += 1

        def within(letter: str) -> bool:
            found = letter in singles or any(low <= letter <= high for low, high in ranges)
            return (found or any(test(letter) for test in tests)) == wanted

        return within

    def _escaped(self) -> Test:
        """What a backslash stands before."""
        letter = self.text[self._at : self._at + 1]
        self._at += 1
        if letter in _KINDS:
            return _KINDS[letter]
        if not letter or letter.isalnum():
            raise self._strange(f"has \\{letter}, which is not understood")
        return _Letter(letter)

    def _next(self, sign: str) -> bool:
        found = self.text.startswith(sign, self._at)
        self._at += len(sign) * found
        return found

    def _strange(self, why: str) -> PeftError:
        return PeftError(f"alpha_pattern: the expression {self.text!r} {why}; name the modules themselves, as h.0.attn")


class _Letter(NamedTuple):
    """The test for one letter."""

    letter: str

    def __call__(self, letter: str) -> bool:
        return letter == self.letter


class Patterns:
    """A table of expressions and numbers, as `alpha_pattern` is one. PeftError for what is not.

    >>> Patterns({"attn.c_attn": 4.0}).value("transformer.h.0.attn.c_attn", 8.0)
    4.0
    """

    def __init__(self, table: Mapping[str, Any]):
        self._values: dict[str, float] = {}
        self._read: dict[str, Pattern] = {}
        self._steps = 0
        for text, value in table.items():
            if type(value) not in (int, float) or not 0 < value < 2**31:
                raise PeftError(f"alpha_pattern: {text!r} has {value!r}, which should be a positive number")
            self._values[text] = float(value)
            if not PLAIN.fullmatch(text):
                self._read[text] = Pattern(text)

    def value(self, name: str, default: float) -> float:
        """The value of the first expression that a module's name meets."""
        return next((value for text, value in self._values.items() if self._meets(text, name)), default)

    def _meets(self, text: str, name: str) -> bool:
        self._steps += 1
        if self._steps > STEPS:
            raise PeftError(
                "alpha_pattern: its expressions take too long to compare with names; name the modules themselves"
            )
        if (read := self._read.get(text)) is None:  # letters, and points that stand for any
            end = name[-len(text) :]
            open_before = len(name) == len(text) or name[-len(text) - 1 : -len(text)] == "."
            return open_before and (end == text or _alike(end, text))
        before = read.steps
        met = read.meets(name)
        self._steps += STATE * (read.steps - before)
        return met


def _alike(name: str, text: str) -> bool:
    return len(name) == len(text) and all(two in (one, ".") for one, two in zip(name, text, strict=True))
