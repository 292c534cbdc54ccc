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

from train.tracking import comparable_lines

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
    kill_at = random.SystemRandom().randint(1, steps)
    folder = Path(tempfile.mkdtemp(prefix="loupe-verify-"))
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    print(f"1/3 undisturbed: {steps} steps", flush=True)
    if (code := child(request.command, words, undisturbed)) != 0:
        print(f"error: the undisturbed run ended with {code}", file=sys.stderr)
        return 1
    print(f"2/3 killed at step {kill_at}", flush=True)
    if (code := child(request.command, words, disturbed, fault=f"step:{kill_at}")) != -signal.SIGKILL:
        print(f"error: the run that was to be killed ended with {code}", file=sys.stderr)
        return 1
    print("3/3 resumed", flush=True)
    if (code := child(request.command, words, disturbed)) != 0:
        print(f"error: the resumed run ended with {code}", file=sys.stderr)
        return 1
    if differences := compare_runs(undisturbed, disturbed):
        print(f"error: not bit for bit: {'; '.join(differences)}; see {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(f"bit for bit equal after a kill at step {kill_at}: parameters, optimizer, {steps} batches, metrics lines")
    return 0


def child(command_name: str, words: list[str], run_dir: Path, fault: str = "") -> int:
    """Run the training command in a process of its own; returns its exit code, negative for a signal."""
    command = [sys.executable, "-m", f"train.{command_name}", *words, "--run-dir", str(run_dir)]
    environment = os.environ | ({"LOUPE_FAULT": fault} if fault else {})
    return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode


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
