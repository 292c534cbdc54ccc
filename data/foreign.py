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
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
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


def decode_json(content: bytes | str) -> Any:
    """The value of a JSON text. ValueError, in a few words, for what no honest file holds.

    Refused, besides what is no JSON: lists and objects that lie more than 100 deep in each other, numbers of more than 100
    digits, a name that an object has twice, and halves of surrogate pairs. NaN and Infinity are numbers, as Python writes them.

    >>> decode_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
        ...
    ValueError: the name 'a' stands twice in one object
    """
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if _depth(raw) > DEPTH:
        raise ValueError(f"lists or objects lie more than {DEPTH} deep in each other")
    try:
        value = _DECODER.decode(raw.decode("utf-8-sig"))
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a surrogate pair, which is no character") from error
    except RecursionError as error:
        raise ValueError("lists or objects lie too deep in each other") from error
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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the name {twice!r} stands twice in one object")
    return found


def _integer(digits: str) -> int:
    return int(_bounded(digits))


def _fraction(digits: str) -> float:
    return float(_bounded(digits))


def _depth(raw: bytes) -> int:
    """How deep lists and objects lie in each other, or a number that is not more than DEPTH and not less than that."""
    if (most := raw.count(b"[") + raw.count(b"{")) <= DEPTH:
        return most
    brackets = _STRING.sub(b"", raw).translate(None, _NOT_BRACKETS)
    return max(itertools.accumulate(_STEPS[code] for code in brackets), default=0)


def _bounded(digits: str) -> str:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits):,} characters, more than {DIGITS}")
    return digits


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_fraction, object_pairs_hook=_object)


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
