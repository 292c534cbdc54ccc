"""`--verify-resume`: prove that a run which is killed and resumed ends with the bits of one that was left alone."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from train.lines import comparable_lines
from train.signals import released
from train.streams import tell

STEPS = 24  # taken when the command says no --steps: enough for kills before, between and after checkpoints


def verify_resume(request) -> int:
    """Run the command twice in new folders, killing the second at a random step, and compare. Returns 0 when all is equal.

    Compared are hashes of the parameters and of the optimizer state, the ids of every batch, and every line of the record but its
    times. The folders stay for a look when something differs.
    """
    words = [word for word in sys.argv[1:] if word not in ("--verify-resume", "--verify_resume")]
    steps = request.experiment.steps if "steps" in request.given else STEPS
    every = max(2, steps // 4)
    words += ["--steps", str(steps), "--checkpoint-every", str(every), "--evaluate-every", str(every)]
    folder = Path(tempfile.mkdtemp(prefix="loupe-verify-"))
    with released(lambda: shutil.rmtree(folder, ignore_errors=True)):
        return compare_killed(request.command, words, steps, folder)


def compare_killed(command: str, words: list[str], steps: int, folder: Path) -> int:
    """The three runs in `folder`, and what comes of them; the exit code."""
    kill_at = random.SystemRandom().randint(1, steps)
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    tell(f"1/3 undisturbed: {steps} steps")
    if (code := child(command, words, undisturbed)) != 0:
        print(f"error: the undisturbed run ended with {code}", file=sys.stderr)
        return 1
    tell(f"2/3 killed at step {kill_at}")
    if (code := child(command, words, disturbed, fault=f"step:{kill_at}")) != -signal.SIGKILL:
        print(f"error: the run that was to be killed ended with {code}", file=sys.stderr)
        return 1
    tell("3/3 resumed")
    if (code := child(command, words, disturbed)) != 0:
        print(f"error: the resumed run ended with {code}", file=sys.stderr)
        return 1
    if differences := compare_runs(undisturbed, disturbed):
        print(f"error: not bit for bit: {'; '.join(differences)}; see {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    tell(f"bit for bit equal after a kill at step {kill_at}: parameters, optimizer, {steps} batches, metrics lines")
    return 0


def child(command_name: str, words: list[str], run_dir: Path, fault: str = "") -> int:
    """Run the training command in a process of its own; returns its exit code, negative for a signal."""
    command = [sys.executable, "-m", f"train.{command_name}", *words, "--run-dir", str(run_dir)]
    environment = os.environ | ({"LOUPE_FAULT": fault} if fault else {})
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    with released(process.kill):
        return process.wait()


def compare_runs(one: Path, other: Path) -> list[str]:
    """What differs between two finished runs of the same experiment, in words; empty when they are equal bit for bit."""
    found = []
    expected = digests(other)
    for name, digest in digests(one).items():
        theirs = expected[name]
        if digest != theirs:
            found.append(f"{name} {digest[:12]} against {theirs[:12]}")
    lines, others = comparable_lines(one), comparable_lines(other)
    if lines != others:
        pairs = zip(lines, others, strict=False)
        first = next((pair for pair in pairs if pair[0] != pair[1]), (len(lines), len(others)))
        found.append(f"metrics lines, first {first[0]} against {first[1]}")
    return found


def digests(run_dir: Path) -> dict[str, Any]:
    """Hashes of what the newest checkpoint of a run holds."""
    from train.checkpoint import state_digest
    from train.run import Run

    run = Run.open(run_dir)
    state = run.restored.state
    return {
        "parameters": state_digest(state.params),
        "mean of parameters": state_digest(state.mean),
        "optimizer": state_digest(state.optimizer),
        "step": state_digest((state.step, state.skips)),
        "position": str(run.restored.position),
    }
