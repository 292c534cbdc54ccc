"""A run whose loss is not finite any more: which of its checkpoints are good, and what may change when it goes on."""

import math
import statistics
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from train.lines import METRICS_FILE, parse

# What Diverged advises to change, and what a command that goes on from the last good checkpoint may therefore change.
REMEDIES = (
    "optimizer.schedule.peak",
    "optimizer.schedule.warmup_steps",
    "optimizer.schedule.warmup_fraction",
    "optimizer.schedule.rise",
    "optimizer.matrix_peak",
    "optimizer.function",
    "optimizer.eval_params",
    "guard.max_skips",
)
EVENT = "diverged"
MARK = f'"{EVENT}"'.encode()
WINDOW = 6  # steps whose median is the level of the loss
NEAR = 0.2  # how far above its best, as a share of it, a level may be


class Diverged(RuntimeError):
    """The guard skipped too many steps in a row, or a held-out loss is not finite; the message names the step and the last good
    checkpoint."""

    exit_code = 1


def good_steps(steps: Collection[int], lines: Iterable[Mapping[str, Any]]) -> list[int]:
    """Of the steps with a checkpoint those at which the run was sound, by the lines of its record.

    A loss or gradient that is not finite is skipped, so that parameters stay finite; but they may have grown without bound
    before that. So the loss around a checkpoint, the step after it included, must be finite and near the best until then: above
    it by no more than a fifth of it, or than half of what had been learnt.

    >>> losses = [8, 7, 6, 5, 5, 5, 5, 5, 5, 90, 1e9, 1e20, 1e30, None, None]
    >>> good_steps([4, 8, 12], [{"step": n, "loss": loss, "batch_hash": ""} for n, loss in enumerate(losses, 1)])
    [4, 8]
    """
    losses: dict[int, float] = {}
    for line in lines:
        if "batch_hash" in line and "event" not in line:
            loss = line.get("loss")
            losses[line["step"]] = math.inf if loss is None else float(loss)

    def level(step: int) -> float:
        near = [losses[at] for at in range(step - WINDOW + 2, step + 2) if at in losses]
        after = losses.get(step + 1, 0.0)
        return statistics.median(near) if near and math.isfinite(after) else math.inf

    levels = {step: level(step) for step in sorted({*losses, *steps})}
    first = next((value for value in levels.values() if math.isfinite(value)), math.inf)
    good, best = [], math.inf
    for step, value in levels.items():
        best = min(best, value)
        room = max(NEAR * abs(best), (first - best) / 2) if math.isfinite(best) else 0.0
        after = losses.get(step + 1, value)
        if (
            step in steps
            and math.isfinite(value)
            and value <= best + room
            and after <= first + max(NEAR * abs(first), room)
        ):
            good.append(step)
    return good


def last_good(folder: Path) -> int | None:
    """The step of the last good checkpoint of a run that has diverged, 0 where it has none; None for any other run.

    The event is dropped with all lines behind that checkpoint as soon as the run goes on.
    """
    path, found = folder / METRICS_FILE, None
    if not path.is_file():
        return None
    with path.open("rb") as file:
        for raw in file:  # only the lines that may be it are read as JSON: a record may have millions
            if MARK in raw and (line := parse(raw)) is not None and line.get("event") == EVENT:
                found = line
    good = found and found.get("good")
    return None if found is None else good if type(good) is int else 0
