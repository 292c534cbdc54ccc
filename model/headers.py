"""The header of a safetensors file, read and checked by itself before anything is made of it.

A file is eight bytes that say how long the header is, the header as JSON, `{name: {dtype, shape, data_offsets}}`, and the
numbers (https://github.com/huggingface/safetensors). What the library checks is checked here too, so that what is wrong is
said by the name of its tensor, and that names, shapes and sizes are bounded by the file before they decide about anything.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from model.foreign import MOST_BYTES, decode_json, explained
from model.published import HubError

BITS = {"F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
        "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8}  # fmt: skip
"""Of a number, by the word of the format."""
LENGTH = 8  # bytes that say how long the header is
AXES = 8  # of a tensor, at most


class Entry(NamedTuple):
    """A tensor as its header has it: the type of its numbers in the words of the format, and its shape."""

    kind: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors of a file by name. HubError, one line, for a file that is cut off or whose header contradicts itself."""
    with explained(path, HubError, said="is truncated or damaged"):
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH), "little")
            if size < LENGTH or length > size - LENGTH:
                raise ValueError("it is shorter than the header that it announces")
            if length > MOST_BYTES:
                raise ValueError(f"a header of {length:,} bytes, more than {MOST_BYTES:,}")
            header = decode_json(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
        return _checked(header, size - LENGTH - length)


def _checked(header: dict[str, Any], size: int) -> dict[str, Entry]:
    """The entries of a header in front of `size` bytes; ValueError where they do not cover them one after the other."""
    entries, ends = {}, []
    for name, value in header.items():
        if name == "__metadata__":
            continue
        value = value if isinstance(value, dict) else {}
        kind, shape, offsets = value.get("dtype"), value.get("shape"), value.get("data_offsets")
        if not isinstance(kind, str) or not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
            raise ValueError(f"{name} lacks dtype, shape or data_offsets")
        begin, end = offsets
        if len(shape) > AXES or kind not in BITS:
            raise ValueError(f"{name} has {len(shape)} axes of {kind}, which no published tensor has")
        if not begin <= end <= size:
            raise ValueError(f"{name} lies past the end of the file")
        if 8 * (end - begin) != math.prod(shape) * BITS[kind]:
            raise ValueError(f"{name} has {end - begin:,} bytes, which are not shape {shape} of {kind}")
        entries[name] = Entry(kind, tuple(shape))
        ends.append((begin, end, name))
    at = 0
    for begin, end, name in sorted(ends):
        if begin != at:
            raise ValueError(
                f"{name} begins at byte {begin:,} of the numbers, not where the one before it ends, {at:,}"
            )
        at = end
    if at != size:
        raise ValueError(f"{size - at:,} bytes at its end belong to no tensor")
    return entries


def _sizes(values: Any) -> TypeGuard[list[int]]:
    """Whether a value is a list of numbers that count something."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
