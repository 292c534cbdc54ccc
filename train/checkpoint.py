"""Checkpoints: asynchronous, atomic, checked when read. The one door to orbax.

A checkpoint is a folder `checkpoints/STEP` holding the training state, the position in the data and, last, a manifest with
the size and SHA-256 of every file. Orbax writes it under another name and renames it when all is there, so a folder with a
step for its name is complete; the manifest tells when it has been damaged since.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import signal
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint._src.path import atomicity
from orbax.checkpoint._src.serialization import tensorstore_utils

from data.errors import DataError
from data.foreign import read_json
from train.state import TrainState

MANIFEST = "loupe_manifest.json"
ITEMS = ("state", "position")
RECORD, STEP = "record", "checkpoint_step"  # beside the position
OTHER_STEP = "it is that of step {}, under another name"

# Orbax reports each phase of each save at WARNING or INFO level; a run's console is no place for that.
logging.getLogger("absl").setLevel(logging.CRITICAL)


def quieten_late_writers() -> None:
    """Say nothing of the writes that end after a save has failed.

    Orbax waits for the arrays of a save in an event loop; at the first failure it closes the loop, and each of the others
    then prints a traceback, by a log or from a thread of its own. The failure itself is raised as ever.
    """
    logging.getLogger("asyncio").addFilter(lambda record: "orbax" not in record.getMessage())
    before = sys.unraisablehook

    def hook(unraisable):
        is_late = unraisable.exc_type is RuntimeError and str(unraisable.exc_value) == "Event loop is closed"
        if not is_late or threading.current_thread() is threading.main_thread():
            before(unraisable)

    sys.unraisablehook = hook
    # Nor what a writer that never began leaves behind when the interpreter ends.
    warnings.filterwarnings("ignore", "coroutine 'async_serialize_from_host", RuntimeWarning)


quieten_late_writers()
# Asked at every save, only for a line of a log that is not written, and in tensorstore 0.1.86 the answer is never freed:
# some 20 KB of memory a save.
tensorstore_utils.get_tensorstore_raw_bytes = lambda direction=None: 0


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or read; the message is one line with the remedy."""

    exit_code = 1


class Restored(NamedTuple):
    """What a checkpoint held, and which newer ones had to be passed over because they are damaged (step, reason).

    `record` is the mark of the lines that it covers (train/lines.py), None in checkpoints of before.
    """

    step: int
    state: TrainState
    position: dict[str, Any]
    damaged: list[tuple[int, str]]
    record: dict[str, Any] | None = None


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay: the latest, the best by their rank, and those on a schedule.

    Attributes:
        last: how many of the newest.
        best: how many of those that an evaluation ranked highest.
        every: also each multiple of this many steps.
        log: also each power of two, so that a run can be looked at over its training.
    """

    last: int = 2
    best: int = 1
    every: int | None = None
    log: bool = False

    def for_good(self, step: int) -> bool:
        """Whether the checkpoint of a step is never dropped.

        >>> [step for step in range(1, 40) if Keep(every=30, log=True).for_good(step)]
        [1, 2, 4, 8, 16, 30, 32]
        """
        return (self.every is not None and step % self.every == 0) or (self.log and step & (step - 1) == 0)

    def should_preserve(self, checkpoints, *, context=None) -> list[bool]:
        """Orbax's policy protocol: one answer for each checkpoint, oldest first."""
        scored = [info for info in checkpoints if info.metrics and rank_of(info.metrics) > -math.inf]
        ranked = sorted(scored, key=lambda info: (-rank_of(info.metrics), info.step))  # of equal ones the first
        best = {info.step for info in ranked[: self.best]}
        newest = {info.step for info in checkpoints[len(checkpoints) - self.last :]}
        return [info.step in newest | best or self.for_good(info.step) for info in checkpoints]


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, run_dir: Path, keep: Keep = Keep(), *, read_only: bool = False):
        self.folder = Path(run_dir).absolute() / "checkpoints"
        self._keep, self._read_only = keep, read_only
        mend_scores(self.folder)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep,
            best_fn=rank_of,  # makes orbax store the metrics; `keep` reads them
            best_mode="max",
            create=not read_only,
            read_only=read_only,
            temporary_path_class=_ManifestedPath,
            cleanup_tmp_directories=not read_only,  # what a killed save left behind was never a checkpoint
            save_interval_steps=0 if read_only else 1,
        )
        with self._explained(f"{self.folder} could not be opened"):
            self._manager = ocp.CheckpointManager(self.folder, options=options, item_names=ITEMS)
        self._saving = False

    def steps(self) -> list[int]:
        """Steps with a complete checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def due(self, step: int, every: int) -> bool:
        """Whether a checkpoint is to be written after this step: each `every` steps, and when it would be kept for good."""
        return (every > 0 and step % every == 0) or self._keep.for_good(step)

    def save(
        self,
        step: int,
        state: TrainState,
        position: dict[str, Any],
        rank: float | None = None,
        record: dict[str, Any] | None = None,
    ) -> None:
        """Start writing a checkpoint; returns once the arrays are copied off the devices.

        `rank` is how good an evaluation found the parameters: the best of all checkpoints is kept. `record` marks the lines that
        it covers.
        An error of this save or the one before is raised here or in `wait`, as CheckpointError.
        """
        beside = position | {STEP: step} | ({} if record is None else {RECORD: record})
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(kept(state)), position=ocp.args.JsonSave(beside))
        metrics = None if rank is None else {"rank": rank}
        with self._explained(f"checkpoint {step} could not be written"):
            self._manager.save(step, args=arguments, metrics=metrics, force=True)
        self._saving = True
        fault_point("saving", step)

    def check(self) -> None:
        """Raise the error of a save that has ended since, as CheckpointError; costs microseconds."""
        if self._saving and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Block until the save under way, if any, has been committed."""
        self._saving = False
        with self._explained("the checkpoint under way could not be written"):
            self._manager.wait_until_finished()

    def restore(self, target: TrainState, step: int | None = None, *, newest: int | None = None) -> Restored | None:
        """The newest checkpoint that is whole (or that of `step`), laid out like `target`; None when there is none.

        None newer than `newest` is looked at, where it is given.

        Args:
            target: shapes, dtypes and shardings, from `train.state.state_shapes`: whatever devices wrote the checkpoint, it
                is read straight into these. Where its `optimizer` is None, that of the checkpoint is taken as it is.

        Raises:
            CheckpointError: the asked step is missing or damaged, or every checkpoint is.
        """
        steps = self.steps() if step is None else [step]
        steps = [one for one in steps if newest is None or one <= newest]
        damaged = []
        for candidate in reversed(steps):
            reason = check_manifest(self.folder / str(candidate))
            if reason is None:
                found = self._read(candidate, target, damaged)
                if step_written(self.folder / str(candidate)) is not None or int(found.state.step) == candidate:
                    return found
                reason = OTHER_STEP.format(int(found.state.step))  # of before, which only its state tells
            damaged.append((candidate, reason))
        if damaged:
            named = "; ".join(f"{self.folder / str(number)}: {reason}" for number, reason in damaged)
            remedy = "restore it from a copy" if self._read_only else "give another --run-dir to start afresh"
            raise CheckpointError(f"no usable checkpoint ({named}); {remedy}")
        return None

    def set_aside(self, step: int, word: str = "damaged") -> Path:
        """Rename a checkpoint that is damaged, or else of no use, so that its step can be written again and nothing is lost."""
        source = self.folder / str(step)
        aside = source.with_name(f"{word}-{step}")
        number = 1
        while aside.exists():
            number += 1
            aside = source.with_name(f"{word}-{step}-{number}")
        source.rename(aside)
        self._manager.reload()
        return aside

    def close(self) -> None:
        """Wait for the save under way, and let go."""
        try:
            self.wait()
        finally:
            with contextlib.suppress(Exception):  # orbax raises here again what `wait` has raised
                self._manager.close()

    def _read(self, step: int, target: TrainState, damaged) -> Restored:
        with self._explained(f"checkpoint {self.folder / str(step)} does not fit this experiment"):
            wanted = kept(target)
            if target.optimizer is None:
                wanted["optimizer"] = self._stored(step, "optimizer", target.step.sharding)
            arguments = ocp.args.Composite(state=ocp.args.StandardRestore(wanted), position=ocp.args.JsonRestore())
            items = self._manager.restore(step, args=arguments)
        position = dict(items["position"])
        record = position.pop(RECORD, None)
        position.pop(STEP, None)
        return Restored(step, TrainState(**items["state"]), position, damaged, record)

    def _stored(self, step: int, name: str, where: Any) -> Any:
        """The shapes of a part of the state as a checkpoint has them, each whole on every device."""
        handler: Any = ocp.PyTreeCheckpointHandler()
        found = handler.metadata(self.folder / str(step) / "state").tree
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), found[name])

    @contextlib.contextmanager
    def _explained(self, what: str):
        try:
            yield
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            if "No space left" in str(error):
                reason = f"No space left in {self.folder}; free some and repeat the command to go on"
            raise CheckpointError(f"{what}: {reason}") from error


def kept(state: TrainState) -> dict[str, Any]:
    """What a checkpoint holds of a state: all but the parameters that are never trained, and what it does not have."""
    return {name: value for name, value in state._asdict().items() if name != "frozen" and value is not None}


def rank_of(metrics: dict[str, Any]) -> float:
    """How good an evaluation found a checkpoint; those of older runs say their held-out loss."""
    rank = metrics.get("rank", -metrics.get("valid_loss", math.inf))
    return -math.inf if rank is None else rank


def check_manifest(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None when every file is as it was written."""
    try:
        manifest = read_json(folder / MANIFEST, DataError)
    except DataError:
        if (folder / MANIFEST).exists():
            return "unreadable manifest"
        return "no manifest" if folder.is_dir() else "no such checkpoint"
    if not manifest or not all(isinstance(entry, list) and len(entry) == 2 for entry in manifest.values()):
        return "unreadable manifest"
    for name, (size, digest) in manifest.items():
        path = folder / name
        try:
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes instead of {size}"
            if _sha256(path) != digest:
                return f"{name} has changed since it was written"
        except (OSError, ValueError) as error:
            return f"{name} cannot be read ({getattr(error, 'strerror', None) or error})"
    written = step_written(folder)
    return None if written in (None, folder.name) else OTHER_STEP.format(written)


def step_written(folder: Path) -> str | None:
    """The step that a checkpoint says it was written at, which a folder that was renamed or copied no longer says; None in
    checkpoints of before."""
    try:
        step = read_json(folder / "position" / "metadata", DataError).get(STEP)
    except DataError:
        return None
    return None if step is None else str(step)


def mend_scores(checkpoints: Path) -> None:
    """Empty the scores of checkpoints where they are damaged: orbax reads all of them before anything else.

    The manifest still tells that such a checkpoint is not what was written.
    """
    for path in checkpoints.glob("*/metrics/metrics"):
        try:
            read_json(path, DataError)
        except DataError:
            with contextlib.suppress(OSError):  # somebody else's run is only read
                path.write_text("{}")


def fault_point(name: str, step: int) -> None:
    """Die here if the tests ask for it: `LOUPE_FAULT=NAME:STEP` in the environment is a SIGKILL at that moment.

    The moments: `step` (after a step), `saving` (a save has begun), `commit` (all is written, not yet renamed), `saved`.
    """
    if os.environ.get("LOUPE_FAULT") == f"{name}:{step}":
        os.kill(os.getpid(), signal.SIGKILL)


class _ManifestedPath(atomicity.AtomicRenameTemporaryPath):
    """Orbax's write-then-rename, with the manifest added just before the rename."""

    async def finalize(self) -> None:
        folder, final = Path(os.fspath(self.get())), Path(os.fspath(self.get_final()))
        is_checkpoint = final.name.isdigit()  # items of a checkpoint are finalized by the same class, before it
        if is_checkpoint:
            files = sorted(
                path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("_CHECKPOINT")
            )
            manifest = {str(path.relative_to(folder)): (path.stat().st_size, _sha256(path)) for path in files}
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
            fault_point("commit", int(final.name))
        await super().finalize()
        if is_checkpoint:
            fault_point("saved", int(final.name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_digest(tree) -> str:
    """SHA-256 over every array of a tree, paths and dtypes included: equal digests mean equal bits."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(tree), key=lambda item: str(item[0])):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = jax.device_get(jax.random.key_data(leaf) if is_key else leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
