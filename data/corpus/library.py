"""The running Python as text: what its documentation and its source code say. Plain functions, no TFDS."""

import ast
import gc
import hashlib
import inspect
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

LEFT_OUT = {"test", "tests", "idle_test", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
SHORTEST = 80  # characters of a docstring worth learning from

_RULER = re.compile(r"^[ \t]*([-=*~^_#+\"'`])\1{2,}[ \t]*$\n?", re.MULTILINE)


def documentation() -> Iterator[tuple[str, str]]:
    """Name and text of each topic of Python's manual and each long docstring of its standard library.

    In the order of topics, then of modules and their lines; dedented, rulers under headings removed, no text twice.
    """
    seen: set[str] = set()
    for name, text in _topics():
        yield from _once(f"topics/{name}", _RULER.sub("", text).strip(), seen)
    for path in library_files():
        for place, text in _docstrings((_root() / path).read_bytes()):
            yield from _once(f"{path}{place}", _RULER.sub("", text).strip(), seen)


def source_code() -> Iterator[tuple[str, str]]:
    """Path and content of each module of the standard library that is UTF-8 and not empty."""
    for path in library_files():
        try:
            text = (_root() / path).read_bytes().decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError:
            continue
        if text.strip():
            yield path, text


@lru_cache
def library_files() -> tuple[str, ...]:
    """Modules of the standard library, relative to it, sorted; tests and installed packages left out."""
    found = []
    for folder, folders, names in os.walk(_root()):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        relative = Path(folder).relative_to(_root())
        found += [(relative / name).as_posix() for name in names if name.endswith(".py")]
    return tuple(sorted(found))


@lru_cache
def library_key() -> str:
    """Names this Python and its library as it lies on the disk, such as cpython_3_11_7_1f0c9a2b.

    Versions alone do not: distributions leave out or patch modules.
    """
    sizes = [f"{path} {(_root() / path).stat().st_size}" for path in library_files()]
    digest = hashlib.sha256("\n".join(sizes).encode()).hexdigest()[:8]
    version = "_".join(map(str, sys.version_info[:3]))
    return f"{platform.python_implementation().lower()}_{version}_{digest}"


@lru_cache
def _root() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _topics() -> list[tuple[str, str]]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions package it separately
        return []
    return sorted(topics.items())


def _docstrings(source: bytes) -> list[tuple[str, str]]:
    """Docstrings of a module in the order of its lines, of definitions inside `if` and `try` too."""
    collecting = gc.isenabled()
    gc.disable()  # syntax trees have no cycles, and looking for some takes half of the time
    try:
        return list(_visit(ast.parse(source)))
    except (SyntaxError, ValueError):  # a template, or a file of an encoding of its own
        return []
    finally:
        if collecting:
            gc.enable()


def _visit(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names and docstrings, depth first; expressions are not visited."""
    blocks: list[tuple[str, ast.AST]] = [("", tree)]
    while blocks:
        place, node = blocks.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield place, inspect.cleandoc(text)
        inner = []
        for child in _statements(node):
            named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            inner.append((f"{place}:{child.name}" if named else place, child))
        blocks += reversed(inner)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    for field in ("body", "handlers", "orelse", "finalbody"):
        for child in getattr(node, field, ()):
            if isinstance(child, ast.stmt | ast.excepthandler):
                yield child


def _once(name: str, text: str, seen: set[str]) -> Iterator[tuple[str, str]]:
    if len(text) > SHORTEST and text not in seen:
        seen.add(text)
        yield name, text
