"""What a folder that has a run already asks of the command that goes on with it: the same experiment, the same beginning."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from model.config import choice_name
from train.config import Experiment
from train.diverging import REMEDIES, last_good
from train.lines import read_metrics
from train.options import FinetuneOptions, RunOptions
from train.run import RunError, RunFolder
from train.selection import CLOSING
from train.tree import differences


def agree(folder: RunFolder, experiment: Experiment, request) -> Experiment:
    """The experiment to go on with in a folder that has a run already; RunError names every field that stands in the way."""
    begun, name = folder.read("run.json") or {}, request.name
    if begun.get("experiment", name) != name:
        raise RunError(
            f"--run-dir {folder.path} holds a run of {begun['experiment']}, not of {name}; name another folder"
        )
    old = folder.experiment()
    experiment = experiment.as_begun(old, request.given)
    diverged = last_good(read_metrics(folder.path)) is not None
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
    return lines


def agreed_init(folder: RunFolder, options: RunOptions) -> str | None:
    """The run or published folder whose weights this one starts from: what it began with, even where that is not said again."""
    if not folder.exists():
        return options.init
    begun, init = (folder.read("run.json") or {}).get("init"), options.init
    if init is not None and (begun is None or Path(begun).resolve() != Path(init).resolve()):
        raise RunError(
            f"--run-dir {folder.path} holds a run that differs in init: was {begun}, now {init}; name another folder"
        )
    return begun


def agreed_fresh(folder: RunFolder, options: RunOptions) -> bool:
    """Whether the weights are drawn and only shape and vocabulary are those of `init`; RunError where the run began otherwise."""
    asked = isinstance(options, FinetuneOptions) and options.fresh
    if not folder.exists():
        return asked
    begun = bool((folder.read("run.json") or {}).get("fresh"))
    if asked and not begun:
        raise RunError(f"--run-dir {folder.path} holds a run that was not begun with --fresh; name another folder")
    if begun and not asked and options.init is not None:
        raise RunError(
            f"--run-dir {folder.path} holds a run that was begun with --fresh; say so, or name another folder"
        )
    return begun


def is_finished(folder: RunFolder, experiment: Experiment) -> bool:
    """Whether all steps of the experiment have been taken and scored."""
    done = [line for line in read_metrics(folder.path) if line.get("event") == "done"]
    there = set(folder.read("scores.json") or {})
    scored = "valid_loss" in there and bool(there & set(CLOSING))  # a result that is lost is made again
    return bool(done) and (done[-1]["step"] >= experiment.steps or done[-1].get("early", False)) and scored
