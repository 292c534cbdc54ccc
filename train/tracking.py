"""The record of a run: one stream of lines, always kept in `metrics.jsonl`, copied to wandb or TensorBoard on request.

A checkpoint of step n covers the lines of steps 1..n, and `flush` puts them on disk before that checkpoint commits.
Opened again at a restored step, the file loses what lies beyond it and goes on as if nothing had happened:
`comparable_lines` is what must then equal an undisturbed run. The form of the lines is described in train/lines.py.

wandb and tensorboardX are imported here and nowhere else, and only when asked for.
"""

import difflib
import importlib.util
import json
import netrc
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from train.lines import METRICS_FILE, LineFile, TrackingError, cut_after, plain, read_lines
from train.lines import comparable_lines as comparable_lines
from train.lines import read_metrics as read_metrics

Say = Callable[[str], None]


class Writer(Protocol):
    """A copy of the stream somewhere else. It may fail: training goes on without it."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None: ...

    def flush(self) -> None: ...

    def close(self, status: str) -> None: ...


class Tracker:
    """Writes the lines of a run; made by `Tracker.open`. As a context manager it closes as "failed" on an exception."""

    def __init__(self, file: LineFile | None, say: Say):
        self._file = file
        self._say = say
        self._writers: dict[str, Writer] = {}
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
        say: Say = print,
    ) -> Self:
        """Open the record of `run_dir` and drop every line past `start_step`, the restored step (0: a new run).

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
            return cls(None, say)
        names = check_writers(writers)
        run_dir = Path(run_dir)
        path = run_dir / METRICS_FILE
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            cut_after(path, start_step)
            tracker = cls(LineFile(path), say)
        except OSError as error:
            raise TrackingError(f"cannot write {path}: {error.strerror or error}") from error
        for name in names:
            make = WRITERS[name]
            with Guard(tracker, name):
                tracker._writers[name] = make(run_dir, run_name or run_dir.name, config or {}, start_step, say)
        return tracker

    def step(self, step: int, scalars: Mapping[str, Any]) -> None:
        """One line for one training step, with that step's own values (floats, numpy scalars or fetched arrays)."""
        self._write({"step": step}, scalars)

    def evaluation(self, step: int, scores: Mapping[str, Any]) -> None:
        """One line of held-out scores, measured after `step` updates; to be called before that step's checkpoint."""
        self._write({"step": step}, scores)
        self._write_out()

    def event(self, name: str, *, step: int, **fields: Any) -> None:
        """Something that happened: "resume", "checkpoint", "skip", "stop" or "done". External writers do not see it."""
        self._write({"event": name, "step": step}, fields)
        self._write_out()

    def flush(self) -> None:
        """Put every line on disk (fsync). Called before the checkpoint that covers them commits."""
        with self._lock:
            if self._file is not None:
                self._file.write_out(sync=True)
            for name in list(self._writers):
                with Guard(self, name):
                    self._writers[name].flush()

    def mark(self) -> dict[str, Any] | None:
        """What tells later that the lines which are on disk now are still there; None where nothing is written."""
        with self._lock:
            return None if self._file is None else self._file.mark()

    def close(self, status: str = "done") -> None:
        """Flush and let go; `status` is "done", "stopped" or "failed". Closing twice is harmless."""
        with self._lock:
            file, self._file = self._file, None
            try:
                if file is not None:
                    file.close()
            finally:
                for name in list(self._writers):
                    with Guard(self, name):
                        self._writers.pop(name).close(status)

    def _write_out(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.write_out()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close("done" if kind is None else "failed")

    def _write(self, head: dict[str, Any], fields: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        line: dict[str, Any] = {**head, "time": round(time.time(), 3)}
        line |= {name: plain(value) for name, value in fields.items()}
        with self._lock:
            self._file.append(line)
            if self._writers and "event" not in line:
                scalars = scalars_of(line)
                for name in list(self._writers):
                    with Guard(self, name):
                        self._writers[name].write(line["step"], scalars)


class Guard:
    """Whatever an external writer does wrong is said once; the writer is then left out and training goes on."""

    def __init__(self, tracker: Tracker, name: str):
        self._tracker = tracker
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._tracker._writers.pop(self._name, None)
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        self._tracker._say(f"{self._name} failed and is switched off, {METRICS_FILE} goes on: {reason}")
        return True


class WandbWriter:
    """Weights & Biases: offline by itself when there is no key, never a question.

    wandb cannot continue an offline run, and what it was given may reach past the restored step. A resumed run is
    therefore a new wandb run, into which our own lines are replayed; `step` is a metric, the axis of all others.
    """

    def __init__(self, run_dir: Path, name: str, config: Mapping[str, Any], start_step: int, say: Say):
        import wandb

        offline = not has_wandb_key()
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "loupe"),
            name=name,
            group=name,
            dir=str(run_dir),
            config={**config, "run_dir": str(run_dir), "resumed_at_step": start_step},
            mode="offline" if offline and os.environ.get("WANDB_MODE") != "disabled" else None,
            settings=wandb.Settings(console="off", silent=True, init_timeout=30),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        if offline:
            folder = Path(self._run.dir).parent
            say(f"wandb: no API key, so the run is kept offline; upload it with: wandb sync {folder}")
        if start_step:
            for line in read_lines(run_dir / METRICS_FILE):
                if "event" not in line:
                    self.write(line["step"], scalars_of(line))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log({**scalars, "step": step})

    def flush(self) -> None:
        pass  # a resumed run is replayed from our own lines, so wandb's journal need not be safe

    def close(self, status: str) -> None:
        self._run.finish(exit_code=int(status == "failed"))


class TensorBoardWriter:
    """TensorBoard event files through tensorboardX, without TensorFlow; steps past the restored one are purged."""

    def __init__(self, run_dir: Path, name: str, config: Mapping[str, Any], start_step: int, say: Say):
        from tensorboardX import SummaryWriter

        folder = run_dir / "tensorboard"
        # By itself the file's name tells seconds only: a quick resume would overwrite the file before it.
        suffix = f".{time.time_ns()}"
        self._writer = SummaryWriter(str(folder), purge_step=start_step + 1, filename_suffix=suffix)
        if start_step == 0:
            text = json.dumps(config, indent=2, default=str, ensure_ascii=False)
            self._writer.add_text(name, f"```json\n{text}\n```")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self, status: str) -> None:
        self._writer.close()


WRITERS: dict[str, Callable[..., Writer]] = {"wandb": WandbWriter, "tensorboard": TensorBoardWriter}


def check_writers(names: Iterable[str]) -> tuple[str, ...]:
    """The names without repetition; raises `TrackingError` for one that is unknown or not installed."""
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in WRITERS:
            near = difflib.get_close_matches(name, WRITERS, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise TrackingError(f"no tracker is called {name!r}: choose from {', '.join(WRITERS)}{hint}")
    if "tensorboard" in names and importlib.util.find_spec("tensorboardX") is None:
        raise TrackingError("--track tensorboard needs tensorboardX: pip install -e '.[tensorboard]'")
    return names


def scalars_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a step or evaluation line, without `step` and `time`.

    >>> scalars_of({"step": 3, "time": 1.7e9, "loss": 6.5, "grad_norm": None})
    {'loss': 6.5}
    """
    return {
        name: value for name, value in line.items() if name not in ("step", "time") and isinstance(value, int | float)
    }


def has_wandb_key() -> bool:
    """Whether wandb could log in without asking: a key in the environment, or in the netrc file that it reads."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        return netrc.netrc(os.environ.get("NETRC") or Path("~/.netrc").expanduser()).authenticators(host) is not None
    except (OSError, RuntimeError, netrc.NetrcParseError):
        return False
