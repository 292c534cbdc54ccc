"""What a run stands on that its checkpoints do not hold: the weights of its base, known by a digest, or kept beside them.

Where few parameters are trained, the others are read again from where they came whenever the run is opened. `run.json` therefore
says of the base where it lay, at which step it was, and a digest of the weights that were taken from it; another base is refused.
Weights that came from nowhere, because they were drawn, are kept in `base_weights/`, and with --keep-base all of them.
"""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from data.cache import user_path
from model.hub import Tensors, write_tensors
from train.registry import is_published, on_hub

KEPT = "base_weights"
PIECE_BYTES = 64_000_000  # of one array that lie on the host at once, for each thread
THREADS = 4
SHOWN = 12  # digits of a digest in a message
REMEDY = "name the base as it was with --base PATH (train.pretrain and train.finetune: --init PATH)"


class BaseError(ValueError):
    """The base of a run is gone or is another one; the message is one line with the remedy."""

    exit_code = 2


@dataclass(frozen=True)
class Base:
    """Where the weights came from that a run began with, as `run.json` says it.

    Attributes:
        name: as the user gave it.
        kind: a run of ours, or a published folder.
        path: absolute; the name itself for one of the hub.
        near: from the run folder, so that folders which are moved together still find each other.
        step: of the run's checkpoint.
        digest: `digest_of` the weights that were taken.
    """

    name: str
    kind: Literal["run", "published"]
    path: str
    near: str
    step: int | None
    digest: str

    @classmethod
    def found(cls, run: Path, init: str, step: int | None, digest: str) -> Self:
        """What to write down of a base that was just read for the run in that folder."""
        kind = "published" if is_published(init) else "run"
        if on_hub(init):
            return cls(init, kind, init, "", step, digest)
        path = user_path(init).resolve()
        return cls(init, kind, str(path), os.path.relpath(path, run.resolve()), step, digest)

    @classmethod
    def read(cls, begun: Mapping[str, Any]) -> Self | None:
        """That of a `run.json`; None where the run has none, or was begun before bases were written down."""
        said = begun.get("base")
        if not isinstance(said, dict):
            return None
        values: dict[str, Any] = {field.name: said.get(field.name) for field in dataclasses.fields(cls)}
        texts = [value for name, value in values.items() if name != "step"]
        if not all(isinstance(text, str) for text in texts) or type(values["step"]) not in (int, type(None)):
            raise BaseError("run.json does not say where the base of the run lies; restore the file from a copy")
        return cls(**values)

    def places(self, run: Path) -> list[str]:
        """Where it may lie now, the likeliest first."""
        if self.path == self.name and on_hub(self.name):
            return [self.name]
        near = str(user_path(run.resolve() / self.near).resolve())
        return list(dict.fromkeys([self.path, near, str(user_path(self.name).resolve())]))

    def is_at(self, place: str) -> bool:
        """Whether a path names the place that is written down, however it is spelled."""
        return place == self.path or str(user_path(place).resolve()) == self.path

    def steps_at(self, place: str) -> list[int | None]:
        """Which checkpoints of a place to try: that which was taken if it is still there, and the newest (None)."""
        kept = user_path(place) / "checkpoints"
        return [self.step, None] if self.step is not None and (kept / str(self.step)).is_dir() else [None]

    def __str__(self) -> str:
        return f"{self.name}{'' if self.step is None else f' at step {self.step}'} (digest {self.digest[:SHOWN]})"


@dataclass(frozen=True)
class Start:
    """What the first step of a run is made of, as the command asks for it or as its folder says.

    Attributes:
        folder: of the run.
        init: what --init named when it was begun; None: weights are drawn.
        fresh: whether only shape and vocabulary are those of `init`.
        base: where weights came from; None where none did, where nothing is begun yet, or in folders of before.
        kept: digest of the weights that the folder keeps; None: none.
        whole: whether those are all that are not in the checkpoints.
        asked: where the base is now, if the user says so: then it is looked for nowhere else.
    """

    folder: Path
    init: str | None = None
    fresh: bool = False
    base: Base | None = None
    kept: str | None = None
    whole: bool = False
    asked: str | None = None

    @classmethod
    def read(cls, folder: Path, begun: Mapping[str, Any], asked: str | None = None) -> Self:
        """That of a run that was begun, from its `run.json`."""
        if not begun:
            raise BaseError(
                f"{folder / 'run.json'} is gone, which says what the run began from; restore it from a copy"
            )
        init, kept = begun.get("init"), begun.get("kept")
        if not isinstance(init, str | None) or not isinstance(kept, dict | None):
            raise BaseError(f"{folder / 'run.json'} does not say what the run began from; restore the file from a copy")
        kept = kept or {}
        base, whole = Base.read(begun), kept.get("whole") is True
        return cls(folder, init, bool(begun.get("fresh")), base, kept.get("digest"), whole, asked)


def digest_of(arrays: Mapping[str, Any]) -> str:
    """SHA-256 over named arrays: equal if and only if names, shapes, types and bits are.

    It does not depend on the devices that the arrays lie on, nor on the order of the names.

    >>> digest_of({"a": np.ones(2), "b": np.zeros(1)}) == digest_of({"b": np.zeros(1), "a": np.ones(2)})
    True
    """

    def one(name: str) -> bytes:
        array = arrays[name]
        digest = hashlib.sha256(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
        for piece in pieces(array):
            digest.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
        return digest.digest()

    with ThreadPoolExecutor(THREADS) as pool:
        return hashlib.sha256(b"".join(pool.map(one, sorted(arrays)))).hexdigest()


def pieces(array: Any) -> Iterator[np.ndarray]:
    """An array on the host, in parts along its first axis where it is large."""
    if array.nbytes <= PIECE_BYTES or array.ndim == 0:
        yield np.asarray(array)
        return
    rows = max(1, PIECE_BYTES * array.shape[0] // array.nbytes)
    for begin in range(0, array.shape[0], rows):
        yield np.asarray(array[begin : begin + rows])


def keep(run: Path, weights: Mapping[str, Any]) -> str:
    """Write weights into a run folder, at one stroke; gives their digest."""
    temporary = run / f".{KEPT}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    named = ((name, np.asarray(weights[name])) for name in sorted(weights))
    write_tensors(temporary, named, file_bytes=8 * PIECE_BYTES)
    for path in temporary.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(run / KEPT, ignore_errors=True)
    temporary.rename(run / KEPT)
    return digest_of(weights)


def read_kept(run: Path, digest: str) -> dict[str, np.ndarray]:
    """The weights that a run folder keeps. BaseError where they are not those that were written."""
    folder = run / KEPT
    if not folder.is_dir():
        raise BaseError(f"{folder} is gone, where weights lie that the checkpoints do not hold; restore it from a copy")
    tensors = Tensors(folder)
    found = {name: tensors.read(name, ()) for name in tensors}
    if (there := digest_of(found)) != digest:
        raise BaseError(
            f"{folder} has changed since it was written: its digest was {digest[:SHOWN]}, now {there[:SHOWN]}; "
            "restore it from a copy"
        )
    return found
