"""How a file is damaged, by a seed: bytes changed, ends cut off, JSON with other values in its places, headers that lie."""

import copy
import gzip
import json
import random
from typing import Any

HEADER = 8  # bytes in front of the header of a safetensors file
DEEP = 100_000
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**9, 10**30, -(2**40), 0.5, -0.0, float("inf"), float("nan"), 1e300,
    "", "x" * 5_000, "a\x1b[2J\x07b", "\u202etxet", "../../etc/passwd", "/etc/passwd", "\ud800", "nan", "1", " ", "(a+)+$",
    [], {}, [[]], [None], ["x"] * 3_000, [1, "a", None], {"a": 1}, {"": {}}, [[[[[[]]]]]], [2**62] * 4,
)  # fmt: skip
TEXTS: tuple[bytes, ...] = (
    b"", b"{}", b"[]", b"null", b"0", b'"text"', b"{", b"[" * DEEP, b'{"a":' * DEEP, b"[" * 90 + b"]" * 90, b"1" * 10_000,
    b"\xff\xfe{}", b"\x00" * 64, b'{"a": 1, "a": 2}', b"NaN", b"{}\n{}", b"\xef\xbb\xbf{}", b'["\\ud800"]', b"[1e999]",
    b'{"' + b"k" * 100_000 + b'": 1}',
)  # fmt: skip


def damage(content: bytes, name: str, rng: random.Random) -> tuple[bytes, str]:
    """A damaged file, and what was done, in a word."""
    made = None
    if rng.random() < 0.75:
        if name.endswith(".safetensors"):
            made = _header(content, rng)
        elif name.endswith(".gz"):
            made = _zipped(content, rng)
        elif name.endswith((".json", ".jsonl")):
            made = _json(content, rng)
    return made or _bytes(content, rng)


def _bytes(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Any file: bytes flipped, cut off, doubled, put in, or another text in its place."""
    changed = bytearray(content)
    match rng.randrange(6):
        case 0:
            for _ in range(rng.choice((1, 1, 3, 30))):
                if changed:
                    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            return bytes(changed), "bits flipped"
        case 1:
            return content[: rng.randrange(len(content) + 1)], "cut off"
        case 2:
            at = rng.randrange(len(content) + 1)
            return content[:at] + rng.randbytes(rng.choice((1, 8, 500))) + content[at:], "bytes put in"
        case 3:
            at = rng.randrange(len(content) + 1)
            return content[at:] + content[:at], "turned round"
        case 4:
            at = rng.randrange(len(content) + 1)
            return content[:at] + content[at + rng.randrange(200) :], "bytes taken out"
        case _:
            return rng.choice(TEXTS), "another text"


def _json(content: bytes, rng: random.Random) -> tuple[bytes, str] | None:
    """JSON with another value in one of its places, a name more, less or twice; of several lines one is changed."""
    lines = content.split(b"\n")
    at = rng.randrange(max(1, len(lines) - 1)) if _loaded(content) is None else None
    value = _loaded(content if at is None else lines[at])
    if value is None:
        return None
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        value = _changed(value, rng)
    text = json.dumps(value).encode()
    if rng.random() < 0.1:
        text = text.replace(b": 1", b": " + b"1" * rng.choice((20, 90, 5_000)))
    if at is None:
        return text, "other values"
    return b"\n".join([*lines[:at], text, *lines[at + 1 :]]), "a line with other values"


def _changed(value: Any, rng: random.Random) -> Any:
    """A value with another one in one of its places, near its root more often than far from it."""
    value = copy.copy(value)
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return _near(value, rng)
    names: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    name = rng.choice(names)
    match rng.randrange(8):
        case 0:
            del value[name]
        case 1 if isinstance(value, dict):
            value[rng.choice(("", "x" * 5_000, "\x1b[31m", str(rng.randrange(99)), str(name) + "s"))] = rng.choice(
                VALUES
            )
        case 2 if isinstance(value, list):
            value.extend(copy.deepcopy(value[name : name + 1]) * rng.choice((1, 3, 2_000)))
        case 3 | 4:
            value[name] = _near(value[name], rng)
        case _:
            value[name] = _changed(value[name], rng)
    return value


def _near(value: Any, rng: random.Random) -> Any:
    """Another value: of the same kind, a little wrong, or of any."""
    if type(value) is int and rng.random() < 0.5:
        return rng.choice(
            (value + 1, -value, value * 2, value * 10**6, value * 10**12, value // 2, float(value), str(value))
        )
    if isinstance(value, str) and value and rng.random() < 0.3:
        return rng.choice((value[:-1], value * 2, value.upper(), value + "\u200b", value * 2_000))
    return rng.choice(VALUES)


def _header(content: bytes, rng: random.Random) -> tuple[bytes, str] | None:
    """A safetensors file whose header says something else, or is of another length than it says."""
    length = int.from_bytes(content[:HEADER], "little")
    header = _loaded(content[HEADER : HEADER + length])
    if header is None:
        return None
    if rng.random() < 0.2:
        said = rng.choice((0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1, len(content)))
        return said.to_bytes(HEADER, "little") + content[HEADER:], "a header of another length"
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return None
    name = rng.choice(names)
    match rng.randrange(6):
        case 0:
            header[name]["shape"] = rng.choice(
                ([], [0], [2**62, 0], [2**40, 2**40], [-1], [1] * 500, header[name]["shape"][::-1], "x", None)
            )
        case 1:
            header[name]["dtype"] = rng.choice(("I64", "BOOL", "F8_E4M3", "F128", "", 5, None, "f32", "F64"))
        case 2:
            begin, end = header[name]["data_offsets"]
            header[name]["data_offsets"] = rng.choice(
                ([begin, end + 4], [end, begin], [-4, end], [0, 2**63], [begin], [0, 0], None, [begin, begin])
            )
        case 3:
            header[rng.choice(("x" * 5_000, "\x1b[2J", name + ".extra", "lm_head.weight"))] = header.pop(name)
        case 4:
            header |= {
                f"{name}.{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                for number in range(rng.choice((3, 20_000)))
            }
        case _:
            header = _changed(header, rng)
    text = json.dumps(header).encode()
    return len(text).to_bytes(HEADER, "little") + text + content[HEADER + length :], "another header"


def _zipped(content: bytes, rng: random.Random) -> tuple[bytes, str] | None:
    """A gzipped file whose text was damaged, or is far longer than the file."""
    if rng.random() < 0.05:
        return gzip.compress(b"[" * (300 << 20), compresslevel=1), "zeros without end"
    inner, how = damage(gzip.decompress(content), "lines.jsonl", rng)
    return gzip.compress(inner), f"{how}, zipped again"


def _loaded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
