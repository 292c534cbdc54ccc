"""A run, opened: `Run.open(folder)` is config, weights and tokenizer as one object, on whatever devices there are.

    config.json         the resolved experiment               base.json        the same as declared, for the report's diff
    environment.json    versions, devices, revision, command  data.json        fingerprint and sizes of the data
    tokenizer/          the vocabulary                        held_out.jsonl.gz  the documents that training never saw
    checkpoints/STEP/   state and data position               metrics.jsonl    one line a step
    scores.json  samples.json  report.html                    the result

Everything after training needs this folder and nothing else, but for the base of a run that trains few parameters. What lies
where, and how damage is seen, is the business of train/folder.py.
"""

import dataclasses
import os
import typing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from flax import nnx

from data.config import TextData
from data.documents import Documents
from data.held_out import HELD_OUT, open_held_out
from data.tasks.config import TaskData
from data.tasks.held_out import HELD_OUT_TASK, open_held_out_task
from data.tasks.opened import TaskSet
from data.tokenizers import Tokenizer, load_tokenizer
from model.peft import merge
from train.base import Start
from train.checkpoint import Checkpoints, Keep, Restored
from train.config import Experiment
from train.diverging import last_good
from train.evaluator import Evaluator
from train.folder import BEGUN
from train.folder import RunError as RunError
from train.folder import RunFolder as RunFolder
from train.inspectable import Inspectable
from train.registry import is_published
from train.room import check_room, check_rows
from train.sharding import MeshShape, make_mesh
from train.state import Built, Params, build
from train.streams import warn

if TYPE_CHECKING:
    from train.predicting import Asked, Predicted
    from train.pretrained import Opened
    from train.task_evaluator import TaskEvaluator


@dataclass
class Run(Inspectable):
    """A run, opened for looking at and working with: `Run.open("runs/bert_small")`.

    Attributes:
        folder: where it lies.
        experiment: what ran.
        tokenizer: its vocabulary.
        restored: the checkpoint in use: step, state and position.
        built: structure of the model, and the devices that it lies on; `run.model` is the model itself.
        mesh, base: as they were given when it was opened.
    """

    folder: RunFolder
    experiment: Experiment
    tokenizer: Tokenizer
    restored: Restored
    built: Built
    mesh: str = ""
    base: str | Path | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        step: int | None = None,
        mesh: str = "",
        *,
        base: str | Path | None = None,
        strict: bool = False,
    ) -> "Run":
        """Open a run folder at its newest usable checkpoint, or at `step`, on the devices of this machine.

        Newer ones that are damaged, or were written as the run diverged, are named on stderr and passed over; with `strict` they
        are an error. `base` is where the weights lie that a run with few trained parameters began from, if they are no longer
        where they were; they must be the same.

        A published folder, or the name of one on the Hugging Face hub, is opened too, as train/pretrained.py gives it: a model
        with its tokenizer, to be looked into alike, but without an experiment or checkpoints.

        Raises:
            RunError: it is no run folder, or has no checkpoint yet, or none of that step, or it has diverged and none is good.
            CheckpointError: the checkpoint is damaged.
            BaseError: the base is gone, or has other weights than those that the run was trained on.
        """
        if is_published(path):
            from train.pretrained import open_any  # which knows of runs itself

            return typing.cast(Run, open_any(path, step=step, mesh=mesh, base=base))
        if step is not None and (isinstance(step, bool) or not isinstance(step, int | np.integer)):
            raise RunError(f"step={step!r} is no step; give a whole number, as Run.steps() lists them")
        folder = RunFolder(path)
        experiment = folder.experiment()
        if not os.path.lexists(folder / BEGUN):
            warn(f"warning: {folder / BEGUN} is gone; nothing tells whether the files of the run are what was written")
        folder.check("tokenizer")
        tokenizer = load_tokenizer(folder / "tokenizer")
        built = build(experiment, make_mesh(MeshShape.parse(mesh)), to_train=False)
        check_room(built)
        checkpoints = Checkpoints(folder.path, Keep(), read_only=True)
        if step is not None and step not in (there := checkpoints.steps()):
            raise RunError(
                f"{folder.path} has no checkpoint of step {step}; there are {', '.join(map(str, there)) or 'none yet'}"
            )
        good = last_good(folder.path)
        passed = passed_over(folder.path, checkpoints.steps(), good) if step is None else []
        restored = checkpoints.restore(built.target, step, newest=good if step is None else None)
        checkpoints.close()
        if restored is None:
            raise RunError(f"{folder.path} has no checkpoint yet; train it further first")
        if base is not None and built.parts.trained is None:
            raise RunError(f"{folder.path} holds all of its weights and needs no base; leave --base out")
        passed += [f"checkpoint {number} is damaged ({reason})" for number, reason in restored.damaged]
        if passed and strict:
            raise RunError(f"{folder.path}: {'; '.join(passed)}; --step {restored.step} takes the one before")
        if passed:
            warn(f"warning: {folder.path}: {'; '.join(passed)}; using step {restored.step} instead")
        elif good is not None and restored.step > good:
            warn(f"warning: {folder.path}: checkpoint {restored.step} was written as the run diverged{better(good)}")
        if built.parts.trained is not None:  # the others are where they came from
            from train.starting import first_state

            start = Start.read(folder.path, folder.begun(), None if base is None else str(base))
            first = first_state(experiment, built, start, tokenizer, say=lambda line: None)
            restored = restored._replace(state=restored.state._replace(frozen=first.state.frozen))
        return cls(folder, experiment, tokenizer, restored, built, mesh, base)

    def steps(self) -> list[int]:
        """The checkpoints that were kept."""
        checkpoints = Checkpoints(self.folder.path, Keep(), read_only=True)
        try:
            return checkpoints.steps()
        finally:
            checkpoints.close()

    def at(self, step: int) -> "Run":
        """The same run at another of its checkpoints. RunError for a step that is none, or has no checkpoint."""
        return Run.open(self.folder.path, step, self.mesh, base=self.base)

    @cached_property
    def model(self) -> nnx.Module:
        """The model with the weights of this checkpoint."""
        return self.built.parts.merge(self.params)

    @property
    def step(self) -> int:
        """The step of this checkpoint."""
        return self.restored.step

    @property
    def has_diverged(self) -> bool:
        """Whether the run has diverged and has not gone on since: it then has no result."""
        return last_good(self.folder.path) is not None

    @property
    def params(self) -> Params:
        """The weights as nested dicts of arrays."""
        return self.restored.state.weights

    @property
    def held_out(self) -> Documents:
        """The documents kept from training, of a run that pre-trained on text."""
        self.folder.check(HELD_OUT)
        return open_held_out(self.folder.path, self.tokenizer)

    def evaluator(self, documents: Documents | None = None, data: TextData | None = None) -> Evaluator:
        """What scores parameters on the held-out documents, or on others; rows are shaped by `data`."""
        if self.experiment.is_task:
            raise RunError(f"{self.folder.path} is of a task, and is scored on examples: use task_evaluator")
        experiment = dataclasses.replace(self.experiment, data=data or self.experiment.data, accumulate=1)
        check_rows(experiment, self.built.mesh)
        return Evaluator(self.built, experiment, self.tokenizer, self.held_out if documents is None else documents)

    def task_evaluator(self, examples: TaskSet | None = None, data: TaskData | None = None) -> "TaskEvaluator":
        """What scores parameters on the held-out examples of a task, or on others that were opened with its labels; batches are
        shaped by `data`.
        """
        from train.task_evaluator import TaskEvaluator

        if examples is None:
            self.folder.check(HELD_OUT_TASK)
            quiet = lambda line: None  # noqa: E731
            examples = open_held_out_task(self.folder.path, self.experiment.task_data, self.tokenizer, say=quiet)
        experiment = dataclasses.replace(self.experiment, data=data or self.experiment.data, accumulate=1)
        check_rows(experiment, self.built.mesh)
        return TaskEvaluator(self.built, experiment, examples, self.tokenizer)

    def merged(self) -> "Opened":
        """The model with the few parameters that the run trained folded into its weights, to be looked into like the run.

        PeftError for what cannot be folded; the model as it is where all parameters were trained.
        """
        from train.pretrained import Opened  # which knows of runs itself

        plain = self.model if self.experiment.peft is None else merge(self.model)
        return Opened(plain, self.tokenizer, self.experiment.model, self.folder.path.name, run=self)

    @overload
    def predict(self, texts: "Asked") -> "Predicted": ...
    @overload
    def predict(self, texts: "list[Asked]") -> "list[Predicted]": ...
    def predict(self, texts: "Asked | list[Asked]") -> "Predicted | list[Predicted]":
        """What a fine-tuned run says of a text, or of a list of them: its label, and the probability of every label.

            run.predict("Return a new window.").label

        A pair of texts is a tuple. RunError for a run that pre-trained; ReadingError for texts that do not fit the task.
        """
        from train.predicting import predict

        if not self.experiment.is_task:
            raise RunError(
                f"{self.folder.path} is of no task, and has no labels to tell; use inspect, or fine-tune it first"
            )
        if isinstance(texts, list):
            return predict(self._own_evaluator, self.params, texts)
        return predict(self._own_evaluator, self.params, [texts])[0]

    @cached_property
    def _own_evaluator(self) -> "TaskEvaluator":
        return self.task_evaluator()

    def evaluate(self, documents: Documents | None = None, data: TextData | None = None) -> dict[str, float]:
        """Every score of the objective; on what the run itself held out also what counting alone reaches."""
        if self.experiment.is_task:
            return self.task_evaluator().full(self.params) | self.folder.floors()
        scores = self.evaluator(documents, data).full(self.params)
        return scores | (self.folder.floors() if documents is None else {})


def passed_over(folder: Path, steps: list[int], good: int | None) -> list[str]:
    """What is said of the checkpoints of these steps that are behind the last good one. RunError where all of them are."""
    bad = [] if good is None else [step for step in steps if step > good]
    if not bad:
        return []
    if len(bad) == len(steps):
        raise RunError(
            f"{folder} has diverged, and no checkpoint of it is good ({', '.join(map(str, bad))} were written as it did); repeat "
            f"its command with a lower optimizer.schedule.peak; --step {bad[-1]} opens one as it is"
        )
    return [f"checkpoint {step} was written as the run diverged" for step in bad]


def better(good: int) -> str:
    """What is said of the last good checkpoint beside one that is not.

    >>> better(4), better(0)
    ('; the last good one is that of step 4', '; none is good')
    """
    return f"; the last good one is that of step {good}" if good else "; none is good"
