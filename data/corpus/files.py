"""Local text files, read in a fixed order; whatever is wrong with one is told with its place."""

import glob
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.cache import cache_folder, user_path
from data.corpus.lines import lines, parse_json
from data.errors import DataError
from data.foreign import read_json
from data.sources import Files

FRESH_SECONDS = 2  # a file changed so lately may change again within the clock's resolution


def match(pattern: str) -> list[Path]:
    """The files of a glob, sorted; none, or a folder among them, is an error."""
    named = user_path(pattern)
    expanded = os.path.expanduser(pattern)
    if named.is_dir():
        raise DataError(
            f"{pattern} is a folder, not a file; name the files in it, such as 'files:{pattern.rstrip('/')}/*.txt'"
        )
    found = [named] if named.is_file() else [Path(path) for path in sorted(glob.glob(expanded, recursive=True))]
    paths = [path for path in found if path.is_file()]
    if paths:
        return paths
    if glob.has_magic(expanded):
        raise DataError(
            f"no file matches {pattern}; it was looked for from {Path.cwd()}, and ** reaches folders in folders"
        )
    whole = [path for mark in "#|+" for path in sorted(glob.glob(f"{glob.escape(expanded)}{mark}*"))]
    if expanded and whole:
        mark, rest = whole[0][len(expanded)], whole[0][len(expanded) + 1 :]
        raise DataError(f"there is no file {pattern}; {mark} ends a name here: for the file {whole[0]} write ? in its place, as "
                        f"in {pattern}?{rest}")  # fmt: skip
    raise DataError(f"there is no file {pattern}; it was looked for from {Path.cwd()}")


def fingerprint(paths: list[Path], source: Files) -> str:
    """A hash of what the files hold and of how they are read; their names and dates do not matter."""
    how = f"{source.field} {True if source.blank_lines else 'exact'}"
    return f"files {digest(paths, how)}"


def digest(paths: list[Path], how: str) -> str:
    """A hash of files and of how they are read."""
    found = hashlib.sha256(f"{how}\n".encode())
    memory = _DigestMemory()
    for path in paths:
        kind = "jsonl" if is_jsonl(path) else "text"
        found.update(f"{kind} {memory.digest(path)}\n".encode())
    memory.save()
    return found.hexdigest()[:32]


def read(paths: list[Path], source: Files) -> Iterator[str]:
    """The documents of all files in order."""
    for path in paths:
        empty = True
        for text in _texts(path, source):
            empty = False
            yield text
        if empty:
            raise DataError(f"{path} holds no text; remove it, or name only files that do")


def _texts(path: Path, source: Files) -> Iterator[str]:
    if is_jsonl(path):
        return (text for _, (text,) in objects(path, [source.field]) if text)
    return _blocks(path) if source.blank_lines else _whole(path)


def _blocks(path: Path) -> Iterator[str]:
    """Runs of lines between blank ones."""
    block: list[str] = []
    for _, line in lines(path):
        if line and not line.isspace():
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []
    if block:
        yield "\n".join(block)


def _whole(path: Path) -> Iterator[str]:
    """The file as it is, but for a byte-order mark; nothing if it holds white space only."""
    text = "".join(line for _, line in lines(path, ends=True))
    if text and not text.isspace():
        yield text


def objects(path: Path, fields: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Numbered lines of a .jsonl file, each the texts of these fields."""
    for number, line in lines(path):
        if not line or line.isspace():
            continue
        content = parse_json(line, f"{path} line {number}", "a .jsonl file has one object a line")
        for field in fields:
            if isinstance(content, dict) and isinstance(content.get(field), str):
                continue
            there = f"{path} line {number} has no text in the field '{field}'"
            if not isinstance(content, dict):
                raise DataError(
                    f"{there}: it is not an object but {_kind(content)}; write one object a line, or remove that line"
                )
            if field in content:
                raise DataError(f"{there} but {_kind(content[field])}; write a text there, or remove that line")
            said = f"'pairs:{path}#de>en'" if len(fields) == 2 else f"'files:{path}#content'"
            raise DataError(f"{there} (it has {', '.join(map(str, content)) or 'no field'}); name the "
                            f"field{'s' if len(fields) == 2 else ''}, as in {said}")  # fmt: skip
        yield number, [content[field] for field in fields]


def _kind(found: Any) -> str:
    """What a value of JSON is, in words."""
    if found is None or isinstance(found, bool):
        return "null" if found is None else str(found).lower()
    return {str: "a text", int: "a number", float: "a number", list: "a list"}.get(type(found), "an object")


def is_jsonl(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))


class _DigestMemory:
    """Hashes of file contents, so that a large corpus is not hashed at each start.

    A file is known again by its path, inode, size, and the times of its last change: that of its content, which anybody may set,
    and that of its inode, which nobody can. One that changed while it was read, or so lately that it may change again within
    the clock's resolution, is not remembered.
    """

    def __init__(self):
        self.path = cache_folder() / "file_digests.json"
        try:
            stored = read_json(self.path, DataError)
            self.known = stored["files"] if stored["checksum"] == _checksum(stored["files"]) else {}
        except (ValueError, KeyError, TypeError):
            self.known = {}
        self.changed = False

    def digest(self, path: Path) -> str:
        place = str(path.resolve())
        try:
            with path.open("rb") as file:
                before = _identity(file.fileno())
                known = self.known.get(place)
                if known is not None and known[0] == before:
                    return known[1]
                found = hashlib.file_digest(file, "sha256").hexdigest()
                after = _identity(file.fileno())
        except PermissionError as error:
            raise DataError(f"{path} may not be read; change its permissions with chmod") from error
        if before == after and time.time_ns() - max(before[-2:]) > FRESH_SECONDS * 10**9:
            self.known[place], self.changed = [before, found], True
        return found

    def save(self) -> None:
        if not self.changed:
            return
        try:  # only a memory: a cache that cannot be written costs a second hashing, no more
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps({"checksum": _checksum(self.known), "files": self.known}))
            temporary.replace(self.path)
        except OSError:
            pass


def _identity(file: int) -> list[int]:
    status = os.fstat(file)
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _checksum(files: dict) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
