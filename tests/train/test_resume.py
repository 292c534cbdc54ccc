"""2N steps = N, stop, resume, N, bit for bit: after a kill at any moment of a save, Ctrl-C, SIGTERM, and damage."""

import json
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

import train.checkpoint
import train.loop
import train.report
import train.session
from train.lines import comparable_lines, read_metrics
from train.verify import compare_runs, digests

SIGKILLED = -signal.SIGKILL
PARTS = 2  # processes at once


class Stories(dict[str, Future]):
    """What the tests look at: each is told once, from when a test first asks for it."""

    def __init__(self, pool: ThreadPoolExecutor, *tell: Callable):
        super().__init__()
        self.pool, self.tell = pool, {one.__name__: one for one in tell}

    def __missing__(self, name: str) -> Future:
        self[name] = self.pool.submit(self.tell[name])
        return self[name]


@pytest.fixture(scope="module")
def stories(child, tiny_experiment, tmp_path_factory) -> Iterator[Stories]:
    """Told by processes that run two at a time."""
    root = tmp_path_factory.mktemp("runs")

    def run(folder: str, *words, **options):
        return child("--exp", tiny_experiment, "--run-dir", root / folder, "--workers", "0", *words, **options).wait()

    def undisturbed():
        return root / "undisturbed", [run("undisturbed")]

    def killed_once():
        """One folder, killed by a signal from outside some time after its first checkpoint; finished."""
        first = child("--exp", tiny_experiment, "--run-dir", root / "killed_once", "--workers", "0", PAUSE="0.2")
        end = time.monotonic() + first.patience
        while not (root / "killed_once" / "checkpoints" / "4").is_dir() and time.monotonic() < end:
            time.sleep(0.05)
        return root / "killed_once", [first.signal(signal.SIGKILL).wait(), run("killed_once")]

    def killed():
        """One folder, killed at four moments, its newest checkpoint then damaged; finished, repeated, extended."""
        told = [
            run("killed", "--steps", "12", LOUPE_FAULT=fault)
            for fault in ("step:2", "commit:4", "saving:8", "saved:12")
        ]
        truncate_largest(root / "killed" / "checkpoints" / "12")
        told += [run("killed", "--steps", "12"), run("killed", "--steps", "12"), run("killed", "--steps", "16")]
        return root / "killed", told

    def stopped():
        """One folder, stopped at once, by Ctrl-C, by SIGTERM, each time with the command that was printed; then finished."""
        words = ["--exp", tiny_experiment, "--run-dir", root / "stopped", "--workers", "1"]
        first = child(*words, PAUSE="5").until("step  1/16").signal(signal.SIGINT).until("stopping")
        begin = time.monotonic()
        told = [first.signal(signal.SIGINT).wait()]
        first.seconds = time.monotonic() - begin
        told.append(child(*words, PAUSE="0.5").until("step  1/16").signal(signal.SIGINT).wait())
        again = resuming_command(told[-1])
        told.append(child(*again, "--workers", "2", PAUSE="0.5").until("tokens/s").signal(signal.SIGTERM).wait())
        told.append(child(*resuming_command(told[-1])).wait())
        return root / "stopped", told

    def moved():
        """Eight devices and no worker for the first half, one device and two workers for the second."""
        told = [run("moved", "--steps", "8", "--mesh", "data=2,fsdp=2,tensor=2", devices=8)]
        told.append(run("moved", "--steps", "16", "--workers", "2"))
        return root / "moved", told

    def verified():
        """The command that does all this by itself."""
        words = ["--exp", tiny_experiment, "--verify-resume", "--steps", "8", "--workers", "0"]
        return root, [child(*words).wait()]

    with ThreadPoolExecutor(PARTS) as pool:
        yield Stories(pool, undisturbed, killed_once, killed, stopped, verified, moved)


def truncate_largest(folder):
    path = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def resuming_command(ended) -> list[str]:
    """The words of the command that a stopped run printed."""
    command = shlex.split(ended.output.splitlines()[-1].partition("to go on: ")[2])
    assert command[:3] == ["python", "-m", "train.pretrain"], ended.output
    return command[3:]


def told_of(told) -> str:
    return "\n---\n".join(f"{ended.code}\n{ended.output}{ended.errors}" for ended in told)


def steps_of(folder) -> list[dict]:
    return [line for line in comparable_lines(folder) if "loss" in line and "event" not in line]


def test_undisturbed(stories):
    folder, told = stories["undisturbed"].result()
    assert [ended.code for ended in told] == [0], told_of(told)
    assert told[0].errors == ""
    lines = read_metrics(folder)
    assert [line["step"] for line in lines if "loss" in line and "event" not in line] == list(range(1, 17))
    assert [line["step"] for line in lines if "valid_loss" in line and "event" not in line] == [4, 8, 12, 16]
    assert lines[-1]["event"] == "done"
    assert len({line["batch_hash"] for line in lines if "batch_hash" in line}) == 16


def test_killed_and_repeated_ends_with_the_same_bits(stories):
    """The first claim of the README: a real SIGKILL, the same command again, and nothing tells the two runs apart."""
    folder, told = stories["killed_once"].result()
    assert [ended.code for ended in told] == [SIGKILLED, 0], told_of(told)
    assert "resuming after step" in told[1].output
    assert compare_runs(folder, stories["undisturbed"].result()[0]) == []


@pytest.mark.slow
def test_killed_at_any_moment_ends_with_the_same_bits(stories):
    folder, told = stories["killed"].result()
    assert [ended.code for ended in told] == [SIGKILLED] * 4 + [0] * 3, told_of(told)
    after_step, after_commit, after_saving, after_damage = (ended.output for ended in (*told[1:4], told[4]))
    assert "resuming" not in after_step  # killed before the first save
    assert "resuming" not in after_commit  # a save that was not renamed is no checkpoint
    assert "resuming after step 4" in after_saving or "resuming after step 8" in after_saving
    assert "checkpoint 12 is damaged" in after_damage and "damaged-12" in after_damage
    assert "resuming after step 8" in after_damage
    assert (folder / "checkpoints" / "damaged-12").is_dir()
    undisturbed, _ = stories["undisturbed"].result()
    assert digests(folder) == digests(undisturbed)
    # The run of 12 steps scored all held-out rows where that of 16 only took a look.
    assert steps_of(folder) == steps_of(undisturbed)
    events = [(line["event"], line["step"]) for line in read_metrics(folder) if "event" in line]
    assert ("resume", 12) in events and events[-1] == ("done", 16)
    assert [event for event in events if event[0] == "done"] == [("done", 16)]


@pytest.mark.slow
def test_finished_repeats_its_result(stories):
    _, told = stories["killed"].result()
    ended, repeated = told[4], told[5]
    assert repeated.code == 0 and repeated.errors == ""
    assert repeated.output == ended.output.splitlines()[-1] + " (finished before)\n"


@pytest.mark.slow
def test_second_interrupt_stops_at_once(stories):
    _, told = stories["stopped"].result()
    assert told[0].code == 130, told_of(told[:1])
    assert told[0].seconds < 4 and "saved after" not in told[0].output


@pytest.mark.slow
def test_stopped_by_signals_ends_with_the_same_bits(stories):
    folder, told = stories["stopped"].result()
    assert [ended.code for ended in told] == [130, 130, 75, 0], told_of(told)
    assert [ended.errors for ended in told[1:]] == ["", "", ""]
    for ended in told[1:3]:
        assert "stopped and saved after step" in ended.output.splitlines()[-1]
    stops = [line["step"] for line in read_metrics(folder) if line.get("event") == "stop"]
    resumes = [line["step"] for line in read_metrics(folder) if line.get("event") == "resume"]
    assert stops == resumes and len(stops) == 2
    undisturbed, _ = stories["undisturbed"].result()
    assert compare_runs(folder, undisturbed) == []


@pytest.mark.slow
def test_another_mesh_and_number_of_workers_see_the_same_batches(stories):
    folder, told = stories["moved"].result()
    assert [ended.code for ended in told] == [0, 0], told_of(told)
    lines, expected = steps_of(folder), steps_of(stories["undisturbed"].result()[0])
    for name in ("step", "batch_hash", "tokens", "epoch", "learning_rate"):
        assert [line[name] for line in lines] == [line[name] for line in expected]
    np.testing.assert_allclose([line["loss"] for line in lines], [line["loss"] for line in expected], rtol=1e-3)


@pytest.mark.slow
def test_verify_resume(stories):
    _, told = stories["verified"].result()
    assert told[0].code == 0, told_of(told)
    assert "bit for bit equal after a kill at step" in told[0].output


@pytest.mark.slow
def test_record_is_whole(stories):
    """Each line is a JSON object on a line of its own, whatever happened to the run."""
    for name in ("killed", "stopped", "moved"):
        folder, _ = stories[name].result()
        for line in (folder / "metrics.jsonl").read_text().splitlines():
            assert isinstance(json.loads(line), dict)


def test_a_stop_as_the_last_step_ends_leaves_the_closing_evaluation_to_the_next_command(here, tmp_path, monkeypatch):
    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return settle(*arguments)

    settle = train.session.settle
    with monkeypatch.context() as patched:
        patched.setattr(train.session, "settle", interrupted)
        ended = here("--run-dir", tmp_path, "--steps", "4")
    assert ended.code == 75 and ended.errors == "" and "stopped and saved after step 4" in ended.output, ended
    assert not (tmp_path / "scores.json").exists()

    def cut(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:  # nothing is left to save in the closing evaluation itself
        patched.setattr(train.session, "finish", cut)
        assert here("--run-dir", tmp_path, "--steps", "4").code == 130
    ended = here("--run-dir", tmp_path, "--steps", "4")
    assert ended.code == 0 and "resuming after step 4" in ended.output, ended
    assert read_metrics(tmp_path)[-1]["event"] == "done" and (tmp_path / "scores.json").is_file()


def test_failed_save_is_told_before_the_next(here, tmp_path, monkeypatch):
    """The error of a save that goes on beside the training does not wait for the next save, and is one line."""

    def broken(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(train.checkpoint, "_sha256", broken)
    monkeypatch.setattr(train.loop, "batch_facts", slow(train.loop.batch_facts))
    ended = here("--run-dir", tmp_path, "--steps", "300", "--checkpoint-every", "100", "--evaluate-every", "300")
    assert ended.code == 1 and ended.errors.count("\n") == 1, ended
    assert ended.errors.startswith("error: the checkpoint under way could not be written: [Errno 5] Input/output error")
    assert 100 <= read_metrics(tmp_path)[-1]["step"] < 200
    assert [path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()] == []


def test_the_report_of_a_finished_run_is_mended(here, tmp_path, monkeypatch):
    """A full disk at the report is said, and not exit code 0; the command again writes what is missing or came too early."""
    report = tmp_path / "report.html"

    def full(*arguments):
        raise OSError(28, "No space left on device", str(report))

    words = ("--run-dir", tmp_path, "--steps", "4")
    with monkeypatch.context() as patched:
        patched.setattr(train.report, "replace_text", full)
        ended = here(*words)
        assert ended.code == 1 and ended.errors.count("\n") == 1, ended
        assert str(report) in ended.errors and "No space left" in ended.errors and "finished and saved" in ended.errors
        assert read_metrics(tmp_path)[-1]["event"] == "done"
        assert here(*words).code == 1  # still full
    assert here(*words).code == 0
    assert train.report.FINISHED in report.read_text()
    report.write_text("<p>under way</p>")  # killed between the last line and the report
    assert here(*words).code == 0 and train.report.FINISHED in report.read_text()
    os.utime(report, (1e9, 1e9))
    assert here(*words).code == 0 and report.stat().st_mtime > 1e9  # older than what it tells of
    written = report.stat().st_mtime_ns
    assert here(*words).code == 0 and report.stat().st_mtime_ns == written


def slow(facts):
    """Steps of a few milliseconds: longer than a save takes to fail."""

    def wait(batch):
        time.sleep(0.01)
        return facts(batch)

    return wait
