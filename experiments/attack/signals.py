"""Ctrl-C and SIGTERM at many moments of every command's first seconds, with nothing prepared and with everything prepared.

A try is a process of its own, signalled at its moment. Before its first line a command may die of the signal; after it, it ends
with 75 (SIGTERM) or 130 (Ctrl-C), within five seconds, without a traceback or a crash, and whatever was trained goes on.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

CODES = {"TERM": 75, "INT": 130, "INT INT": 130}
LATEST = 5.0  # seconds from the signal to the end
UNWANTED = ("Traceback", "Segmentation", "Fatal Python error", "Exception ignored", "terminate called", "leaked")
TEXT = "the module returns a new object"


@dataclass(frozen=True)
class Target:
    """A command that is disturbed.

    Attributes:
        words: what follows `python -m`; `{new}` is a path that is not there yet.
        cold: whether each try starts without anything in the cache.
        again: whether it can be repeated after a try, and must come to its end then.
    """

    name: str
    words: tuple[str, ...]
    cold: bool = False
    again: bool = False


@dataclass
class Try:
    """A try and what came of it."""

    target: str
    sent: str
    moment: float
    code: int | None = None
    seconds: float = 0.0
    silent: bool = False
    said: str = ""
    faults: list[str] = field(default_factory=list)

    def judge(self) -> None:
        """Find what is not as it must be."""
        number = signal.SIGTERM if self.sent == "TERM" else signal.SIGINT
        right = {CODES[self.sent]} | ({-number} if self.silent else set())
        if self.code not in right:
            self.faults.append(f"exit code {self.code}")
        if self.seconds > LATEST:
            self.faults.append(f"{self.seconds:.1f} s until it ended")
        self.faults += [word for word in UNWANTED if word in self.said]


def attack(moments: int = 50, seconds: float = 10.0, seed: int = 0, exp: str = "bert_tiny", only: str = "") -> int:
    """Signals at `moments` moments of the first `seconds` of each command; `only` names some, with commas between."""
    seed = seed or random.SystemRandom().randrange(1, 2**31)
    folder = Path(tempfile.mkdtemp(prefix="loupe-signals-"))
    tries: list[Try] = []
    try:
        for target in made_ready(folder, exp, {name for name in only.split(",") if name}):
            rng = random.Random(f"{seed} {target.name}")
            for number in range(moments):
                at = seconds * (number + rng.random()) / moments
                one = attempt(target, rng.choice(list(CODES)), at, folder)
                if one is not None:
                    tries.append(one)
            if target.again:
                tries.append(finished(target, folder))
            print(table([one for one in tries if one.target == target.name]), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    faulty = [one for one in tries if one.faults]
    for one in faulty:
        print(
            f"{one.target}, {one.sent or 'repeated'} at {one.moment:.2f} s: {', '.join(one.faults)}\n{one.said[-2000:]}"
        )
    print(f"{len(tries)} tries, seed {seed}, {len(faulty)} with faults")
    return 1 if faulty else 0


def made_ready(folder: Path, exp: str, only: set[str]) -> list[Target]:
    """The targets, those with a run to work on after it was trained."""
    run, run_of = str(folder / "run"), ("--run-dir", str(folder / "run"))
    small = ("--steps", "2", "--checkpoint-every", "2")
    targets = [
        Target("pretrain cold", ("train.pretrain", f"--exp={exp}", "--steps", "100000", "--run-dir", "{new}"), cold=True),
        Target("pretrain", ("train.pretrain", f"--exp={exp}", "--steps", "100000", "--run-dir", "{new}")),
        Target("pretrain to its end", ("train.pretrain", f"--exp={exp}", *small, "--run-dir", str(folder / "end")), again=True),
        Target("prepare cold", ("train.prepare", f"--exp={exp}"), cold=True),
        Target("finetune", ("train.finetune", "--exp=library_parts", f"--init={run}", "--run-dir", "{new}")),
        Target("evaluate", ("train.evaluate", run)),
        Target("export", ("train.export", run, "--to", "{new}")),
        Target("generate", ("train.generate", run, "--prompt", f"{TEXT} [MASK]")),
        Target("inspect", ("train.inspect", run, TEXT, "--out", "{new}")),
    ]  # fmt: skip
    chosen = [target for target in targets if not only or target.name in only]
    if not all(target.cold for target in chosen):  # prepared data, compiled programs, and a run to work on
        started(("train.pretrain", f"--exp={exp}", *small, *run_of), folder, folder / "cache").wait()
    return chosen


def started(words: tuple[str, ...], folder: Path, cache: Path, said: Path | None = None) -> subprocess.Popen:
    """A command in a process group of its own, with what it says in a file."""
    with (said or folder / "said").open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            env=os.environ | {"LOUPE_CACHE": str(cache)},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def attempt(target: Target, sent: str, moment: float, folder: Path) -> Try | None:
    """One try; None where the command had ended before its moment."""
    scratch = Path(tempfile.mkdtemp(dir=folder))
    words = tuple(word.replace("{new}", str(scratch / "new.html")) for word in target.words)
    said = scratch / "said"
    process = started(words, folder, scratch / "cache" if target.cold else folder / "cache", said)
    one = Try(target.name, sent, moment)
    try:
        process.wait(moment)
        return None
    except subprocess.TimeoutExpired:
        one.silent = said.stat().st_size == 0
    begin = time.monotonic()
    for name in sent.split():  # as a terminal does, Ctrl-C reaches the whole group
        try:
            os.killpg(process.pid, signal.SIGINT) if name == "INT" else process.send_signal(signal.SIGTERM)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    try:
        one.code = process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    one.seconds, one.said = time.monotonic() - begin, said.read_text(errors="replace")
    if one.code == 0 and one.seconds < 0.5:
        return None  # it was at its end already
    one.judge()
    shutil.rmtree(scratch, ignore_errors=True)
    return one


def finished(target: Target, folder: Path) -> Try:
    """The command again, left alone: what earlier tries left goes on to its end."""
    said = folder / "said"
    process = started(target.words, folder, folder / "cache", said)
    one = Try(target.name, "", 0.0, process.wait())
    one.said = said.read_text(errors="replace")
    one.faults = [f"exit code {one.code} when left alone"] * (one.code != 0)
    return one


def table(tries: list[Try]) -> str:
    """What came of the tries on one target, a row for each signal."""
    rows = []
    for sent in dict.fromkeys(one.sent for one in tries):
        mine = [one for one in tries if one.sent == sent]
        codes = Counter(one.code for one in mine)
        told = ", ".join(f"{count} x {code}" for code, count in sorted(codes.items(), key=str))
        rows.append(
            f"{mine[0].target:20} {sent or 'left alone':10} {len(mine):3d} tries, {sum(one.silent for one in mine):2d} before "
            f"the first line: {told}; slowest {max(one.seconds for one in mine):.1f} s; "
            f"{sum(bool(one.faults) for one in mine)} faults"
        )
    return "\n".join(rows)
