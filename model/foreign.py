"""Files that somebody else wrote: JSON within bounds, a library's complaint as one line, text that is safe to print.

The packages model and data may not import each other, so each has this file; a test sees to it that the two are equal.
"""

import contextlib
import itertools
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 32 << 20  # of a JSON file; the values of one take up to 25 times as much memory
DEPTH = 100  # of lists and objects in each other
DIGITS = 100  # of a number; the longest in published files has 31
LINE, WORD = 1_200, 300  # characters of a message, and of a word in it
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NEITHER = bytes(code for code in range(256) if code not in b'[]{}"')  # brackets nor quotation marks
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_KINDS = {dict: "object", list: "list"}
_JOINERS = "\u200c\u200d"  # they belong to the spelling of words, and to emoji


def one_line(message: object) -> str:
    """A message as one line that may be printed: control characters are spelt out, and what is long is cut in the middle.

    >>> one_line("a name \\x1b[2J of\\nours"), len(one_line("x" * 5_000)), len(one_line("many words " * 5_000))
    ('a name \\\\x1b[2J of ours', 300, 1200)
    """
    text = str(message)
    if len(text) > 40 * LINE:
        text = f"{text[: 20 * LINE]} \u2026 {text[-20 * LINE :]}"
    line = " ".join(_shorter(_printable(word), WORD, WORD // 5) for word in text.split())
    return _shorter(line, LINE, LINE // 3)


class JSONProblem(ValueError):
    """What is wrong with a JSON text, in a few words; `at` is the place of the character where it shows, None where unknown."""

    def __init__(self, said: str, at: int | None = None):
        super().__init__(said)
        self.at = at


class NotJSON(JSONProblem):
    """A text that is no JSON, or that has something else behind its value, which is `extra`."""

    def __init__(self, error: json.JSONDecodeError):
        super().__init__(f"{error.msg} at line {error.lineno}, column {error.colno}", error.pos)
        self.at, self.said, self.extra = error.pos, error.msg, error.msg == "Extra data"


def decode_json(content: bytes | str, *, lenient: bool = False, unique: bool = False) -> Any:
    """The value of a JSON text. JSONProblem, in a few words, for what no honest file holds.

    Refused, besides what is no JSON: lists and objects that lie more than 100 deep in each other, numbers of more than 100
    characters, a name that an object has twice, and halves of surrogate pairs. With `lenient`, for the lines of large files, the
    last of equal names counts, unless names are to be `unique`, halves become question marks, and fractions may be long. NaN and
    Infinity are numbers, as Python writes them.

    >>> decode_json('{"a": 1, "a": [2, "\\\\ud800"]}', lenient=True)
    {'a': [2, '?']}
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        # Looking for a bracket is faster than counting them.
        nested = text.find("{", 1) >= 0 or text.find("[", 1) >= 0
        if nested and text.count("[") + text.count("{") > DEPTH and _depth(text) > DEPTH:
            raise JSONProblem(f"lists or objects lie more than {DEPTH} deep in each other", _too_deep(text))
        value = _value(text, (_UNIQUE if unique else _LENIENT) if lenient else _DECODER)
        if "\\" in text and ("\\ud" in text or "\\uD" in text):
            written = json.dumps(value, ensure_ascii=False)
            whole = written.encode("utf-8", "replace" if lenient else "strict").decode()
            value = value if whole == written else json.loads(whole)
    except json.JSONDecodeError as error:
        raise NotJSON(error) from error
    except UnicodeDecodeError as error:
        raise JSONProblem(f"it is not UTF-8 at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise JSONProblem("it holds half of a surrogate pair, which is no character") from error
    except RecursionError as error:
        raise JSONProblem("lists or objects lie too deep in each other") from error
    except _LongNumber as error:
        raise JSONProblem(str(error), _without_strings(text).find(error.digits)) from error
    return value


def read_bytes(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """A file as a whole. OSError if it cannot be read, ValueError if it is no file or has more than so many bytes."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a regular file")
    if found.st_size > most:
        raise ValueError(f"its {found.st_size:,} bytes are more than the {most:,} that are read")
    with open(path, "rb") as file:
        return file.read(most)


def read_json(
    path: str | Path,
    error: Callable[[str], ValueError],
    *,
    kind: type[dict] | type[list] = dict,
    remedy: str = "copy it again",
    most: int = MOST_BYTES,
) -> Any:
    """The JSON object, or list, of a file; `error` with one line for anything else."""
    try:
        value = decode_json(read_bytes(path, most))
    except (OSError, ValueError, MemoryError) as problem:
        raise error(f"{path} is not JSON ({reason(problem)}); {remedy}") from problem
    if not isinstance(value, kind):
        raise error(f"{path} is not a JSON {_KINDS[kind]}; {remedy}")
    return value


@contextlib.contextmanager
def explained(
    path: str | Path, error: Callable[[str], ValueError], *, said: str = "is damaged", remedy: str = "copy it again"
) -> Iterator[None]:
    """Whatever a library raises on a file becomes `error` with one line that names the file.

    A panic in Rust is a BaseException; what ends the process and what is an error of ours pass.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as problem:
        if hasattr(problem, "exit_code"):
            raise
        raise error(f"{path} {said} ({reason(problem)}); {remedy}") from problem


def reason(problem: BaseException) -> str:
    """What an error says, without the name of the file that the system adds; its kind where it says nothing."""
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return one_line(problem) or type(problem).__name__


class _LongNumber(ValueError):
    def __init__(self, digits: str):
        super().__init__(f"a number of {len(digits):,} characters, more than {DIGITS}")
        self.digits = digits


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise JSONProblem(f"the name {twice!r} stands twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > DIGITS:
        raise _LongNumber(digits)
    return int(digits)


def _fraction(digits: str) -> float:
    if len(digits) > DIGITS:
        raise _LongNumber(digits)
    return float(digits)


def _value(text: str, decoder: json.JSONDecoder) -> Any:
    """The value of a text; most texts are one from their first character to their last, and read at once."""
    try:
        value, end = decoder.raw_decode(text)
    except json.JSONDecodeError:
        end = -1
    return value if end == len(text) else decoder.decode(text.removeprefix("\ufeff"))


def _depth(text: str) -> int:
    """How deep lists and objects lie in each other."""
    raw = text.encode("utf-8", "surrogatepass")
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    # What lies between two quotation marks side by side is nothing, whether they are a string or are between two.
    brackets = re.sub(rb'"[^"]*+"?', b"", raw.translate(None, _NEITHER).replace(b'""', b""))
    return max(itertools.accumulate(_STEPS[code] for code in brackets), default=0)


def _too_deep(text: str) -> int:
    """Where lists and objects lie too deep; only asked once a text is refused."""
    places = [found.start() for found in re.finditer(r"[\[\]{}]", _without_strings(text))]
    depths = itertools.accumulate(_STEPS[ord(text[place])] for place in places)
    return next(place for place, depth in zip(places, depths, strict=True) if depth > DEPTH)


def _without_strings(text: str) -> str:
    """A JSON text of the same length, with blanks for its strings."""
    return _STRING.sub(lambda found: " " * len(found[0]), text)


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_fraction, object_pairs_hook=_object)
_LENIENT = json.JSONDecoder(parse_int=_integer)
_UNIQUE = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_object)


def _printable(word: str) -> str:
    if word.isprintable():
        return word
    letters = (
        letter if letter.isprintable() or letter in _JOINERS else letter.encode("unicode_escape").decode()
        for letter in word
    )
    return "".join(letters)


def _shorter(text: str, most: int, tail: int) -> str:
    """A text of at most `most` characters: its beginning and, of its end, `tail`."""
    return text if len(text) <= most else f"{text[: most - tail - 3]} \u2026 {text[-tail:]}"
