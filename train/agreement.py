"""What a folder that has a run already asks of the command that goes on with it: the same experiment, the same beginning."""

from pathlib import Path

from train.config import Experiment, resume_refusals
from train.lines import read_metrics
from train.options import FinetuneOptions, RunOptions
from train.run import RunError, RunFolder
from train.selection import CLOSING


def agree(folder: RunFolder, experiment: Experiment, request) -> Experiment:
    """The experiment to go on with in a folder that has a run already; RunError names every field that stands in the way."""
    begun, name = folder.read("run.json") or {}, request.name
    if begun.get("experiment", name) != name:
        raise RunError(
            f"--run-dir {folder.path} holds a run of {begun['experiment']}, not of {name}; name another folder"
        )
    old = folder.experiment()
    experiment = experiment.as_begun(old, request.given)
    if refusals := resume_refusals(old, experiment):
        raise RunError(
            f"--run-dir {folder.path} holds a run that differs in {'; '.join(refusals)}; "
            "repeat the command that began it, or name another folder"
        )
    return experiment


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
