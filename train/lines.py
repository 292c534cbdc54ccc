"""`metrics.jsonl`: one JSON object a line, appended while training, cut back on resume, read without complaint.

Three kinds of line are told apart by their keys:

    {"step": 12, "time": ..., "loss": 6.51, "learning_rate": 3e-4, "grad_norm": 1.2, "tokens_per_second": 5300.0}
    {"step": 12, "time": ..., "valid_loss": 6.44, "unigram_entropy": 6.57, ...}         an evaluation
    {"event": "checkpoint", "step": 12, "time": ..., ...}                               resume, checkpoint, skip, done

Step n is the n-th update, counted from 1; `time` is seconds since 1970. JSON knows no NaN or infinity: a value that is
not finite is written as null.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import named
from data.foreign import decode_json

METRICS_FILE = "metrics.jsonl"
WRITE_OUT_SECONDS = 1.0  # lines wait in memory at most so long: `tail -f` stays alive, a step costs no system call
LONGEST_LINE = 16 << 20  # bytes; what is longer is none of ours
COVERS = "covers"  # in the line that ends a run: the mark of all lines before it
TIMING_FIELDS = frozenset({"time", "seconds", "mfu", COVERS})
TIMING_SUFFIXES = ("_seconds", "_per_second")
HOUSEKEEPING_EVENTS = frozenset({"resume", "checkpoint", "stop"})


class TrackingError(ValueError):
    """The record cannot be kept as asked; the message is one line, for the user."""

    exit_code = 1


class LineFile:
    """Appends JSON lines; they reach the file about once a second and on `sync`. A kill can only truncate the last.

    Raises TrackingError when the disk refuses; from then on nothing more is written, since half a line may lie there.
    """

    def __init__(self, path: Path):
        self._path = path
        self._pending: list[str] = []
        self._last = time.monotonic()
        self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._size, self._digest = 0, hashlib.sha256()
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                self._count(piece)

    def append(self, line: Mapping[str, Any]) -> None:
        """Take one line of plain JSON values."""
        if self._descriptor is None:
            return
        self._pending.append(json.dumps(line, allow_nan=False, ensure_ascii=False))
        if time.monotonic() - self._last > WRITE_OUT_SECONDS:
            self.write_out()

    def write_out(self, *, sync: bool = False) -> None:
        """Hand the waiting lines to the system; with `sync`, return when they are on disk."""
        self._last = time.monotonic()
        if self._descriptor is None:
            return
        rest = memoryview("".join(line + "\n" for line in self._pending).encode())
        self._count(rest)
        self._pending.clear()
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            self._release()
            raise TrackingError(
                f"cannot write {self._path}: {error.strerror or error}; make room, then repeat the command to go on"
            ) from error

    def mark(self) -> dict[str, Any]:
        """What has been handed to the system so far: how many bytes, and their SHA-256. `is_marked` finds it again."""
        return {"bytes": self._size, "sha256": self._digest.hexdigest()}

    def _count(self, piece: bytes | memoryview) -> None:
        self._size += len(piece)
        self._digest.update(piece)

    def close(self) -> None:
        """Write out and let go; closing twice is harmless."""
        try:
            self.write_out(sync=True)
        finally:
            self._release()

    def _release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_marked(path: Path, mark: Mapping[str, Any]) -> bool:
    """Whether a file still begins with the lines that were marked."""
    left, digest = mark["bytes"], hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while left and (piece := file.read(min(left, 1 << 20))):
                digest.update(piece)
                left -= len(piece)
    except OSError:
        return False
    return not left and digest.hexdigest() == mark["sha256"]


def is_whole(path: Path) -> bool:
    """Whether the lines of a run that came to an end are still those that it ended with, as far as its last line tells."""
    ends = [line[COVERS] for line in read_lines(path) if line.get("event") == "done" and COVERS in line]
    mark = ends[-1] if ends else None
    if mark is None:
        return True
    sound = isinstance(mark, dict) and type(mark.get("bytes")) is int and isinstance(mark.get("sha256"), str)
    return sound and is_marked(path, mark)


def read_metrics(run_dir: str | Path) -> list[dict[str, Any]]:
    """All lines of a run, in order; a truncated or strange line is left out, a missing file has none."""
    return list(read_lines(Path(run_dir) / METRICS_FILE))


def comparable_lines(run_dir: str | Path) -> list[dict[str, Any]]:
    """The lines of a run without what may differ between an undisturbed run and one that was killed and resumed.

    Left out: the events resume, checkpoint and stop, and the fields time, seconds, mfu, covers, *_seconds and *_per_second.
    """
    return [
        {name: value for name, value in line.items() if not is_timing(name)}
        for line in read_metrics(run_dir)
        if line.get("event") not in HOUSEKEEPING_EVENTS
    ]


def is_timing(name: str) -> bool:
    """Whether a field says how long something took, or hangs on what does.

    >>> is_timing("tokens_per_second"), is_timing("loss")
    (True, False)
    """
    return name in TIMING_FIELDS or name.endswith(TIMING_SUFFIXES)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file that carry a step; whatever else is there is skipped."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        while raw := file.readline(LONGEST_LINE):
            line = parse(raw)  # what is cut off here is no whole line, and neither is its rest, but for its end
            if line is not None:
                yield line


def parse(raw: bytes) -> dict[str, Any] | None:
    """One whole line as an object with an integer `step`, else None.

    >>> parse(b'{"step": 3, "loss": 1.5}\\n'), parse(b'{"step": 3, "lo'), parse(b'{"loss": 1}\\n')
    ({'step': 3, 'loss': 1.5}, None, None)
    """
    try:
        line = decode_json(raw) if raw.endswith(b"\n") else None
    except ValueError:
        return None
    return line if isinstance(line, dict) and type(line.get("step")) is int and 0 <= line["step"] < 2**63 else None


def cut_after(path: Path, step: int) -> None:
    """Drop the lines of `path` past `step`, at one stroke: the old file or the new one, never half.

    Step 0 is a new start and keeps nothing. A `done` goes everywhere: the run goes on. What stays keeps its bytes.
    """
    if not path.exists():
        return
    fresh, changed = path.with_name(path.name + ".new"), False
    with open(path, "rb") as old, open(fresh, "wb") as new:
        for raw in old:
            line = parse(raw)
            if step > 0 and line is not None and line["step"] <= step and line.get("event") != "done":
                new.write(raw)
            else:
                changed = True
        new.flush()
        os.fsync(new.fileno())
    if changed:
        os.replace(fresh, path)
        sync_folder(path.parent)
    else:
        fresh.unlink()


def replace_text(path: Path, text: str) -> None:
    """Write a text file at one stroke: readers see the old one or the new one, never half."""
    fresh = path.with_name(path.name + ".new")
    try:
        with named(path), open(fresh, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last through a power cut, where the system lets folders be synced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def plain(value: Any) -> Any:
    """A value as JSON can hold it: numpy and JAX scalars become numbers, and what is not finite becomes None.

    >>> plain(np.float32(0.1)), plain(float("nan")), plain(np.arange(2)), plain(np.bool_(True))
    (0.1, None, [0, 1], True)
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    array = np.asarray(value)
    if array.ndim:
        return [plain(entry) for entry in array]
    if array.dtype.kind in "biu":
        return array.item()
    # The shortest decimal that names this float32, not the seventeen digits of its float64 copy.
    number = float(array) if array.dtype == np.float64 else float(str(np.float32(array)))
    return number if math.isfinite(number) else None
