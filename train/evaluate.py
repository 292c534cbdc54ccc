"""Held-out scores: python -m train.evaluate RUN_DIR_OR_PUBLISHED_FOLDER [--data.source SOURCE] [--out FILE]

Writes RUN_DIR/scores.json: flat, losses in nats. That is the result of the run: the scores of another step than the newest go to
RUN_DIR/scores-step-N.json, those on another source than the run's own held-out documents to RUN_DIR/scores-SOURCE.json. Of a task
it scores the examples that the source holds out, or all where it holds out none. The scores of a published folder, perplexity or
masked-language loss on the source that is named (else on a few documents of the running Python's), or those of a classifier on
the examples that --data.source names, are only printed: nothing is ever written into it.

With --tasks sst2,piqa --shots 0,4 it scores tasks put in words instead, with --harness NAME those of lm-evaluation-harness: see
train/prompting.py, and python -m train.evaluate RUN_OR_DIR --tasks NAME --help.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train import cli
from train.command import InputError, configure_jax, new_file, start
from train.memory import keep_freed_memory
from train.options import Options
from train.registry import Declared, is_published

if TYPE_CHECKING:
    from train.run import Run


READ_OF_TEXT = frozenset({"source", "row_length", "batch_size", "window"})
READ_OF_TASKS = frozenset({"source", "task", "row_length", "stride", "bucket", "batch_size", "packed", "valid_limit"})
SIZES = frozenset({"source", "batch_size", "bucket", "packed"})  # of the arrays, not of what they say


@dataclass(frozen=True)
class EvaluateOptions(Options):
    """What `train.evaluate` takes beside the run folder and overrides of its data."""

    step: int | None = None
    """Score the checkpoint of this step instead of the newest."""
    base: str | None = None
    """Where the base lies that a run with --peft was trained on, if it has been moved."""
    mesh: str = ""
    """Devices along each kind of parallelism, as data=2,fsdp=2; empty: all of them along data."""
    out: str | None = None
    """Write the scores to this new file, not into the run folder."""
    tasks: str = ""
    """Score tasks put in words instead, such as sst2,piqa; with it come --shots, --seed and --limit."""
    harness: str = ""
    """Score tasks of lm-evaluation-harness instead, such as hellaswag,arc_easy."""


def main() -> int:
    """The command; returns its exit code."""
    keep_freed_memory()
    if in_words(sys.argv[1:]):
        from train import prompting

        return prompting.main(sys.argv[1:])
    request = cli.parse_folder(sys.argv[1:], command="evaluate", options=EvaluateOptions, published=of_published)
    configure_jax()
    assert request.folder is not None  # parse_folder insists on one
    published, options = is_published(request.folder), request.options
    free = {"data", "mesh", "out"} | (set() if published else {"step", "base"})
    if strange := sorted(path for path in request.given if path.split(".")[0] not in free):
        reason = (
            "is of runs, and this is a published folder"
            if strange[0] in ("step", "base")
            else "cannot be changed after training"
        )
        takes = "--data.…, --mesh and --out" if published else "--data.…, --step, --base, --mesh and --out"
        raise InputError(f"--{strange[0]} {reason}; train.evaluate takes {takes}")
    if published:
        check_data(request, own=False)
    if options.out:
        new_file("--out", options.out)
    scores, place = (score_published if published else score_run)(request)
    if place is not None:
        from train.lines import replace_text

        replace_text(place, json.dumps(scores, indent=2, ensure_ascii=False) + "\n")
    for key, value in scores.items():
        print(
            f"{key:24} "
            + (value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
        )
    if place is not None:
        print(f"written to {place}")
    return 0


def in_words(argv: list[str]) -> bool:
    """Whether the command line asks for tasks put in words.

    >>> in_words(["runs/a", "--tasks", "sst2"]), in_words(["runs/a", "--data.source", "files:tasks"])
    (True, False)
    """
    with cli.one_line_errors():
        return bool({"tasks", "harness"} & set(cli.split(argv, EvaluateOptions)[0]))


def score_run(request: cli.Request) -> tuple[dict[str, Any], Path | None]:
    """The scores of a run, and the file that they go to."""
    from train.run import Run

    options, source = request.options, request.experiment.data.source
    assert request.folder is not None
    other = source != request.base.data.source
    check_begun(Path(request.folder), other=other, out=options.out)
    run = Run.open(request.folder, step=options.step, mesh=options.mesh, base=options.base)
    check_data(request, own=not other)
    place = Path(options.out) if options.out else place_of(run, source if other else None)
    if run.experiment.is_task:
        return score_task(run, request, other) | {"step": run.step}, place
    documents = None
    if other:
        from data.held_out import held_out_from_source

        with needed_data(request.folder):
            documents = held_out_from_source(source, run.tokenizer)
    return run.evaluate(documents, data=request.experiment.data) | {"step": run.step}, place


def check_begun(folder: Path, *, other: bool, out: str | None) -> None:
    """InputError where nothing tells whether the examples or documents that a run holds out are those that it held out."""
    if not other and not out and not os.path.lexists(folder / "run.json"):
        raise InputError(
            f"{folder / 'run.json'} is gone, without which nothing tells whether the held-out part is what was written; "
            "restore it from a copy, or add --out FILE to score the part that lies there, unchecked"
        )


def place_of(run: "Run", source: Any = None) -> Path:
    """Where scores go: to scores.json if they are the result of the run, on its own held-out part, not on another `source`."""
    words = [] if source is None else [re.sub(r"[^A-Za-z0-9]+", "_", str(source)).strip("_")]
    if run.step != run.steps()[-1] or run.has_diverged:
        words.append(f"step-{run.step}")
    return run.folder / f"{'-'.join(['scores', *words])}.json"


def check_data(request: cli.Request, *, own: bool) -> None:
    """InputError for a change of the data that scoring does not read, or that makes other scores of the `own` held-out part.

    The size of batches may change: it is a matter of memory, but where the texts of a batch are compared with each other.
    """
    from data.tasks.choices import Similarity
    from train.tree import differences

    data, is_task = request.experiment.data, request.experiment.is_task
    told = [path for path, *_ in differences(request.base.data, data)]
    for path in told:
        if path.split(".")[0] not in (READ_OF_TASKS if is_task else READ_OF_TEXT):
            raise InputError(
                f"--data.{path} is of training only, and nothing that is scored depends on it; leave it out"
            )
    compared = {"batch_size"} if isinstance(getattr(data, "task", None), Similarity) else set()
    for path in told if own else ():
        if path.split(".")[0] in SIZES - compared:
            continue
        if is_task and path not in compared:
            raise InputError(
                f"--data.{path} is not for the examples that the run holds out; name others with --data.source"
            )
        if not request.options.out:
            raise InputError(
                f"--data.{path} scores otherwise than the run did, whose scores are in scores.json; add --out FILE"
            )


def score_task(run: "Run", request: cli.Request, other: bool) -> dict[str, Any]:
    """The scores of a fine-tuned run on its held-out examples, or on those of another source, with the labels of the run; and how
    they were counted."""
    from data.tasks.opened import positive_class
    from train.head_labels import HeadLabels, check_renamed

    own, given = (HeadLabels.of_task(one.task_data.task).labels for one in (run.experiment, request.experiment))
    if own and given and (line := check_renamed(request.name, given, own)):
        print(line)
    if not other:
        if line := positive_class(run.experiment.task_data.task):
            print(line)
        evaluator, floors = run.task_evaluator(data=request.experiment.task_data), run.folder.floors()
    else:
        from data.tasks.held_out import open_scored

        with needed_data(request.name):
            known = "sorted" if run.folder.labels_are_sorted() and "data.task.labels" not in request.given else "model"
            examples = open_scored(request.experiment.task_data, run.tokenizer, known=known)
        evaluator, floors = run.task_evaluator(examples, request.experiment.task_data), {}
    return evaluator.full(run.params) | floors | dict(evaluator.signatures)


def score_published(request: cli.Request) -> tuple[dict[str, Any], Path | None]:
    """The scores of a published folder, and the file that they go to, if one was named."""
    from train.published_run import GLANCE, WHOLE, evaluate, evaluate_task

    assert request.folder is not None
    place = Path(request.options.out) if request.options.out else None
    if request.experiment.is_task:
        if "data.source" not in request.given:
            raise InputError(
                f"{request.folder} tells labels, and is scored on examples that have them; name some with "
                "--data.source files:TRAIN|HELD_OUT, or files:FILE to score them all"
            )
        return evaluate_task(request.folder, request.experiment, mesh=request.options.mesh), place
    most = WHOLE if "data.source" in request.given else GLANCE
    print(f"{request.folder} on at most {most:,} documents of {request.experiment.data.source}")
    with needed_data("bert_tiny"):  # any experiment that reads text
        scores = evaluate(request.folder, request.experiment, mesh=request.options.mesh, most=most)
    return scores, place


def of_published(folder: str) -> Declared:
    """The experiment that scores a published folder."""
    from train.published_run import declared

    return declared(folder)


@contextlib.contextmanager
def needed_data(experiment: str) -> Iterator[None]:
    """A source that must be prepared first is named with the command that does so."""
    from data.errors import NotPrepared

    try:
        yield
    except NotPrepared as error:
        raise error.for_experiment(experiment) from None


if __name__ == "__main__":
    start(main)
