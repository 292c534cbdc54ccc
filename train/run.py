"""The run folder: everything that training leaves, and the one place that knows its file names.

    config.json         the resolved experiment               base.json        the same as declared, for the report's diff
    environment.json    versions, devices, revision, command  data.json        fingerprint and sizes of the data
    tokenizer/          the vocabulary                        held_out.jsonl.gz  the documents that training never saw
    checkpoints/STEP/   state and data position               metrics.jsonl    one line a step
    scores.json  samples.json  report.html                    the result

Everything after training needs this folder and nothing else: `Run.open(folder)` is config, weights and tokenizer as one
object, on whatever devices there are.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from flax import nnx

from data.cache import user_path
from data.config import TextData
from data.documents import Documents
from data.errors import named
from data.foreign import one_line, read_json
from data.held_out import open_held_out
from data.tasks.held_out import open_held_out_task
from data.tasks.opened import TaskSet
from data.tokenizers import Tokenizer, load_tokenizer
from model.config import from_json
from model.peft import merge
from train.checkpoint import Checkpoints, Keep, Restored
from train.config import Experiment
from train.evaluator import Evaluator
from train.inspectable import Inspectable
from train.record import number
from train.registry import is_published
from train.sharding import MeshShape, check_batch, make_mesh
from train.state import Built, Params, build

if TYPE_CHECKING:
    from train.predicting import Asked, Predicted
    from train.pretrained import Opened
    from train.task_evaluator import TaskEvaluator

BEGINNING = (
    "tokenizer",
    "held_out.jsonl.gz",
    "held_out_task.jsonl.gz",
    "data.json",
    "run.json",
    "base.json",
    "config.json",
    "checkpoints",
)


class RunError(ValueError):
    """A run folder that is not what it should be; the message is one line with the remedy."""

    exit_code = 2

    def __init__(self, message: str):
        super().__init__(one_line(message))


class RunFolder:
    """Paths and small files of a run folder. Nothing in it is ever deleted, and files are replaced atomically."""

    def __init__(self, path: str | Path):
        self.path = user_path(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def exists(self) -> bool:
        """Whether a run has been begun here."""
        return (self / "config.json").is_file()

    def create(self) -> None:
        """Make the folder, or fail with one line: it may be a file, unwritable, or hold something else."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self / ".lock").open("a"):
                pass
        except FileExistsError as error:
            raise RunError(f"--run-dir {self.path} is a file, not a folder; name another") from error
        except OSError as error:
            raise RunError(f"--run-dir {self.path} cannot be written ({error.strerror}); name another") from error
        if not self.exists() and (others := sorted(p.name for p in self.path.iterdir() if not is_beginning(p.name))):
            raise RunError(
                f"--run-dir {self.path} is not a run folder but holds {others[0]!r}; name an empty or new one"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one process: two runs writing one folder would ruin both."""
        with (self / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(
                    f"--run-dir {self.path} is in use by another process; wait for it or name another"
                ) from error
            yield

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON object of the folder, or None if it is not there."""
        path = self / name
        if not path.is_file():
            return None
        return read_json(path, RunError, remedy="restore it, or name another --run-dir")

    def write(self, name: str, value: Any) -> None:
        """Replace a JSON file: a reader sees the old one or the new one, whole."""
        temporary = self / f".{name}.{os.getpid()}"
        with named(self / name):
            temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            temporary.replace(self / name)

    def floors(self) -> dict[str, float]:
        """What counting alone scores on the held-out documents, as it was taken when the run began."""
        floors = (self.read("data.json") or {}).get("floors")
        return {
            name: value
            for name, value in (floors if isinstance(floors, dict) else {}).items()
            if number(value) is not None
        }

    def experiment(self) -> Experiment:
        """The experiment that ran here. RunError if this is no run folder or was written by another version."""
        config = self.read("config.json")
        if config is None:
            raise RunError(f"{self.path} is not a run folder (it has no config.json); give the folder of a run")
        try:
            return from_json(Experiment, config)
        except ValueError as error:
            raise RunError(f"{self / 'config.json'}: {error}") from error


def is_beginning(name: str) -> bool:
    """Whether a file is what a run that was killed as it began may leave, before its config.json.

    >>> is_beginning("tokenizer"), is_beginning(".data.json.4711"), is_beginning("thesis.tex")
    (True, True, False)
    """
    return name == ".lock" or name in BEGINNING or name.startswith(tuple(f".{part}" for part in BEGINNING))


@dataclass
class Run(Inspectable):
    """A run, opened for looking at and working with: `Run.open("runs/bert_small")`.

    Attributes:
        folder: where it lies.
        experiment: what ran.
        tokenizer: its vocabulary.
        restored: the checkpoint in use: step, state and position.
        built: structure of the model, and the devices that it lies on; `run.model` is the model itself.
    """

    folder: RunFolder
    experiment: Experiment
    tokenizer: Tokenizer
    restored: Restored
    built: Built

    @classmethod
    def open(cls, path: str | Path, step: int | None = None, mesh: str = "") -> "Run":
        """Open a run folder at its newest usable checkpoint, or at `step`, on the devices of this machine.

        A published folder, or the name of one on the Hugging Face hub, is opened too, as train/pretrained.py gives it: a model
        with its tokenizer, to be looked into alike, but without an experiment or checkpoints.

        Raises:
            RunError: it is no run folder, or has no checkpoint yet, or none of that step.
            CheckpointError: the checkpoint is damaged.
        """
        if is_published(path):
            from train.pretrained import open_any  # which knows of runs itself

            return typing.cast(Run, open_any(path, step=step, mesh=mesh))
        folder = RunFolder(path)
        experiment = folder.experiment()
        tokenizer = load_tokenizer(folder / "tokenizer")
        built = build(experiment, make_mesh(MeshShape.parse(mesh)))
        checkpoints = Checkpoints(folder.path, Keep(), read_only=True)
        if step is not None and step not in (there := checkpoints.steps()):
            raise RunError(
                f"{folder.path} has no checkpoint of step {step}; there are {', '.join(map(str, there)) or 'none yet'}"
            )
        restored = checkpoints.restore(built.target, step)
        checkpoints.close()
        if restored is None:
            raise RunError(f"{folder.path} has no checkpoint yet; train it further first")
        if built.parts.trained is not None:  # the others are where they came from
            from train.starting import first_state

            begun = folder.read("run.json") or {}
            init = None if begun.get("fresh") else begun.get("init")
            base = first_state(experiment, built, init, tokenizer, say=lambda line: None)
            restored = restored._replace(state=restored.state._replace(frozen=base.frozen))
        return cls(folder, experiment, tokenizer, restored, built)

    def steps(self) -> list[int]:
        """The checkpoints that were kept."""
        checkpoints = Checkpoints(self.folder.path, Keep(), read_only=True)
        try:
            return checkpoints.steps()
        finally:
            checkpoints.close()

    def at(self, step: int) -> "Run":
        """The same run at another of its checkpoints."""
        return Run.open(self.folder.path, step)

    @cached_property
    def model(self) -> nnx.Module:
        """The model with the weights of this checkpoint."""
        return self.built.parts.merge(self.params)

    @property
    def step(self) -> int:
        """The step of this checkpoint."""
        return self.restored.step

    @property
    def params(self) -> Params:
        """The weights as nested dicts of arrays."""
        return self.restored.state.weights

    @property
    def held_out(self) -> Documents:
        """The documents kept from training, of a run that pre-trained on text."""
        return open_held_out(self.folder.path, self.tokenizer)

    def evaluator(self, documents: Documents | None = None, data: TextData | None = None) -> Evaluator:
        """What scores parameters on the held-out documents, or on others; rows are shaped by `data`."""
        if self.experiment.is_task:
            raise RunError(f"{self.folder.path} is of a task, and is scored on examples: use task_evaluator")
        experiment = dataclasses.replace(self.experiment, data=data or self.experiment.data)
        check_batch(experiment.data.batch_size, 1, self.built.mesh)
        return Evaluator(self.built, experiment, self.tokenizer, self.held_out if documents is None else documents)

    def task_evaluator(self, examples: TaskSet | None = None) -> "TaskEvaluator":
        """What scores parameters on the held-out examples of a task, or on others that were opened with its labels."""
        from train.task_evaluator import TaskEvaluator

        if examples is None:
            quiet = lambda line: None  # noqa: E731
            examples = open_held_out_task(self.folder.path, self.experiment.task_data, self.tokenizer, say=quiet)
        return TaskEvaluator(self.built, self.experiment, examples, self.tokenizer)

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
