"""The record of a run: nothing covered is lost, nothing past the restored step stays, no copy can stop training."""

import errno
import json
import os
import struct
import subprocess
import sys
import time
import types

import jax.numpy as jnp
import numpy as np
import pytest

from train import lines, tracking
from train.environment import ENVIRONMENT_FILE, revision, write_environment
from train.lines import METRICS_FILE, TrackingError, comparable_lines, cut_after, read_metrics
from train.tracking import Tracker, check_writers


def scalars(step: int) -> dict:
    """What a step has to say: a pure function of the step, but for the time it took."""
    return {
        "loss": np.float32(7 - step / 10),
        "grad_norm": jnp.float32(step) / 3,
        "learning_rate": 1e-4 * step,
        "tokens": 4096,
        "batch_hash": f"{step:08x}",
        "seconds": time.perf_counter(),
        "tokens_per_second": time.perf_counter(),
    }


def train(tracker: Tracker, first: int, last: int) -> None:
    """Steps first..last, as the loop writes them: evaluation, then checkpoint, every four steps."""
    for step in range(first, last + 1):
        tracker.step(step, scalars(step))
        if step == 6:
            tracker.event("skip", step=6, loss=float("nan"), example_ids=np.arange(3))
        if step % 4 == 0:
            tracker.evaluation(step, {"valid_loss": 7 - step / 9, "eval_seconds": time.perf_counter()})
            tracker.event("checkpoint", step=step)
            tracker.flush()


@pytest.mark.parametrize("killed", range(4, 12))
def test_a_killed_and_resumed_file_equals_an_undisturbed_one(tmp_path, killed):
    with Tracker.open(tmp_path / "whole") as tracker:
        train(tracker, 1, 12)
        tracker.event("done", step=12)
    tracker = Tracker.open(tmp_path / "cut")
    train(tracker, 1, killed)
    tracker._file.write_out()  # a kill may come when later lines are on disk already
    restored = killed // 4 * 4
    with Tracker.open(tmp_path / "cut", start_step=restored) as tracker:
        tracker.event("resume", step=restored)
        train(tracker, restored + 1, 12)
        tracker.event("done", step=12)
    assert comparable_lines(tmp_path / "cut") == comparable_lines(tmp_path / "whole")
    assert len(comparable_lines(tmp_path / "whole")) == 12 + 3 + 1 + 1
    assert [line["event"] for line in read_metrics(tmp_path / "cut") if "event" in line].count("resume") == 1


@pytest.mark.parametrize("step", range(8))
def test_reopening_keeps_the_very_bytes_of_what_is_covered(tmp_path, step):
    with Tracker.open(tmp_path) as tracker:
        train(tracker, 1, 7)
    before = (tmp_path / METRICS_FILE).read_bytes().splitlines(keepends=True)
    Tracker.open(tmp_path, start_step=step).close()
    after = (tmp_path / METRICS_FILE).read_bytes().splitlines(keepends=True)
    assert after == [raw for raw in before if step and json.loads(raw)["step"] <= step]
    assert list(tmp_path.iterdir()) == [tmp_path / METRICS_FILE]


def test_strange_and_truncated_lines_are_tolerated_and_dropped(tmp_path):
    good = b'{"step": 1, "loss": 2.0}\n'
    strange = [
        b'{"step": 2, "lo\n',
        b"\xff\xfe\n",
        b"[1]\n",
        b'{"loss": 1}\n',
        b'{"step": "3"}\n',
        b"\n",
        b"[" * 5000 + b"\n",
    ]
    (tmp_path / METRICS_FILE).write_bytes(good + b"".join(strange) + b'{"step": 2, "loss": 1.')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.0}]
    with Tracker.open(tmp_path, start_step=5) as tracker:
        tracker.step(6, {"loss": 1.0})
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 6]


def test_a_run_that_goes_on_is_not_done(tmp_path):
    with Tracker.open(tmp_path) as tracker:
        tracker.step(1, {"loss": 1.0})
        tracker.event("done", step=1)
    Tracker.open(tmp_path, start_step=1).close()
    assert [line.get("event") for line in read_metrics(tmp_path)] == [None]


def test_the_cut_happens_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / METRICS_FILE
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n')

    def refuse(*_):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="Permission"):
        cut_after(path, 1)
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'
    with pytest.raises(TrackingError, match=r"cannot write .*metrics.jsonl: Permission denied$"):
        Tracker.open(tmp_path, start_step=1)


def test_flushed_lines_survive_a_kill(tmp_path):
    code = f"""
import os, signal
from train.tracking import Tracker
tracker = Tracker.open({str(tmp_path)!r})
for step in range(1, 6):
    tracker.step(step, {{"loss": 1.0}})
tracker.flush()
tracker.step(6, {{"loss": 1.0}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    assert [line["step"] for line in read_metrics(tmp_path)][:5] == [1, 2, 3, 4, 5]


def test_lines_are_strict_json_whatever_the_values(tmp_path):
    def no_constant(name):
        raise AssertionError(f"{name} is not JSON")

    values = {
        "a": float("nan"),
        "b": np.float32("inf"),
        "c": jnp.float32("nan"),
        "d": [1, float("-inf")],
        "e": "ü\u2028",
    }
    with Tracker.open(tmp_path) as tracker:
        tracker.step(1, values | {"f": np.float32(0.1), "g": jnp.bfloat16(0.5), "h": np.int64(2**40), "i": tmp_path})
    (raw,) = (tmp_path / METRICS_FILE).read_bytes().splitlines()
    line = json.loads(raw, parse_constant=no_constant)
    assert [line[name] for name in "abcdefghi"] == [
        None,
        None,
        None,
        [1, None],
        "ü\u2028",
        0.1,
        0.5,
        2**40,
        str(tmp_path),
    ]


def test_other_processes_write_nothing(tmp_path):
    with Tracker.open(tmp_path / "run", enabled=False) as tracker:
        train(tracker, 1, 4)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_one_line_and_spoils_nothing(tmp_path, monkeypatch):
    tracker = Tracker.open(tmp_path)
    train(tracker, 1, 4)
    real = os.write

    def half(descriptor, data):
        if len(data) > 20:
            return real(descriptor, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lines.os, "write", half)
    tracker.step(5, scalars(5))
    with pytest.raises(TrackingError, match=r"^cannot write .*No space left on device; make room.*$") as caught:
        tracker.flush()
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    tracker.event("stop", step=5)  # whatever is still written on the way out must not join the half line
    tracker.close("failed")
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4, 4, 4]
    Tracker.open(tmp_path, start_step=4).close()
    assert (tmp_path / METRICS_FILE).read_bytes().endswith(b"}\n")


class Broken:
    def __init__(self, *_):
        self.calls = 0

    def write(self, step, scalars):
        raise RuntimeError("the server\n  is gone")

    flush = close = write


@pytest.mark.parametrize("where", ["opening", "writing"])
def test_a_failing_copy_is_said_once_and_training_goes_on(tmp_path, monkeypatch, where):
    def refuse(*_):
        raise RuntimeError("no network")

    monkeypatch.setitem(tracking.WRITERS, "broken", refuse if where == "opening" else Broken)
    said = []
    with Tracker.open(tmp_path, writers=["broken"], say=said.append) as tracker:
        train(tracker, 1, 8)
    assert len(said) == 1 and said[0].startswith("broken failed and is switched off") and "\n" not in said[0]
    assert len(comparable_lines(tmp_path)) == 8 + 2 + 1


def test_unknown_and_missing_trackers_are_one_line_with_the_remedy(monkeypatch):
    with pytest.raises(TrackingError, match=r"'wandv'.*wandb, tensorboard; did you mean wandb\?$"):
        check_writers(["wandv"])
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrackingError, match=r"pip install -e '\.\[tensorboard\]'$"):
        check_writers(["tensorboard"])


def test_a_resumed_wandb_run_is_a_new_one_holding_all_steps(tmp_path, monkeypatch):
    runs = []

    class FakeRun:
        def __init__(self, **options):
            self.options, self.logged, self.metrics = options, [], []
            self.dir = str(tmp_path / "wandb" / "run" / "files")
            runs.append(self)

        def log(self, values):
            self.logged.append(values)

        def define_metric(self, *names, **options):
            self.metrics.append((names, options))

        def finish(self, exit_code):
            self.exit_code = exit_code

    fake = types.SimpleNamespace(init=lambda **options: FakeRun(**options), Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    said = []
    with Tracker.open(tmp_path, writers=["wandb"], say=said.append) as tracker:
        train(tracker, 1, 7)
    with (
        pytest.raises(KeyboardInterrupt),
        Tracker.open(tmp_path, writers=["wandb"], start_step=4, say=said.append) as tracker,
    ):
        train(tracker, 5, 8)
        raise KeyboardInterrupt
    assert [run.options["mode"] for run in runs] == ["offline", "offline"]
    assert [run.exit_code for run in runs] == [0, 1]
    assert len(said) == 2 and "no API key" in said[0]
    assert (("*",), {"step_metric": "step"}) in runs[1].metrics
    assert [values["step"] for values in runs[1].logged] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    Tracker.open(tmp_path, writers=["wandb"], start_step=4).close()
    assert runs[2].options["mode"] is None


def test_wandb_itself_runs_offline_without_key_prompt_or_warning(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "NETRC"))}
    code = f"""
from train.tracking import Tracker
with Tracker.open({str(tmp_path)!r}, writers=["wandb"], config={{"model": {{"width": 2}}}}, run_name="demo") as tracker:
    tracker.step(1, {{"loss": 2.5}})
    tracker.evaluation(1, {{"valid_loss": 2.25}})
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment | {"HOME": str(tmp_path), "WANDB_ERROR_REPORTING": "false"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("wandb: no API key") and done.stdout.count("\n") == 1
    (journal,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"valid_loss" in journal.read_bytes() and b"demo" in journal.read_bytes()


def test_tensorboard_has_every_step_and_purges_what_lies_past_the_restored_one(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    tracker = Tracker.open(tmp_path, writers=["tensorboard"])
    train(tracker, 1, 6)
    tracker.close()
    with Tracker.open(tmp_path, writers=["tensorboard"], start_step=4) as tracker:
        train(tracker, 5, 7)
    events = []
    for path in sorted((tmp_path / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        raw = path.read_bytes()
        while raw:
            (length,) = struct.unpack("<Q", raw[:8])
            events.append(Event.FromString(raw[12 : 12 + length]))
            raw = raw[16 + length :]
    losses = [event.step for event in events for value in event.summary.value if value.tag == "loss"]
    purges = [event.step for event in events if event.session_log.status == SessionLog.START]
    assert losses == [1, 2, 3, 4, 5, 6, 5, 6, 7] and purges == [1, 5]


def test_the_environment_names_the_revision_and_no_secret(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True, capture_output=True
        )

    assert revision(tmp_path)["git_revision"] is None
    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "one")
    clean = revision(tmp_path)
    assert len(clean["git_revision"]) == 40 and clean["git_dirty"] is False and clean["git_changes"] is None
    (tmp_path / "file").write_text("two")
    assert revision(tmp_path)["git_dirty"] is True and revision(tmp_path)["git_changes"]
    inner = tmp_path / "inner"
    inner.mkdir()
    assert revision(inner)["git_revision"] is None, "a folder inside somebody else's repository is not its revision"

    monkeypatch.setenv("WANDB_API_KEY", "very-secret")
    monkeypatch.setenv("XLA_FLAGS", "--some_flag")
    write_environment(tmp_path, parameters=12)
    write_environment(tmp_path, parameters=12)
    found = json.loads((tmp_path / ENVIRONMENT_FILE).read_text())
    assert "very-secret" not in json.dumps(found) and found["variables"]["XLA_FLAGS"] == "--some_flag"
    assert found["parameters"] == 12 and len(found["earlier"]) == 1 and "jax" in found["packages"]
