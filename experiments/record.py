"""Keep what a finished run measured: python -m experiments.record RUN_DIR [RUN_DIR ...]

Writes experiments/results/NAME.json from the run folder alone: the flat scores, tokens, minutes spent in steps, speed, the
evaluations over training, and what it ran on.
Nobody types a result by hand; the figures in the README are compared with these files by a test.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from train.command import run_command
from train.environment import for_others
from train.run import RunError, RunFolder
from train.tracking import read_metrics

RESULTS = Path(__file__).parent / "results"
KEPT = ("python", "processor", "cpu_count", "packages", "git_revision", "git_dirty", "command", "parameters",
        "tokens_per_step")  # fmt: skip


def main() -> int:
    """The command; returns its exit code."""
    if not sys.argv[1:]:
        raise RunError("which run? python -m experiments.record RUN_DIR")
    for name in sys.argv[1:]:
        print(f"written to {record(RunFolder(name))}")
    return 0


def record(folder: RunFolder) -> Path:
    """Write the result of one finished run; RunError if it is not finished."""
    experiment, scores = folder.experiment(), folder.read("scores.json")
    lines = read_metrics(folder.path)
    steps = [line for line in lines if "loss" in line and "event" not in line]
    if scores is None or not steps or scores.get("step", 0) < experiment.steps:
        raise RunError(f"{folder.path} is not finished; repeat the command that began it")
    environment = for_others(folder.read("environment.json") or {})
    result: dict[str, Any] = {
        "experiment": (folder.read("run.json") or {})["experiment"],
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
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['experiment']}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(run_command(main))
