"""Fine-tuning against Hugging Face's Trainer: python -m experiments.bench_finetune [--tasks sst2,wikiann,squad2] [--seeds 3] ...

Both begin with the weights of all-MiniLM-L6-v2 and see the same examples, from the same files; batches of 16 in random order,
padded to their longest row rounded up to 16; AdamW at 5e-5 with weight decay 0.01, clipped at 1, rising over a tenth of the
steps and falling to zero; dropout 0.1 at the same places; the same number of steps. Answers take more to be found: batches of
8, at 2e-4, the rows of 100 batches put in order of length first. What either predicts is scored by one scorer, and so
is the floor, which looks at no text: the commonest label, no tag, no answer. The sides take turns, seed by seed, each alone on
the machine.

Two means agree where they lie within two standard errors of their difference. Steps a second are of the median step, so that
compiling is left out; the seconds of all steps, compiling included, stand beside them. They differ in the draw of the head, the
order of the examples and the dropout, which no seed can make equal, and in one step of warm-up. Rows and labels are equal to
the letter. Speed wants a quiet machine: torch's threads are hit hard by other programs, and the load stands in the result.
What is found of a task goes to experiments/results/bench_finetune_TASK.json when its last seed is through.
"""

import argparse
import dataclasses
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.bench import RESULTS, positive, write
from experiments.contest import torch_versions
from train.command import InputError, configure_jax, start
from train.memory import keep_freed_memory


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a task is trained on, by both sides: `rows` a batch, and in order of length within so many batches."""

    epochs: float = 3.0
    peak: float = 5e-5
    rows: int = 16
    grouped: int = 1


SETTINGS = {
    "sst2": Setting(),
    "wikiann": Setting(),
    # Contexts differ so much in length that half of a random batch would be padding.
    "squad2": Setting(epochs=1.0, peak=2e-4, rows=8, grouped=100),
}
BUCKET = 16
LOUPE, PEER = "loupe", "hugging_face"


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench_finetune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter with torch, transformers, accelerate"
    )
    parser.add_argument("--tasks", default=",".join(SETTINGS), help="which, with commas between")
    parser.add_argument("--examples", type=positive, default=2_000, help="to train on")
    parser.add_argument("--held-out", type=positive, default=1_000, help="to score, at most")
    parser.add_argument("--seeds", type=positive, default=3, help="how many, from 0 on")
    parser.add_argument("--epochs", type=float, help="default 3, and 1 for squad2")
    parser.add_argument("--peak", type=float, help="learning rate; default 5e-5, and 2e-4 for squad2")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args(words)
    tasks = [word.strip() for word in options.tasks.split(",") if word.strip()]
    if strange := [name for name in tasks if name not in SETTINGS]:
        raise InputError(f"--tasks {options.tasks}: {strange[0]} is not one of {', '.join(SETTINGS)}")
    if not tasks:
        raise InputError(f"--tasks names none; use some of {', '.join(SETTINGS)}")
    if options.epochs is not None and not 0 < options.epochs < math.inf:
        raise InputError(f"--epochs {options.epochs} must be more than 0")
    if options.peak is not None and not 0 < options.peak < 1:
        raise InputError(f"--peak {options.peak} must be more than 0 and less than 1")
    check_needed(tasks)
    keep_freed_memory()
    configure_jax()
    for name in tasks:
        setting = SETTINGS[name]
        asked = {
            "examples": options.examples,
            "held_out": options.held_out,
            "epochs": setting.epochs if options.epochs is None else options.epochs,
            "peak": setting.peak if options.peak is None else options.peak,
            "seeds": options.seeds,
            "rows": setting.rows,
            "grouped": setting.grouped,
        }
        found = bench_finetune(name, asked, options.peer_python)
        write(f"finetune_{name}", found, options.out / f"bench_finetune_{name}.json")
    return 0


def check_needed(tasks: Sequence[str]) -> None:
    """DataError with one line that names all that is not there."""
    from experiments.bench_finetune_data import FILES
    from experiments.local_data import check_there

    check_there(*(path for name in tasks for path in FILES[name]))


def bench_finetune(name: str, asked: dict[str, Any], peer_python: str) -> dict[str, Any]:
    """Scores and speed of both on a task; `asked`: examples, held_out, epochs, peak, seeds, rows and grouped."""
    from experiments.bench_finetune_data import SCORES, floor, score, write_examples
    from experiments.local_data import minilm

    model, versions = minilm(), torch_versions(peer_python)
    if not versions:
        print(
            "!!! NO PEER: torch and transformers are not installed here, so that only our own side is measured.\n"
            "!!! pip install torch==2.13.0 transformers accelerate, or name an interpreter that has them: "
            "--peer-python PATH",
            file=sys.stderr,
        )
    load_before = os.getloadavg()[0]
    if load_before > 0.5:  # torch's threads wait for each other at every operation: ten times slower were seen
        print(
            f"!!! THE MACHINE IS BUSY (load average {load_before:.1f}): scores will hold, but no speed that is measured now.",
            file=sys.stderr,
        )
    sides: dict[str, list[dict[str, Any]]] = {LOUPE: []} | ({PEER: []} if versions else {})
    with tempfile.TemporaryDirectory(prefix="loupe-bench-") as scratch:
        folder = Path(scratch) / name
        data = write_examples(name, folder, asked["examples"], asked["held_out"])
        data = dataclasses.replace(data, batch_size=asked["rows"], bucket=BUCKET, grouped=asked["grouped"])
        for seed in range(asked["seeds"]):
            ours, settings = train_ours(name, data, model, seed, asked, folder)
            scores = {score: ours["scores"][score] for score in SCORES[name]}
            sides[LOUPE].append({"scores": scores, "seconds": ours["seconds"]})
            if versions:
                theirs = train_theirs(peer_python, folder, settings, seed)
                scores = score(name, folder, theirs["predictions"])
                sides[PEER].append({"scores": scores, "seconds": theirs["seconds"]})
            for known in SCORES[name]:
                shown = "  ".join(f"{side} {runs[-1]['scores'][known]:.4f}" for side, runs in sides.items())
                print(f"{name}, seed {seed}: {known} {shown}", flush=True)
        lowest = round(floor(name, folder), 6)
    busy = {"load_average_at_start_and_end": [round(load, 1) for load in (load_before, os.getloadavg()[0])]}
    return {"task": name, "score": SCORES[name][0]} | asked | {"floor": lowest} | compared(sides) | busy | versions


def train_ours(
    name: str, data: Any, model: str, seed: int, asked: dict[str, Any], folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One run of ours: its scores and the seconds of its steps; and the settings for the other side."""
    from experiments.bench_finetune_data import describe
    from train.cli import Request
    from train.fine_tuning import fine_tuning
    from train.lines import read_metrics
    from train.options import FinetuneOptions
    from train.run import RunFolder
    from train.session import train_run

    never = 1_000_000
    declared = fine_tuning(
        data, epochs=asked["epochs"], peak=asked["peak"], evaluate_every=never, checkpoint_every=never, seed=seed
    )
    run = RunFolder(folder / f"run-{seed}")
    options = FinetuneOptions(run_dir=str(run.path), init=model, keep_last=1)
    request = Request(f"{name}, seed {seed}", declared, declared, options, frozenset({"seed"}))
    if code := train_run(request, time.perf_counter()):
        raise SystemExit(code)
    lines = [line for line in read_metrics(run.path) if "loss" in line and "event" not in line]
    scores, experiment = run.read("scores.json") or {}, run.experiment()
    shutil.rmtree(run.path)  # hundreds of megabytes of a checkpoint
    optimizer: Any = experiment.optimizer
    settings = describe(data) | {
        "model": model,
        "steps": experiment.steps,
        "peak": optimizer.schedule.peak,
        "warmup_steps": round(optimizer.schedule.warmup_fraction * experiment.steps),
        "weight_decay": optimizer.weight_decay,
        "epsilon": optimizer.epsilon,
        "clip_norm": optimizer.clip_norm,
    }
    return {"scores": scores, "seconds": [line["seconds"] for line in lines]}, settings


def train_theirs(python: str, folder: Path, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """One run of the peer, in a process of its own: its predictions and the seconds of its steps."""
    (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    root = Path(__file__).parents[1]
    command = [python, "-m", "experiments.bench_finetune_peer", str(folder), str(seed)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the peer ended with exit code {done.returncode}:\n{done.stderr[-2_000:]}")
    return json.loads((folder / "peer.json").read_text())


def compared(sides: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean, spread and standard error of each side, whether they agree, and how fast they are; further scores by their names.

    >>> runs = [{"scores": {"f1": 0.90}, "seconds": [9.0, 1.0, 1.0]}, {"scores": {"f1": 0.92}, "seconds": [1.0, 1.0]}]
    >>> slower = [{"scores": {"f1": 0.91}, "seconds": [2.0, 2.0]}, {"scores": {"f1": 0.93}, "seconds": [2.0]}]
    >>> found = compared({"loupe": runs, "hugging_face": slower})
    >>> found["difference"], found["standard_error"], found["within_2_standard_errors"], found["loupe_over_hugging_face"]
    (-0.01, 0.014142, 'yes', 2.0)
    """
    first, *further = sides[LOUPE][0]["scores"]
    found: dict[str, Any] = agreement(sides, first)
    for side, runs in sides.items():
        found[side] |= speed(runs)
    if PEER in sides:
        ratio = found[LOUPE]["steps_per_second"] / found[PEER]["steps_per_second"]
        found["loupe_over_hugging_face"] = round(ratio, 3)
    return found | {name: agreement(sides, name) for name in further}


def agreement(sides: dict[str, list[dict[str, Any]]], name: str) -> dict[str, Any]:
    """A score of each side over its seeds, and how far apart their means are; no standard error of one seed."""
    found: dict[str, Any] = {side: spread([run["scores"][name] for run in runs]) for side, runs in sides.items()}
    if PEER not in sides:
        return found
    ours, theirs = found[LOUPE], found[PEER]
    found["difference"] = round(ours["mean"] - theirs["mean"], 6)
    if ours["standard_error"] is not None and theirs["standard_error"] is not None:
        error = math.hypot(ours["standard_error"], theirs["standard_error"])
        found["standard_error"] = round(error, 6)
        found["within_2_standard_errors"] = "yes" if abs(found["difference"]) <= 2 * error else "no"
    return found


def spread(scores: Sequence[float]) -> dict[str, Any]:
    """A score over the seeds; spread and standard error are None for one seed."""
    deviation = statistics.stdev(scores) if len(scores) > 1 else None
    return {
        "per_seed": [round(value, 6) for value in scores],
        "mean": round(statistics.fmean(scores), 6),
        "spread": None if deviation is None else round(deviation, 6),
        "standard_error": None if deviation is None else round(deviation / math.sqrt(len(scores)), 6),
    }


def speed(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Steps of a run, how many a second at the median, and what all of all seeds took, compiling included."""
    seconds = [taken for run in runs for taken in run["seconds"]]
    return {
        "steps": len(runs[0]["seconds"]),
        "steps_per_second": round(1 / statistics.median(seconds), 4),
        "seconds_of_all_steps": round(sum(seconds), 1),
    }


if __name__ == "__main__":
    start(main)
