"""Checksums of the files of a folder, by blocks, and whether they are still what was written.

Every block has its CRC-32, which is read at several GiB a second. What is small is read whole at each opening. A file beyond that
is read whole where its inode, size or times are not those of the last whole reading, and otherwise by some blocks drawn at
random.
"""

import json
import os
import random
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from data.errors import DataError
from data.foreign import read_json

BLOCK = 4 * 2**20
WHOLE = 512 * 2**20  # bytes of the smallest files together that are read whole at every opening
SAMPLED = 8  # blocks of each larger file
VERIFIED = (
    "verified.json"  # what the larger files were when they were last read whole; the folder is as good without it
)


def checksums(folder: Path) -> dict[str, list[int]]:
    """CRC-32 of each block of every file below a folder, by its name from there."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = path.stat().st_size
        found[path.relative_to(folder).as_posix()] = [crc for _, crc in _blocks(path, range(_count(size)))]
    return found


def note_verified(folder: Path, sizes: dict[str, int]) -> None:
    """Remember what the large files are, now that they were written or read whole."""
    if large := _large(sizes):
        try:
            temporary = folder / f".{VERIFIED}-{os.getpid()}"
            temporary.write_text(json.dumps({name: _identity(folder / name) for name in large}))
            temporary.replace(folder / VERIFIED)
        except OSError:  # a folder that may only be read is read whole again next time
            pass


def damaged(folder: Path, sizes: dict[str, int], stored: dict[str, list[int]]) -> str:
    """The first file that is not what was written, or "". OSError where one cannot be read."""
    for name, size in sizes.items():
        if (folder / name).stat().st_size != size or len(stored[name]) != _count(size):
            return name
    large = _large(sizes)
    try:
        verified = read_json(folder / VERIFIED, DataError) if large else {}
    except DataError:
        verified = {}
    anew = False
    for name, size in sizes.items():
        path, numbers = folder / name, range(_count(size))
        if name in large:
            if verified.get(name) == _identity(path):
                numbers = sorted(random.SystemRandom().sample(numbers, min(SAMPLED, len(numbers))))
            else:
                anew = True
        if any(stored[name][number] != crc for number, crc in _blocks(path, numbers)):
            return name
    if anew:
        note_verified(folder, sizes)
    return ""


def _blocks(path: Path, numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    with path.open("rb") as file:
        for number in numbers:
            file.seek(number * BLOCK)
            yield number, zlib.crc32(file.read(BLOCK))


def _count(size: int) -> int:
    return -(-size // BLOCK)


def _large(sizes: dict[str, int]) -> set[str]:
    """The files that are too large to be read whole each time: all but the smallest, which make up WHOLE."""
    large, total = set(), 0
    for name, size in sorted(sizes.items(), key=lambda item: (item[1], item[0])):
        total += size
        if total > WHOLE:
            large.add(name)
    return large


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
