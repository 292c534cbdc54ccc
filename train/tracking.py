"""The record of a run: one stream of lines, always kept in `metrics.jsonl`, and copied to wandb or TensorBoard on request.

A line is one JSON object. Three kinds are told apart by their keys:

    {"step": 12, "time": ..., "loss": 6.51, "learning_rate": 3e-4, "grad_norm": 1.2, "tokens_per_second": 5300.0}
    {"step": 12, "time": ..., "valid_loss": 6.44, "unigram_entropy": 6.57, ...}           an evaluation
    {"event": "checkpoint", "step": 12, "time": ..., ...}                                 resume, checkpoint, skip, done

Step n is the n-th update, counted from 1, and a checkpoint of step n covers the lines of steps 1..n; `flush` puts them on
disk before that checkpoint commits. Reopened at a restored step, the file loses what lies beyond it, so that it goes on as
if nothing had happened: `comparable_lines` is what must then equal an undisturbed run. JSON knows no NaN or infinity:
a value that is not finite is written as null.

wandb and tensorboardX are imported here and nowhere else, and only when asked for.
"""

import difflib
import json
import math
import netrc
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import numpy as np

METRICS_FILE = "metrics.jsonl"
TIMING_FIELDS = frozenset({"time", "seconds", "mfu"})
TIMING_SUFFIXES = ("_seconds", "_per_second")
HOUSEKEEPING_EVENTS = frozenset({"resume", "checkpoint", "stop"})
WRITE_OUT_SECONDS = 1.0  # lines wait in memory at most so long: `tail -f` stays alive, a step costs no system call


class TrackingError(ValueError):
    """The record cannot be kept as asked; the message is one line, for the user."""


class Writer(Protocol):
    """A copy of the stream somewhere else. It may fail: training goes on without it."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None: ...

    def flush(self) -> None: ...

    def close(self, status: str) -> None: ...


class Tracker:
    """Writes the lines of a run. Made by `Tracker.open`; also a context manager, which closes with "failed" on an exception."""

    def __init__(self, file: "LineFile | None", writers: dict[str, Writer], say: Callable[[str], None]):
        self._file = file
        self._writers = writers
        self._say = say
        self._lock = threading.RLock()  # an asynchronous checkpoint may report its commit from another thread

    @classmethod
    def open(
        cls,
        run_dir: str | Path,
        *,
        run_name: str | None = None,
        config: Mapping[str, Any] | None = None,
        writers: Iterable[str] = (),
        start_step: int = 0,
        enabled: bool = True,
        say: Callable[[str], None] = print,
    ) -> Self:
        """Open the record of `run_dir`, dropping every line past `start_step`, the step that was restored (0: a new run).

        Args:
            run_name: shown by the external writers; the folder's name by default.
            config: the resolved experiment as plain JSON values, for the external writers.
            writers: any of "wandb", "tensorboard".
            enabled: False on every process but the first: then nothing is written anywhere.
            say: where a sentence to the user goes.

        Raises:
            TrackingError: an unknown writer, tensorboardX missing, or a folder that cannot be written.
        """
        if not enabled:
            return cls(None, {}, say)
        names = check_writers(writers)
        run_dir = Path(run_dir)
        path = run_dir / METRICS_FILE
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            cut_after(path, start_step)
            file = LineFile(path)
        except OSError as error:
            raise TrackingError(f"cannot write {path}: {error.strerror or error}") from error
        tracker = cls(file, {}, say)
        for name in names:
            with tracker._guard(name):
                tracker._writers[name] = WRITERS[name](run_dir, run_name or run_dir.name, config or {}, start_step, say)
        return tracker

    def step(self, step: int, scalars: Mapping[str, Any]) -> None:
        """One line for one training step, with that step's own values (floats, numpy scalars or fetched arrays)."""
        self._write({"step": step}, scalars, copy=True)

    def evaluation(self, step: int, scores: Mapping[str, Any]) -> None:
        """One line of held-out scores, measured after `step` updates."""
        self._write({"step": step}, scores, copy=True)

    def event(self, name: str, *, step: int, **fields: Any) -> None:
        """Something that happened: "resume", "checkpoint", "skip", "stop" or "done", with JSON-able fields."""
        self._write({"event": name, "step": step}, fields, copy=False)

    def flush(self) -> None:
        """Put every line on disk (fsync). Called before the checkpoint that covers them commits."""
        with self._lock:
            if self._file is not None:
                self._file.sync()
            for name in list(self._writers):
                with self._guard(name):
                    self._writers[name].flush()

    def close(self, status: str = "done") -> None:
        """Flush and let go; `status` is "done", "stopped" or "failed". Closing twice is harmless."""
        with self._lock:
            for name in list(self._writers):
                with self._guard(name):
                    self._writers.pop(name).close(status)
            if self._file is not None:
                file, self._file = self._file, None
                file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close("done" if kind is None else "failed")

    def _write(self, head: dict[str, Any], fields: Mapping[str, Any], *, copy: bool) -> None:
        if self._file is None:
            return
        now = time.time()
        values = {name: plain(value) for name, value in fields.items()}
        with self._lock:
            self._file.append({**head, "time": round(now, 3), **values})
            if copy and self._writers:
                scalars = {name: value for name, value in values.items() if isinstance(value, int | float)}
                for name in list(self._writers):
                    with self._guard(name):
                        self._writers[name].write(head["step"], scalars)

    def _guard(self, name: str) -> "Guard":
        return Guard(self, name)


class Guard:
    """Whatever an external writer does wrong is said once; the writer is then left out and training goes on."""

    def __init__(self, tracker: Tracker, name: str):
        self.tracker = tracker
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        if error is None or isinstance(error, TrackingError) or not isinstance(error, Exception):
            return False
        self.tracker._writers.pop(self.name, None)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        self.tracker._say(f"{self.name} failed and is switched off; {METRICS_FILE} goes on: {reason}")
        return True


class LineFile:
    """Appends JSON lines. They are written out about once a second, and on `sync`; a kill can only truncate the last."""

    def __init__(self, path: Path):
        self._path = path
        self._pending: list[str] = []
        self._last = time.monotonic()
        self._file = open(path, "ab", buffering=0)

    def append(self, line: Mapping[str, Any]) -> None:
        self._pending.append(json.dumps(line, allow_nan=False, ensure_ascii=False))
        if time.monotonic() - self._last > WRITE_OUT_SECONDS:
            self._write_out()

    def sync(self) -> None:
        self._write_out()
        if not self._file.closed:
            self._attempt(lambda: os.fsync(self._file.fileno()))

    def close(self) -> None:
        self.sync()
        self._file.close()

    def _write_out(self) -> None:
        self._last = time.monotonic()
        if self._file.closed or not self._pending:
            return
        rest = memoryview(("\n".join(self._pending) + "\n").encode())
        self._pending.clear()
        while rest:
            rest = rest[self._attempt(lambda rest=rest: self._file.write(rest)) :]

    def _attempt(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except OSError as error:
            # Half a line may be on disk; nothing may follow it, or the next line would be lost too.
            self._file.close()
            self._pending.clear()
            raise TrackingError(
                f"cannot write {self._path}: {error.strerror or error}; make room and repeat the command to go on"
            ) from error


class WandbWriter:
    """Weights & Biases: offline by itself when there is no key, never a question.

    wandb cannot continue an offline run, and what it received may reach past the restored step. A resumed run is therefore
    a new wandb run into which our own lines are replayed; `step` is a metric of its own, the axis of all others.
    """

    def __init__(self, run_dir: Path, name: str, config: Mapping, start_step: int, say: Callable[[str], None]):
        import wandb

        offline = not has_wandb_key()
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "loupe"),
            name=name,
            group=name,
            dir=str(run_dir),
            config={**config, "run_dir": str(run_dir), "resumed_at_step": start_step},
            mode="offline" if offline and os.environ.get("WANDB_MODE") != "disabled" else None,
            settings=wandb.Settings(console="off", silent=True, init_timeout=60),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        if offline:
            folder = Path(self._run.dir).parent
            say(f"wandb: no API key, so this run is kept offline; upload it later with: wandb sync {folder}")
        if start_step:
            for line in read_lines(run_dir / METRICS_FILE):
                if "event" not in line:
                    self.write(line["step"], scalars_of(line))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log({**scalars, "step": step})

    def flush(self) -> None:
        pass  # wandb keeps its own journal, and a resumed run is replayed from ours

    def close(self, status: str) -> None:
        self._run.finish(exit_code=int(status == "failed"))


class TensorBoardWriter:
    """TensorBoard event files through tensorboardX, without TensorFlow; steps past the restored one are purged."""

    def __init__(self, run_dir: Path, name: str, config: Mapping, start_step: int, say: Callable[[str], None]):
        from tensorboardX import SummaryWriter

        folder = run_dir / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=start_step + 1 if start_step else None)
        if start_step == 0:
            self._writer.add_text("config", "```json\n" + json.dumps(config, indent=2, default=str) + "\n```")
        say(f"tensorboard: look with: tensorboard --logdir {folder}")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self, status: str) -> None:
        self._writer.close()


WRITERS: dict[str, Callable[..., Writer]] = {"wandb": WandbWriter, "tensorboard": TensorBoardWriter}


def read_metrics(run_dir: str | Path) -> list[dict[str, Any]]:
    """All lines of a run, in order; a truncated or strange line is left out, a missing file has none."""
    return list(read_lines(Path(run_dir) / METRICS_FILE))


def comparable_lines(run_dir: str | Path) -> list[dict[str, Any]]:
    """The lines of a run without what may differ between an undisturbed run and one that was killed and resumed.

    Left out: the events resume, checkpoint and stop, and the fields time, seconds, mfu, *_seconds and *_per_second.
    """
    return [
        {name: value for name, value in line.items() if not is_timing(name)}
        for line in read_metrics(run_dir)
        if line.get("event") not in HOUSEKEEPING_EVENTS
    ]


def is_timing(name: str) -> bool:
    """Whether a field says how long something took.

    >>> is_timing("tokens_per_second"), is_timing("loss")
    (True, False)
    """
    return name in TIMING_FIELDS or name.endswith(TIMING_SUFFIXES)


def check_writers(names: Iterable[str]) -> tuple[str, ...]:
    """The names without repetition; raises `TrackingError` for one that is unknown or not installed."""
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in WRITERS:
            near = difflib.get_close_matches(name, WRITERS, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise TrackingError(f"no tracker {name!r}: choose from {', '.join(WRITERS)}{hint}")
    if "tensorboard" in names:
        try:
            import tensorboardX  # noqa: F401
        except ImportError:
            raise TrackingError("--track tensorboard needs tensorboardX: pip install -e '.[tensorboard]'") from None
    return names


def plain(value: Any) -> Any:
    """A value as JSON can hold it: numpy and JAX scalars become numbers, and what is not finite becomes None.

    >>> plain(np.float32(0.1)), plain(float("nan")), plain(np.arange(2)), plain(np.bool_(True))
    (0.1, None, [0, 1], True)
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and not isinstance(value, np.floating):
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


def scalars_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a step or evaluation line, without `step` and `time`."""
    return {
        name: value for name, value in line.items() if name not in ("step", "time") and isinstance(value, int | float)
    }


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file that carry a step; whatever else is there is skipped."""
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return
    with file:
        for raw in file:
            line = parse(raw)
            if line is not None:
                yield line


def parse(raw: bytes) -> dict[str, Any] | None:
    """One whole line as an object with an integer `step`, else None."""
    try:
        line = json.loads(raw) if raw.endswith(b"\n") else None
    except ValueError:
        return None
    return line if isinstance(line, dict) and type(line.get("step")) is int else None


def cut_after(path: Path, step: int) -> None:
    """Drop the lines of `path` past `step`, at one stroke: the old file or the new one, never half.

    Step 0 is a new start, which keeps nothing. A `done` is dropped everywhere: the run goes on.
    """
    if not path.exists():
        return
    kept, changed = path.with_name(path.name + ".new"), False
    with open(path, "rb") as old, open(kept, "wb") as new:
        for raw in old:
            line = parse(raw)
            if step > 0 and line is not None and line["step"] <= step and line.get("event") != "done":
                new.write(raw)
            else:
                changed = True
        new.flush()
        os.fsync(new.fileno())
    if changed:
        os.replace(kept, path)
        sync_folder(path.parent)
    else:
        kept.unlink()


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


def has_wandb_key() -> bool:
    """Whether wandb could log in without asking: a key in the environment, or in the netrc file it reads."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        return netrc.netrc(os.environ.get("NETRC") or Path("~/.netrc").expanduser()).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
