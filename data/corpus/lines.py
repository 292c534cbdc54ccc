"""Lines of a local file: UTF-8, or UTF-16 and UTF-32 with their mark; LF, CR LF, or CR alone. What is none of it is told."""

import codecs
import gzip
import re
import shlex
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

from data.errors import DataError
from data.foreign import JSONProblem, NotJSON, decode_json

LOOK = 64 * 2**10  # bytes at the beginning of a file by which it is judged
MOST = 256 * 2**20  # bytes of a line, and of a file that is held in memory whole
CONTROLS = bytes(code for code in range(1, 32) if code not in b"\t\n\v\f\r\x1b")  # no encoding of texts has these
MARKS = (  # of UTF-32 before UTF-16, whose mark it begins with
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
PACKED = (
    (b"\x1f\x8b", "gzip", "name it with .gz at its end"),
    (b"PK\x03\x04", "a zip archive (or .xlsx)", "unpack it, or save the sheet as .csv"),
    (b"BZh", "bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ\0", "xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "unpack it with unzstd"),
    (b"PAR1", "Parquet", "write it as .jsonl"),
)


def lines(path: Path, ends: bool = False) -> Iterator[tuple[int, str]]:
    """Numbered lines, with their `ends` or without; a byte-order mark is dropped, what is not UTF-8 named by its byte.

    Nothing else ends a line: form feeds, U+0085, U+2028 and their like are part of it. A carriage return does where the file has
    no line feed, or only one at its end.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            numbered = enumerate(_by_carriage_returns(_decoded(path, file)), start=1)
            yield from numbered if ends else ((number, line.rstrip("\r\n")) for number, line in numbered)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}); copy it again, or name it without .gz") from error
    except MemoryError as error:
        raise DataError(f"{path} has a line that does not fit into memory; break it into shorter ones") from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read; change its permissions with chmod") from error


def parse_json(text: str, place: str, form: str, *, numbered: bool = False, unique: bool = False) -> Any:
    """The value of a JSON text at a place; DataError with that place, or in a text of many lines with the `numbered` line.

    With `unique` an object that has a name twice is such an error; that takes a tenth longer.

    NotJSON, as it is, for what stands behind a value in a text of many lines, which callers may know what to do with.
    """
    try:
        return decode_json(text, lenient=True, unique=unique)
    except JSONProblem as problem:
        at = place if problem.at is None or not numbered else f"{place} line {1 + text.count(chr(10), 0, problem.at)}"
        if not isinstance(problem, NotJSON):
            raise DataError(f"{at} holds JSON that is not read ({problem}); mend that line, or remove it") from problem
        if numbered and problem.extra:
            raise
        column = "" if numbered else f" at column {problem.at + 1}"
        raise DataError(f"{at} is not JSON ({problem.said}{column}); {form}") from problem


def _decoded(path: Path, file: Any) -> Iterator[str]:
    head = file.read(LOOK)
    file.seek(0)
    if found := next(((name, remedy) for mark, name, remedy in PACKED if head.startswith(mark)), None):
        raise DataError(f"{path} is no text but {found[0]}; {found[1]}")
    if marked := next((name for mark, name in MARKS if head.startswith(mark)), None):
        return _wide(path, file, marked)
    if wide := _unmarked(head):
        raise DataError(f"{path} is no UTF-8 but looks like {wide}; convert it with: "
                        f"{_filtered(path, f'iconv -f {wide} -t UTF-8')}")  # fmt: skip
    if wide is not None:
        raise DataError(f"{path} is no text but has bytes that are 0; name a file of text")
    return _utf_8(path, file, head)


def _filtered(path: Path, command: str) -> str:
    """A command of the shell that writes a file anew."""
    name = Path(path.name.removesuffix(".gz"))
    quoted = shlex.quote(str(path))
    source = f"gzip -dc {quoted} | {command}" if path.suffix == ".gz" else f"{command} < {quoted}"
    return f"{source} > new{shlex.quote(name.suffix) if name.suffix else '.txt'}"


def _wide(path: Path, file: IO[bytes], encoding: str) -> Iterator[str]:
    """Lines of a file that says by its mark what it is; such files are held in memory whole."""
    content = file.read(MOST + 1)
    if len(content) > MOST:
        raise DataError(f"{path} is {encoding} of more than {MOST:,} bytes; convert it with: "
                        f"{_filtered(path, f'iconv -f {encoding} -t UTF-8')}")  # fmt: skip
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        raise DataError(f"{path} begins as {encoding} does, and is not ({error}); copy it again") from error
    yield from re.findall("[^\n]*\n|[^\n]+", text)


def _utf_8(path: Path, file: IO[bytes], head: bytes) -> Iterator[str]:
    offset = 0
    for number, raw in enumerate(iter(lambda: file.readline(MOST + 1), b""), start=1):
        if len(raw) > MOST:
            command = "tr '\\r' '\\n'" if b"\r" in raw else "fold -s -w 1000000"
            raise DataError(f"{path} line {number} has more than {MOST:,} bytes; break it into lines, as with: "
                            f"{_filtered(path, command)}")  # fmt: skip
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"at byte {offset + error.start} (line {number})"
            _refuse_binary(path, head)
            raise DataError(f"{path} is not UTF-8 {where}; convert it from what it is in (ISO-8859-1 or CP1252 for western "
                            "Europe, CP1251 for Cyrillic, GB18030 or BIG5 for Chinese, SHIFT_JIS for Japanese), as with: "
                            f"{_filtered(path, 'iconv -f ISO-8859-1 -t UTF-8')}") from error  # fmt: skip
        if "\0" in line:
            _refuse_binary(path, head)
            command = _filtered(path, r"tr -d '\000'")
            raise DataError(f"{path} line {number} has a byte that is 0, as damaged files do; copy the file again, or drop such "
                            f"bytes with: {command}")  # fmt: skip
        offset += len(raw)
        yield line.removeprefix("\ufeff") if number == 1 else line


def _refuse_binary(path: Path, head: bytes) -> None:
    """DataError for a file of which too many bytes stand in no text, whatever it is written in."""
    if _controls(head):
        raise DataError(f"{path} is no text: it holds bytes that no encoding of texts has; name a file of text")


def _controls(head: bytes) -> bool:
    """Whether more than one byte of 50 stands for no letter, mark or space."""
    return 50 * (len(head) - len(head.translate(None, CONTROLS))) > len(head)


def _unmarked(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, by where its zeros lie; "" for what has zeros in no such order, None for few of them."""
    if 20 * head.count(0) < len(head) or not head:
        return None
    if 4 * head.count(0) < len(head) and not _controls(head) and _is_utf_8(head):
        return None
    zeros = [head[at::4].count(0) / max(1, len(head[at::4])) for at in range(4)]
    if min(zeros[2:]) > 0.9 and zeros[0] < 0.5:
        return "UTF-32LE"
    if min(zeros[:2]) > 0.9 and zeros[3] < 0.5:
        return "UTF-32BE"
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    return "UTF-16LE" if odd > 4 * even else "UTF-16BE" if even > 4 * odd else ""


def _is_utf_8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _by_carriage_returns(found: Iterator[str]) -> Iterator[str]:
    """The lines, those of a file without line feeds cut behind its carriage returns."""
    first = next(found, None)
    if first is None:
        return
    second = next(found, None)
    if second is None and "\r" in first.rstrip("\r\n"):
        yield from re.findall("[^\r]*\r\n?|[^\r]+", first)
        return
    yield from chain([first], [] if second is None else [second], found)
