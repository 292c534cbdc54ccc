"""Keep what a finished run measured: python -m experiments.record RUN_DIR [RUN_DIR ...]

Writes experiments/results/NAME.json from the run folder alone: the flat scores, tokens, minutes spent in steps, speed, the
evaluations over training, and what it ran on. Runs of one experiment that differ in their seed alone give one file, in which each
figure has its mean, its standard deviation and its value by seed.
Nobody types a result by hand; the figures in the README are compared with these files by a test.
"""

import dataclasses
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train.command import start
from train.environment import for_others
from train.run import RunError, RunFolder
from train.several import summed_up
from train.tracking import read_metrics

RESULTS = Path(__file__).parent / "results"
KEPT = ("python", "processor", "cpu_count", "packages", "git_revision", "git_dirty", "command", "parameters",
        "tokens_per_step")  # fmt: skip


def main() -> int:
    """The command; returns its exit code."""
    if not sys.argv[1:]:
        raise RunError("which run? python -m experiments.record RUN_DIR")
    named: dict[str, list[RunFolder]] = {}
    for folder in map(RunFolder, sys.argv[1:]):
        named.setdefault(name_of(folder), []).append(folder)
    found = {name: over_seeds(folders) if folders[1:] else measured(folders[0]) for name, folders in named.items()}
    RESULTS.mkdir(exist_ok=True)
    for name, result in found.items():
        path = RESULTS / f"{name}.json"
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(f"written to {path}")
    return 0


def name_of(folder: RunFolder) -> str:
    """The experiment of a run; RunError where there is no run."""
    folder.experiment()
    if (begun := folder.read("run.json")) is None:
        raise RunError(f"{folder.path} has no run.json, which names its experiment; restore it")
    return begun["experiment"]


def over_seeds(folders: Sequence[RunFolder]) -> dict[str, Any]:
    """What several finished runs measured together; RunError where they differ in more than their seeds."""
    first, *others = chosen = [folder.experiment() for folder in folders]
    if len({one.seed for one in chosen}) < len(chosen):
        raise RunError(f"two of {', '.join(str(folder.path) for folder in folders)} have one seed")
    for folder, other in zip(folders[1:], others, strict=True):
        # Packed rows are drawn, so that an epoch of another seed may be a step longer.
        steps = first.steps if first.epochs is not None else other.steps
        if dataclasses.replace(other, seed=first.seed, steps=steps) != first:
            raise RunError(f"{folders[0].path} and {folder.path} differ in more than the seed; record one of them")
    results = {str(one.seed): measured(folder) for one, folder in zip(chosen, folders, strict=True)}
    begun = next(iter(results.values()))
    same = {name: begun[name] for name in ("experiment", "environment")}
    figures = [name for name, value in begun.items() if isinstance(value, int | float) and name != "step"]
    by_seed = {name: {seed: result[name] for seed, result in results.items()} for name in figures}
    return same | {name: {**summed_up(list(values.values())), "by_seed": values} for name, values in by_seed.items()}


def measured(folder: RunFolder) -> dict[str, Any]:
    """The result of one finished run; RunError if it is not finished."""
    experiment, scores = folder.experiment(), folder.read("scores.json")
    lines = read_metrics(folder.path)
    steps = [line for line in lines if "loss" in line and "event" not in line]
    if scores is None or not steps or scores.get("step", 0) < experiment.steps:
        raise RunError(f"{folder.path} is not finished; repeat the command that began it")
    environment = for_others(folder.read("environment.json") or {})
    return {
        "experiment": name_of(folder),
        **scores,
        "tokens": sum(line["tokens"] for line in steps),
        "minutes": round(sum(line["seconds"] for line in steps) / 60, 1),
        "tokens_per_second_median": round(statistics.median(line["tokens_per_second"] for line in steps)),
        "evaluations": [
            {name: line[name] for name in ("step", "valid_loss", "masked_accuracy", "accuracy") if name in line}
            for line in lines
            if "valid_loss" in line and "event" not in line
        ],
        "environment": {name: environment[name] for name in KEPT if name in environment},
    }


if __name__ == "__main__":
    start(main)
