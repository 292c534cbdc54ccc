"""What a folder that has a run already asks of the command that goes on with it: the same experiment, the same beginning."""

import dataclasses
import os
from collections.abc import Collection
from typing import Any

from data.cache import user_path
from model.config import choice_name
from model.peft import AdaLoRA
from train.base import Start
from train.config import Experiment
from train.diverging import REMEDIES, last_good
from train.evaluator import Evaluator
from train.folder import BEGUN
from train.lines import read_metrics
from train.options import FinetuneOptions, RunOptions
from train.run import RunError, RunFolder
from train.selection import CLOSING
from train.task_evaluator import TaskEvaluator
from train.tree import differences


def agree(folder: RunFolder, experiment: Experiment, request) -> Experiment:
    """The experiment to go on with in a folder that has a run already; RunError names every field that stands in the way."""
    begun, name = folder.begun(), request.name
    if begun.get("experiment", name) != name:
        raise RunError(
            f"--run-dir {folder.path} holds a run of {begun['experiment']}, not of {name}; name another folder"
        )
    old = folder.experiment()
    experiment = experiment.as_begun(old, request.given)
    diverged = last_good(folder.path) is not None
    if refusals := resume_refusals(old, experiment, REMEDIES if diverged else ()):
        raise RunError(
            f"--run-dir {folder.path} holds a run that differs in {'; '.join(refusals)}; "
            "repeat the command that began it, or name another folder"
        )
    return experiment


def compare(old: Any, new: Any, may_change: Collection[str] = ()) -> list[str]:
    """One line for each field in which two experiments differ, leaving out the dotted paths in `may_change`.

    A path in `may_change` covers everything below it. ["optimizer.schedule.peak: was 0.0005, now 0.001"]
    """
    return [
        f"{path}: was {before}, now {after}"
        for path, before, after in differences(old, new)
        if not any(path == free or path.startswith(f"{free}.") for free in may_change)
    ]


def resume_refusals(old: Experiment, new: Experiment, may_change: Collection[str] = ()) -> list[str]:
    """One line for each field that stands in the way of going on with the run of `old` as `new`; empty if nothing does.

    `may_change` are fields that may differ: what is advised to a run that has diverged. The number of steps may change where the
    learning rate does not depend on it. Mesh, tracking and logging may always
    change: they are options of the run, not fields of the experiment.
    """
    schedule = choice_name(type(new.optimizer.schedule))
    lines = compare(old, new, {"steps", "accelerator_steps", *may_change})
    if old.steps != new.steps and (new.optimizer.schedule.depends_on_steps or old.optimizer.schedule.depends_on_steps):
        lines.append(f"steps: was {old.steps}, now {new.steps} (the {schedule} schedule is drawn over all steps)")
    elif old.steps != new.steps and new.selection.average is not None:
        lines.append(f"steps: was {old.steps}, now {new.steps} (selection.average is a share of all steps)")
    elif old.steps != new.steps and getattr(new.optimizer, "depends_on_steps", False):
        lines.append(f"steps: was {old.steps}, now {new.steps} (optimizer.alpha_warmup is a share of all steps)")
    elif old.steps != new.steps and isinstance(new.peft, AdaLoRA):
        lines.append(f"steps: was {old.steps}, now {new.steps} (peft=ada_lora takes its ranks away over all steps)")
    return lines


def agreed_start(folder: RunFolder, options: RunOptions) -> Start:
    """What the run starts from: where it is begun already, what it began with, even if that is not said again.

    The same weights may lie under another name by now, which `Start.asked` says then. RunError where the run began otherwise.
    """
    fresh = isinstance(options, FinetuneOptions) and options.fresh
    if not folder.exists():
        return Start(folder.path, options.init, fresh)
    begun = folder.begun()
    if not begun and folder.experiment().peft is None:
        raise RunError(
            f"{folder / BEGUN} is gone, which says what the run began from, so it cannot go on; restore it from a copy, or begin "
            f"another run from its weights, with --init {folder.path} and another --run-dir"
        )
    start = Start.read(folder.path, begun)
    if options.init is not None:
        same = start.init is not None and is_same(start.init, options.init)
        if not same and start.base is None:
            raise RunError(
                f"--run-dir {folder.path} holds a run that differs in init: was {start.init}, now {options.init}; "
                "name another folder"
            )
        if start.base is not None and not same and not start.base.is_at(options.init):
            start = dataclasses.replace(start, asked=options.init)
    if fresh and not start.fresh:
        raise RunError(f"--run-dir {folder.path} holds a run that was not begun with --fresh; name another folder")
    if start.fresh and not fresh and options.init is not None:
        raise RunError(
            f"--run-dir {folder.path} holds a run that was begun with --fresh; say so, or name another folder"
        )
    return start


def is_same(one: str, other: str) -> bool:
    """Whether two paths lead to the same place, however they are spelled.

    >>> is_same("runs/a", "./runs/../runs/a/"), is_same("runs/a", "runs/b")
    (True, False)
    """
    return user_path(one).resolve() == user_path(other).resolve()


def is_finished(folder: RunFolder, experiment: Experiment) -> bool:
    """Whether all steps of the experiment have been taken and scored."""
    done = [line for line in read_metrics(folder.path) if line.get("event") == "done"]
    return bool(done) and (done[-1]["step"] >= experiment.steps or done[-1].get("early", False))


def lost_results(folder: RunFolder, experiment: Experiment) -> dict[str, str]:
    """Which files of the result of a finished run are gone or damaged, and how. They are made again from the checkpoint."""
    samples = TaskEvaluator.samples_file if experiment.is_task else Evaluator.samples_file
    lost = {} if (folder / samples).is_file() else {samples: "is gone"}
    if not os.path.lexists(folder / "scores.json"):
        return {"scores.json": "is gone"} | lost
    try:
        scores = folder.read("scores.json") or {}
    except RunError:
        return {"scores.json": "is damaged"} | lost
    known = type(scores.get("valid_loss")) in (int, float) and not scores.keys().isdisjoint(CLOSING)
    return lost if known else {"scores.json": "does not hold the closing scores"} | lost
