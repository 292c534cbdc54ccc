"""This checkout against another one of the same project: training steps and generation, in turn, in one run.

A change that is meant to alter nothing must not cost speed either. Each bench runs as two processes, one with the packages of
this checkout and one with those of `--against FOLDER`, with the same interpreter and therefore the same libraries; they
take turns, and medians are compared. The same program was seen to write text up to 7% slower for all its life in the process that
was started first; so every few turns two new ones are started, in the other order. A ratio above 1 means that this checkout
is the faster one.

    git worktree add ../before REVISION
    python -m experiments.bench revision --against ../before
"""

import os
import statistics
import sys
from pathlib import Path
from typing import Any

from experiments.contest import ROOT, Contestant

LIFE = 3  # turns of a process
RACES = {  # name: (module, words after "loupe", steps in a turn)
    "bert_step": ("experiments.bench_bert_step", ("unroll",), 3),
    "gpt2_step": ("experiments.bench_gpt2_step", (), 40),
    "generate_batch_1": ("experiments.bench_generate", ("1", "float32"), 2),
    "generate_batch_8": ("experiments.bench_generate", ("8", "float32"), 1),
}


def bench_revision(against: str, rounds: int = 12) -> dict[str, Any]:
    """Seconds of both sides at each race and their ratio; medians over `rounds` turns.

    Raises:
        ValueError: `against` is no checkout of this project.
    """
    from train.environment import revision

    other = Path(against).expanduser().resolve()
    if not (other / "experiments" / "contest.py").is_file():
        raise ValueError(f"--against {against} is no checkout of this project: it has no experiments/contest.py")
    found: dict[str, Any] = {"rounds": rounds, "against": revision(other)["git_revision"]}
    load_before = os.getloadavg()[0]
    for race, (module, words, steps) in RACES.items():
        found |= ratios(race, run_race(module, words, steps, rounds, {"here": ROOT, "there": other}))
        print(f"{race}: {found[f'{race}_there_over_here']}", flush=True)
    found["load_average_at_start_and_end"] = [round(load, 1) for load in (load_before, os.getloadavg()[0])]
    return found


def run_race(
    module: str, words: tuple[str, ...], steps: int, rounds: int, roots: dict[str, Path]
) -> dict[str, list[float]]:
    """Seconds of each step of one bench's own side, by the checkout whose packages it ran with."""
    seconds: dict[str, list[float]] = {name: [] for name in roots}
    for first in range(0, rounds, LIFE):
        contestants: dict[str, Contestant] = {}
        try:
            for name in list(roots)[:: 1 if first // LIFE % 2 else -1]:
                contestants[name] = Contestant(sys.executable, module, "loupe", *words, root=roots[name])
            for number in range(first, min(first + LIFE, rounds)):
                for name in list(contestants)[:: 1 if number % 2 else -1]:  # neither is always the one that goes first
                    seconds[name] += contestants[name].ask("steps", steps)
        finally:
            for contestant in contestants.values():
                contestant.close()
    return seconds


def ratios(race: str, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians in milliseconds of both sides, and what the other checkout needs over what this one needs.

    >>> ratios("step", {"here": [0.2, 0.1, 0.3], "there": [0.4, 0.1, 0.4]})["step_there_over_here"]
    2.0
    """
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    milliseconds = {f"{race}_{name}_ms": round(1e3 * taken, 2) for name, taken in medians.items()}
    return milliseconds | {f"{race}_there_over_here": round(medians["there"] / medians["here"], 3)}
