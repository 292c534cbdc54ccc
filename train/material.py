"""What a session trains on: text in packed rows, or the examples of a task; the one place that knows which.

A material opens its data before any work is begun, settles what the experiment leaves open, writes what a run folder keeps of it,
and makes the stream of batches and the evaluator.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from data.batch import Batch
from data.errors import DataError
from data.held_out import HELD_OUT, open_held_out, write_held_out
from data.pipeline import TrainStream
from data.prepared import Prepared, open_prepared
from data.tasks.batches import TaskBatches
from data.tasks.config import TaskData
from data.tasks.held_out import HELD_OUT_TASK, open_held_out_task, write_held_out_task
from data.tasks.opened import OpenedTask, open_task
from data.tokenizers import Tokenizer, load_tokenizer, open_tokenizer
from train.config import Experiment, adopted, settled
from train.evaluator import Evaluator
from train.folder import SORTED, RunError, RunFolder, digest_of_file
from train.objectives.with_head import TaskObjective
from train.origin import Origin, check_sides
from train.scorer import Scorer
from train.starting import rows_needed
from train.state import Built
from train.task_evaluator import TaskEvaluator

MADE = ("tokenizer", HELD_OUT, HELD_OUT_TASK, "data.json")  # of data alone
Say = Callable[[str], None]
Position = dict[str, Any]


class Material(Protocol):
    """What a session needs to know of its data."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary of the rows."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal if and only if the data is."""
        ...

    @property
    def experiment(self) -> Experiment:
        """The experiment with what the data decides."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What was said of the data as it was opened; what is settled already is not said again."""
        ...

    @property
    def reading(self) -> dict[str, Any]:
        """What `run.json` keeps of how the data was read when the run began."""
        ...

    def begin(self, folder: RunFolder) -> None:
        """Write what a run folder keeps of the data: tokenizer, held-out part, data.json. Equal data gives equal bytes."""
        ...

    def example(self, evaluator: Any, position: Position | None) -> Batch:
        """A host batch of the shape that the first step will see."""
        ...

    def stream(self, experiment: Experiment, position: Position | None, workers: int) -> TrainStream:
        """Batches to train on, from a position that was saved or from the beginning."""
        ...

    def evaluator(self, built: Built, experiment: Experiment, folder: RunFolder | None) -> Scorer:
        """What scores parameters on the held-out part that the run folder keeps; None: on that in memory, before one is kept."""
        ...


def open_material(
    experiment: Experiment, folder: RunFolder, init: str | None, given: Collection[str], say: Say
) -> Material:
    """Open the data of an experiment; on a resume it must be that which the run began with.

    Raises:
        DataError, RunError: one line with the remedy.
    """
    if experiment.is_task:
        material: Material = TaskMaterial.open(experiment, folder, init, given, say)
    else:
        material = TextMaterial.open(experiment, folder, init, say)
    if not folder.exists():
        return material
    if not folder.faults("data.json") and (begun := folder.read("data.json")) is not None:
        before = str(begun.get("fingerprint"))
        if before != material.fingerprint:
            raise RunError(
                f"--run-dir {folder.path} was trained on other data: the fingerprint of {experiment.data.source} was "
                f"{before[:12]}, now {material.fingerprint[:12]}; restore the data, or name another folder"
            )
    mend(folder, material, say)
    return material


def mend(folder: RunFolder, material: "Material", say: Say) -> None:
    """Make the files again that a run began with and that have been damaged since. RunError where they come out otherwise."""
    faults = folder.faults(*MADE)
    if not faults:
        return
    with tempfile.TemporaryDirectory(prefix=".mending-", dir=folder.path) as name:
        made = RunFolder(name)
        material.begin(made)
        if "data.json" in faults and digest_of_file(made / "data.json") not in folder.begun()["files"]["data.json"]:
            made.write("data.json", with_notes(made.read("data.json") or {}, material.notes))
        for name, wrong in faults.items():
            if not (made / name).is_file() or digest_of_file(made / name) not in folder.begun()["files"][name]:
                raise RunError(
                    f"{folder / name} {wrong}, and does not come out of the data again; restore it from a copy"
                )
        for name, wrong in faults.items():
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                path.rename(path.with_name(f"damaged-{path.name}"))
            path.parent.mkdir(parents=True, exist_ok=True)
            (made / name).replace(path)
            say(f"{path} {wrong}; it was made again from the data")


def with_notes(described: dict[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    """What data.json says of a task, as versions before wrote it: with the notes, in front of the floors."""
    return {name: value for name, value in described.items() if name != "floors"} | {
        "notes": list(notes),
        "floors": described.get("floors"),
    }


@dataclass(frozen=True)
class TextMaterial:
    """Text, prepared once and packed into rows."""

    prepared: Prepared
    experiment: Experiment
    notes: tuple[str, ...] = ()

    @property
    def reading(self) -> dict[str, Any]:
        return {}

    @classmethod
    def open(cls, experiment: Experiment, folder: RunFolder, init: str | None, say: Say) -> "TextMaterial":
        """The prepared source. DataError where it must be prepared first."""
        prepared = open_prepared(experiment.text_data, say=say)
        if not folder.exists():  # else it has the vocabulary of the run that was begun
            experiment = experiment.with_vocabulary(rows_needed(init, prepared.tokenizer))
        # A mistake in what is hidden is told before the run begins.
        experiment.text_objective.corrupt(prepared.tokenizer, experiment.data.row_length)
        return cls(prepared, experiment)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.prepared.tokenizer

    @property
    def fingerprint(self) -> str:
        return self.prepared.fingerprint

    def begin(self, folder: RunFolder) -> None:
        objective, prepared = self.experiment.text_objective, self.prepared
        prepared.tokenizer.save(folder / "tokenizer")
        write_held_out(prepared, folder.path)
        folder.write(
            "data.json",
            {"fingerprint": prepared.fingerprint}
            | prepared.describe(self.experiment.text_data, objective.packing())
            | {"floors": objective.floors(prepared.train, prepared.valid, prepared.tokenizer.vocab_size)},
        )

    def example(self, evaluator: Evaluator, position: Position | None) -> Batch:
        return next(evaluator.batches("train", limit_rows=1))

    def stream(self, experiment: Experiment, position: Position | None, workers: int) -> TrainStream:
        objective = experiment.text_objective
        return TrainStream(
            self.prepared.train,
            experiment.text_data,
            objective.packing(),
            objective.corrupt(self.tokenizer, experiment.data.row_length),
            seed=experiment.seed,
            start=0 if position is None else position["batch"],
            anchor=None if position is None else position["anchor"],
            workers=workers,
        )

    def evaluator(self, built: Built, experiment: Experiment, folder: RunFolder | None) -> Evaluator:
        held_out = self.prepared.valid if folder is None else open_held_out(folder.path, self.tokenizer)
        return Evaluator(built, experiment, self.tokenizer, held_out)


@dataclass(frozen=True)
class TaskMaterial:
    """The examples of a task, in memory."""

    opened: OpenedTask
    experiment: Experiment

    @classmethod
    def open(
        cls, experiment: Experiment, folder: RunFolder, init: str | None, given: Collection[str], say: Say
    ) -> "TaskMaterial":
        """The task, encoded with the vocabulary of what is fine-tuned; model, stack, labels and steps settled with it."""
        data = experiment.task_data
        origin = None if init is None or folder.exists() else Origin.open(init)
        if origin is not None:
            check_sides(origin, data.task)
        tokenizer = origin.tokenizer if origin is not None else own_tokenizer(data, folder)
        opened = open_task(data, tokenizer, say)
        model = experiment.model
        if origin is not None:
            model = adopted(model, origin.config, given)
        elif not folder.exists():
            model = dataclasses.replace(model, vocab_size=tokenizer.vocab_size)
        steps = None
        if experiment.epochs is not None and not folder.exists():
            steps = TaskBatches(opened.train, data, seed=experiment.seed).steps(experiment.epochs)
        stack = None if origin is None else origin.stack
        objective = experiment.objective
        sizes = objective.sizes(opened.task, opened.train.rows[0]) if isinstance(objective, TaskObjective) else {}
        return cls(opened, settled(experiment, model=model, task=opened.task, stack=stack, sizes=sizes, steps=steps))

    @property
    def tokenizer(self) -> Tokenizer:
        return self.opened.tokenizer

    @property
    def fingerprint(self) -> str:
        return self.opened.fingerprint

    @property
    def notes(self) -> tuple[str, ...]:
        return self.opened.notes

    @property
    def reading(self) -> dict[str, Any]:
        in_order = self.opened.known == "examples" and self.opened.valid.labels
        return ({"notes": list(self.notes)} if self.notes else {}) | ({"labels": SORTED} if in_order else {})

    def begin(self, folder: RunFolder) -> None:
        self.tokenizer.save(folder / "tokenizer")
        write_held_out_task(self.opened, folder.path)
        folder.write("data.json", self.opened.describe() | {"floors": self.floors()})

    def floors(self) -> dict[str, float]:
        """What the commonest label of the training examples scores on the held-out ones, where a label is all there is."""
        trained, held_out = self.opened.train.label_counts(), self.opened.valid.label_counts()
        if not trained or not sum(held_out.values()):
            return {}
        commonest = max(trained, key=lambda label: trained[label])
        return {"majority_accuracy": held_out[commonest] / sum(held_out.values())}

    def example(self, evaluator: Any, position: Position | None) -> Batch:
        start = 0 if position is None else position["batch"]
        return TaskBatches(self.opened.train, self.experiment.task_data, seed=self.experiment.seed, start=start)[0][0]

    def stream(self, experiment: Experiment, position: Position | None, workers: int) -> TrainStream:
        start = 0 if position is None else position["batch"]
        return TrainStream.of(
            TaskBatches(self.opened.train, experiment.task_data, seed=experiment.seed, start=start), start, workers
        )

    def evaluator(self, built: Built, experiment: Experiment, folder: RunFolder | None) -> TaskEvaluator:
        if folder is None:
            return TaskEvaluator(built, experiment, self.opened.valid, self.tokenizer)
        held_out = open_held_out_task(folder.path, experiment.task_data, self.tokenizer, say=lambda line: None)
        return TaskEvaluator(built, experiment, held_out, self.tokenizer)


def own_tokenizer(data: TaskData, folder: RunFolder) -> Tokenizer:
    """The vocabulary of a run that was begun, or that which the experiment names for training from scratch."""
    if folder.exists():
        folder.check("tokenizer")
        return load_tokenizer(folder / "tokenizer")
    opened = None if data.tokenizer is None else open_tokenizer(data.tokenizer)
    if opened is None:
        raise DataError(
            "a task needs the vocabulary of a trained model; give --init RUN_OR_PUBLISHED_FOLDER, or to train from scratch "
            "--data.tokenizer.name tokenizer_json --data.tokenizer.path FILE"
        )
    return opened
