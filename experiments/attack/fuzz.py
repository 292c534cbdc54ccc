"""Files of others, damaged at random, in a process of their own: what reads them must answer or refuse in one line.

A worker that does not answer in time, or dies, is ended and replaced: that is a failure as a traceback is one.
"""

import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from experiments.attack.damage import damage
from experiments.attack.readers import KINDS

OFTEN = {".json", ".jsonl", ".txt", ".gz", ".safetensors", ".model"}  # damaged more often than what lies beside them
PATIENCE = 60.0  # seconds on the clock until a worker counts as hanging
SECONDS, MEBIBYTES = 10.0, 2_048.0  # of the processor for a file, and of memory beyond what the process had


@dataclass
class Worker:
    """A process that reads what it is told."""

    root: Path
    kinds: list[str]
    process: subprocess.Popen | None = None
    answers: int = -1

    def start(self) -> None:
        """Begin; returns when it has read the originals."""
        self.answers, theirs = os.pipe()
        words = [sys.executable, "-m", "experiments.attack.readers", str(self.root), ",".join(self.kinds), str(theirs)]
        with (self.root / "noise").open("a") as noise:
            self.process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=noise, stderr=noise, text=True, pass_fds=[theirs],
                env=os.environ | {"LOUPE_CACHE": str(self.root / "cache"), "JAX_PLATFORMS": "cpu"},
            )  # fmt: skip
        os.close(theirs)
        if self._answer(600) is None:
            noise = (self.root / "noise").read_text(errors="replace")
            raise RuntimeError(f"the originals could not be read: {noise[-1_500:]}")

    def ask(self, kind: str, folder: Path) -> dict:
        """What became of a folder."""
        if self.process is None:
            self.start()
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(f"{kind} {folder}\n")
        self.process.stdin.flush()
        found = self._answer(PATIENCE)
        if found is None:
            alive = self.process.poll() is None
            self.close()
            return {"how": "hang" if alive else "the process died", "said": "", "seconds": PATIENCE, "mebibytes": 0}
        return found

    def _answer(self, patience: float) -> dict | None:
        waited, line = 0.0, b""
        while not line.endswith(b"\n"):
            if not select.select([self.answers], [], [], patience)[0] or waited > patience:
                return None
            if not (part := os.read(self.answers, 1 << 16)):
                return None
            line += part
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdin is not None:
                self.process.stdin.close()
            os.close(self.answers)
            self.process = None


@dataclass
class Counts:
    """What was seen."""

    ok: int = 0
    refused: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    mebibytes: float = 0.0
    kinds: Counter = field(default_factory=Counter)

    def __str__(self) -> str:
        files = self.ok + self.refused + len(self.failed)
        return (
            f"{files:,} damaged files: {self.ok:,} ok, {self.refused:,} refused, {len(self.failed)} failures; "
            f"slowest {self.seconds:.1f} s, peak {self.mebibytes:.0f} MiB"
        )


def fuzz(*, files: int = 1_000, seed: int = 0, only: str = "", say: Callable[[str], None] = print) -> list[str]:
    """Damage so many files and have them read; returns a line for each failure."""
    kinds = only.split(",") if only else list(KINDS)
    if strange := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"there are no files of the kind {strange[0]!r}; there are {', '.join(KINDS)}")
    counts = Counts()
    with tempfile.TemporaryDirectory() as root:
        worker = Worker(Path(root), kinds)
        try:
            worker.start()
            for number in range(seed, seed + files):
                one(worker, number, kinds[number % len(kinds)], counts)
        finally:
            worker.close()
    say(str(counts))
    return counts.failed


def attack(files: int = 1_000, seed: int = 0, only: str = "") -> int:
    """Files of others, damaged at random, given to what reads them."""
    failed = fuzz(files=files, seed=seed, only=only)
    for line in failed:
        print(line)
    return int(bool(failed))


def one(worker: Worker, number: int, kind: str, counts: Counts) -> None:
    """One damaged file: written, read, counted. Its number is its seed."""
    rng = random.Random(f"{kind} {number}")
    case = worker.root / "case"
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(worker.root / "originals" / kind, case)
    paths = sorted(path for path in case.rglob("*") if path.is_file())
    likely = [path for path in paths if path.suffix in OFTEN]
    path = rng.choice(likely if likely and rng.random() < 0.7 else paths)
    content, how = damage(path.read_bytes(), path.name, rng)
    path.write_bytes(content)
    found = worker.ask(kind, case)
    ended = found["how"]
    counts.seconds, counts.mebibytes = max(counts.seconds, found["seconds"]), max(counts.mebibytes, found["mebibytes"])
    if ended in ("ok", "refused") and found["seconds"] > SECONDS:
        ended = f"{found['seconds']:.1f} s"
    if ended in ("ok", "refused") and found["mebibytes"] > MEBIBYTES:
        ended = f"{found['mebibytes']:.0f} MiB"
        worker.close()
    if ended in ("ok", "refused"):
        setattr(counts, ended, getattr(counts, ended) + 1)
        return
    place = path.relative_to(case)
    counts.failed.append(f"--seed {number} ({kind}, {place}, {how}): {ended}: {found['said'][:400]!r}")
