"""SIGKILLs within a save, after one, and at random moments of `bert_tiny`: the end has the same bits.

More of them by hand, each kind 50 times, from a seed of your own:

    LOUPE_KILLS=50 LOUPE_KILLS_SEED=7 python -m pytest -m slow tests/train/test_kills.py

Two run folders are killed again and again at the same time until each comes to its end. Only the process of the command
is killed: its loader workers have to notice by themselves.
"""

import os
import random
import re
import signal
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from train.lines import comparable_lines, read_metrics
from train.verify import compare_runs

KILLS = int(os.environ.get("LOUPE_KILLS", 1))  # of each kind
SEED = int(os.environ.get("LOUPE_KILLS_SEED", 0)) or random.SystemRandom().randrange(1, 2**31)
EVERY = 3  # steps between checkpoints, and twice that between evaluations
REACH = 3 * EVERY  # a random kill falls between the start of the process and so many steps after its first
IMPORTS = 1.5  # seconds before a process begins to count them
STEPS = 2 * EVERY * KILLS + REACH * (KILLS // 2 + 2)  # no folder comes to its end before its kills are spent

# Says where the command is at the moment of its death: which functions its main thread is in. That of other threads is not asked
# for: they go on meanwhile, and to read what they are changing ends in a segmentation fault now and then.
LISTENER = """
import faulthandler, os, signal
if os.getppid() == int(os.environ["LOUPE_LISTENER"]):
    faulthandler.register(signal.SIGUSR1, file=open(os.environ["LOUPE_STACKS"], "w"), all_threads=False)
"""
PHASES = {
    "finish": "finishing", "evaluate": "evaluating", "save": "saving", "run": "training", "compile_step": "compiling",
    "restore": "restoring", "open_data": "preparing", "train_run": "preparing",
}  # fmt: skip

SAVING_BESIDE = ("training", "evaluating", "finishing")  # what goes on while a checkpoint is being written


@dataclass
class Folder:
    """A run folder that is killed again and again."""

    path: Path
    words: list[str | Path]
    startup: float = 0.0  # seconds from the start of a process to its first step, the last time one came so far
    fell: list[tuple[str, str]] = field(default_factory=list)  # kind of kill, and where it fell

    def look(self, ended) -> None:
        """Keep from a process that has ended how long it took to start."""
        if found := re.search(r"first step (\d+) s after the start", ended.output):
            self.startup = int(found[1]) + IMPORTS

    def newest(self) -> int:
        """The step of the newest checkpoint that is complete, 0 before the first."""
        names = [path.name for path in (self.path / "checkpoints").glob("*")]
        return max((int(name) for name in names if name.isdigit()), default=0)

    def lines(self, last: int) -> list[dict]:
        """What the record holds of the steps up to `last`."""
        return [line for line in comparable_lines(self.path) if line["step"] <= last]


@pytest.fixture(scope="module")
def tiny(child, tmp_path_factory) -> Folder:
    """An undisturbed run."""
    words = ["--exp=bert_tiny", "--steps", str(STEPS), "--checkpoint-every", str(EVERY)]
    words += ["--evaluate-every", str(2 * EVERY)]
    folder = Folder(tmp_path_factory.mktemp("kills") / "undisturbed", words)
    ended = child(*words, "--run-dir", folder.path).wait()
    assert ended.code == 0, ended.output + ended.errors
    folder.look(ended)
    return folder


@pytest.fixture
def kill(child, tiny, tmp_path):
    """Starts the command on a folder once, has it killed, and looks at what is left."""
    (tmp_path / "sitecustomize.py").write_text(LISTENER)
    step = statistics.median(line["seconds"] for line in read_metrics(tiny.path) if "seconds" in line)

    def once(folder: Folder, kind: str, rng: random.Random) -> None:
        before, faults, stacks = folder.newest(), {}, tmp_path / f"{folder.path.name}-{len(folder.fell)}"
        if kind == "within a save":
            target = before + 2 * EVERY
            faults["LOUPE_FAULT"] = f"{rng.choice(['saving', 'commit'])}:{target}"
        elif kind == "after a save":
            target = before + EVERY
            faults["LOUPE_FAULT"] = f"saved:{target}"
        else:
            faults = {"PYTHONPATH": str(tmp_path), "LOUPE_STACKS": str(stacks), "LOUPE_LISTENER": str(os.getpid())}
        running = child(*folder.words, "--run-dir", folder.path, **faults)
        if kind == "at random":
            time.sleep(rng.uniform(0, folder.startup + REACH * step))
            phase = where(running.process.pid, stacks)
            writing = phase in SAVING_BESIDE and any((folder.path / "checkpoints").glob("*tmp*"))
            running.process.kill()
            folder.fell.append((kind, phase + (", a save under way" if writing else "")))
        ended = running.wait()
        folder.look(ended)
        assert ended.code == -signal.SIGKILL, ended.output + ended.errors
        after = folder.newest()
        if kind == "within a save":
            assert before + EVERY == target - EVERY <= after <= target
            assert faults["LOUPE_FAULT"].startswith("saving") or after < target
            folder.fell.append((kind, "begun" if faults["LOUPE_FAULT"].startswith("saving") else "before its commit"))
        elif kind == "after a save":
            assert after == target
            folder.fell.append((kind, "committed"))
        assert after >= before  # what was saved stays
        resumed = re.search(r"resuming after step (\d+)", ended.output)
        assert resumed is None or int(resumed[1]) == before  # and is what the next process goes on from
        assert resumed or before == 0 or "compiling" not in ended.output
        assert folder.lines(after) == tiny.lines(after)  # with every line of the steps that it covers
        assert workers_are_gone(running.process.pid)

    return once


def where(pid: int, stacks: Path) -> str:
    """What a running command is doing."""
    if not stacks.exists():
        return "importing"
    os.kill(pid, signal.SIGUSR1)
    end = time.monotonic() + 2
    while not stacks.read_text().endswith("_run_module_as_main\n") and time.monotonic() < end:
        time.sleep(0.005)
    ours = re.findall(r"/train/(?:session|loop)\.py\", line \d+ in (\w+)", stacks.read_text())
    return next((PHASES[name] for name in ours if name in PHASES), "importing")


def workers_are_gone(group: int) -> bool:
    """Whether a killed command leaves nothing running, after a moment."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_kills(child, kill, tiny, capsys):
    folders = [
        Folder(tiny.path.with_name(name), [*tiny.words, "--workers", workers], tiny.startup)
        for name, workers in (("one", "0"), ("other", "2"))
    ]
    plans = [["within a save"] * KILLS + ["at random"] * (KILLS // 2)]
    plans += [["after a save"] * KILLS + ["at random"] * (KILLS - KILLS // 2)]

    def follow(folder: Folder, plan: list[str]):
        rng = random.Random(f"{SEED} {folder.path.name}")
        for kind in rng.sample(plan, len(plan)):
            kill(folder, kind, rng)
        return child(*folder.words, "--run-dir", folder.path).wait()

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(follow, folders, plans))
    with capsys.disabled():
        print(histogram([fell for folder in folders for fell in folder.fell]))
    for folder, ended in zip(folders, ends, strict=True):
        assert ended.code == 0, ended.output + ended.errors
        assert compare_runs(folder.path, tiny.path) == []
    fell = Counter(kind for folder in folders for kind, _ in folder.fell)
    assert fell == {"within a save": KILLS, "after a save": KILLS, "at random": KILLS}


def histogram(fell: list[tuple[str, str]]) -> str:
    """Where the kills fell, as rows of a table."""
    rows = [
        f"{kind:>14}: {place:<34} {count:3d} {'#' * count}" for (kind, place), count in sorted(Counter(fell).items())
    ]
    return "\n".join([f"\n{len(fell)} kills, seed {SEED}", *rows])
