"""SIGKILL at random moments of a run that is repeated until it ends; the end must have the bits of one that was left alone.

A moment lies anywhere from the start of the process to its first step, or from that to the end of the run: imports, preparing,
compiling, steps, saves and the closing files are all hit. A folder that has come to its end is compared, and the next one begun.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from experiments.attack.folders import SPECK
from train.lines import comparable_lines
from train.verify import compare_runs

STEPS, EVERY = 60, 5
FIRST = "s after the start"  # what the command says at its first step


@dataclass
class Ended:
    """How a process ended: code, what it said, seconds in all, and until its first step; None where it took none."""

    code: int
    said: str
    startup: float | None
    seconds: float


def attack(tries: int = 100, seed: int = 0) -> int:
    """SIGKILL at random moments of a run that is repeated until it ends; parameters and record must be those undisturbed."""
    rng, count, faults, folders = random.Random(seed), Counter(), [], 1
    with tempfile.TemporaryDirectory(prefix="loupe-kills-") as name:
        root = Path(name)
        environment = os.environ | {"LOUPE_CACHE": os.environ.get("LOUPE_CACHE", str(root / "cache"))}
        (root / "speck.py").write_text(SPECK.replace("steps=6", f"steps={STEPS}").replace("every=2", f"every={EVERY}"))
        right = root / "undisturbed"
        begun = run(root, right, environment)
        assert begun.code == 0 and begun.startup is not None, begun.said
        startup, rest = begun.startup, max(1.0, begun.seconds - begun.startup)
        kills, newest = 0, 0
        while kills < tries:
            folder = root / f"killed-{folders}"
            before = saved(folder)
            early = rng.random() < 0.5
            ended = run(root, folder, environment, rng.uniform(0, startup if early else rest), after_first=not early)
            startup = ended.startup or startup
            if ended.code == -signal.SIGKILL:
                kills += 1
                newest = saved(folder)
                count[moment(ended, folder)] += 1
                if newest < before:
                    faults.append(f"kill {kills}: checkpoint {before} is gone")
                mine, theirs = lines(folder, newest), lines(right, newest)
                # The last checkpoint comes before the closing scores, which are made again.
                if mine != (theirs[: len(mine)] if newest == STEPS else theirs):
                    faults.append(f"kill {kills}: the record differs up to step {newest}")
                if "Traceback" in ended.said:
                    faults.append(f"kill {kills}: {ended.said[-2_000:]}")
            elif ended.code == 0:
                faults += [f"folder {folders}: {difference}" for difference in compare_runs(folder, right)]
                folders += 1
            else:
                faults.append(f"after kill {kills}: exit code {ended.code}: {ended.said[-2_000:]}")
                folders += 1
        ended = run(root, root / f"killed-{folders}", environment)
        if ended.code != 0:
            faults.append(f"the last folder: exit code {ended.code}: {ended.said[-2_000:]}")
        else:
            faults += [f"folder {folders}: {found}" for found in compare_runs(root / f"killed-{folders}", right)]
    print("\n".join(faults))
    print(f"\n{kills} kills, seed {seed}, over {folders} runs of {STEPS} steps")
    for where, times in sorted(count.items()):
        print(f"  {where:32} {times:4d}")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


def run(
    root: Path, folder: Path, environment: dict[str, str], moment: float | None = None, *, after_first: bool = False
) -> Ended:
    """Go on with a folder, and kill it so many seconds after its start or its first step, unless it has ended by then."""
    command = [sys.executable, "-m", "train.pretrain", "--exp", str(root / "speck.py"), "--run-dir", str(folder)]
    output, first = root / "said", None
    with output.open("w") as file:
        begin = time.monotonic()
        process = subprocess.Popen(
            [*command, "--workers", "0"], env=environment, stdout=file, stderr=file, start_new_session=True
        )
        while process.poll() is None:
            now = time.monotonic()
            if first is None and FIRST in output.read_text(errors="replace"):
                first = now
            since = first if after_first else begin
            if moment is not None and since is not None and now - since >= moment:
                process.kill()
            time.sleep(0.01)
    seconds = time.monotonic() - begin
    return Ended(
        process.returncode, output.read_text(errors="replace"), None if first is None else first - begin, seconds
    )


def moment(ended: Ended, folder: Path) -> str:
    """Where a kill fell, by what the process had said."""
    if not ended.said:
        return "before the first line"
    if ended.startup is None:
        return "before the first step"
    writing = any((folder / "checkpoints").glob("*tmp*"))
    return "in training, a save under way" if writing else "in training"


def saved(folder: Path) -> int:
    """The newest checkpoint that is complete."""
    return max((int(path.name) for path in folder.glob("checkpoints/*") if path.name.isdigit()), default=0)


def lines(folder: Path, last: int) -> list[dict]:
    """What the record holds of the steps up to `last`."""
    return [line for line in comparable_lines(folder) if line["step"] <= last]
