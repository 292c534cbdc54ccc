"""The experiment: one frozen value that says what is trained, on what, how, and for how long.

It reads in the order of the flow: data, model, objective, optimizer, and then the run. Whatever may differ between two
runs of the same experiment (the folder, the devices, the trackers) is not here but in train/options.py.
"""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from data.config import TextData
from data.sources import parse_source
from data.tasks.choices import Generation
from data.tasks.config import TaskData
from data.tasks.sources import parse_task_source
from model.config import MOST, TransformerConfig, check_values, choice_name
from model.peft import AdaLoRA, Peft, PromptTuning
from model.positions import LearnedPositions
from train.objectives import MaskedLM, NextToken, Objective, PrefixLM, SequenceToSequence, SpanCorruption
from train.objectives.segments import Choose, Contrast
from train.objectives.tasks import Classify, ClassifyMany, FindAnswers, Regress, TagTokens
from train.objectives.with_head import TaskObjective
from train.optimizers import Optimizer, eval_params_of
from train.rates import Tuning
from train.selection import Selection
from train.tree import Leaf, fields_of, put, put_together, take_apart

# Which objectives a kind of task can be learnt by.
OBJECTIVES = {
    "classification": ("classify",),
    "multi_label": ("classify_many",),
    "regression": ("regress",),
    "tagging": ("tag_tokens",),
    "answers": ("find_answers",),
    "multiple_choice": ("choose",),
    "similarity": ("contrast",),
    "generation": ("sequence_to_sequence", "next_token"),
}


COUNTED = ("steps", "accelerator_steps", "accumulate", "data.row_length", "data.batch_size", "data.bucket")
SIZES = ("outputs", "choices", "segments")  # fields of objectives that the examples of a task decide


@dataclass(frozen=True)
class Guard:
    """What happens when a loss or gradient is not finite: the step is skipped, and too many in a row end the run."""

    max_skips: int = 10
    """Skipped steps in a row after which the run stops and names its last good checkpoint."""

    def __post_init__(self):
        if self.max_skips < 1:
            raise ValueError(f"max_skips={self.max_skips} must be at least 1")


@dataclass(frozen=True)
class Experiment:
    """What is asked of a paper, as a value: importing one does nothing, equal ones train alike bit for bit.

    The tokenizer decides the vocabulary: `model.vocab_size` is what it is expected to have, and `with_vocabulary` makes it
    exact once the tokenizer is there. It is not rounded up to a size that devices like, so that the model can be
    exported as it stands.
    """

    follows: ClassVar[dict[str, str]] = {"model.vocab_size": "data.tokenizer.vocab_size"}
    """Fields that the command line sets by way of another one."""
    one_word: ClassVar[dict[str, Any]] = {"data.source": {TextData: parse_source, TaskData: parse_task_source}}
    """Choices that the command line reads from one word, the inverse of `str`, by what holds them."""

    data: TextData | TaskData
    """Text or the examples of a task, the tokenizer, and the shape of a batch."""
    model: TransformerConfig
    """The shape of the transformer."""
    objective: (
        MaskedLM
        | NextToken
        | PrefixLM
        | SpanCorruption
        | SequenceToSequence
        | Classify
        | ClassifyMany
        | Regress
        | TagTokens
        | FindAnswers
        | Choose
        | Contrast
    )
    """What is hidden and what is asked."""
    optimizer: Optimizer
    """How a gradient becomes an update, and the learning rate over the run."""
    steps: int
    """Updates of the parameters, on a CPU."""
    epochs: float | None = None
    """Passes over the examples of a task; where given, they decide `steps` when the run begins."""
    accelerator_steps: int | None = None
    """Updates on a GPU or TPU, when `--steps` is not given; None: as many as on a CPU."""
    evaluate_every: int = 100
    """Steps between evaluations on the held-out documents; the end is always evaluated."""
    evaluate_rows: int = 128
    """Held-out rows of those evaluations; the closing one takes them all."""
    checkpoint_every: int = 100
    """Steps between checkpoints; the end is always kept."""
    seed: int = 0
    """Of the initial weights, the order of the data, the masks and the dropout."""
    accumulate: int = 1
    """Parts in which the rows of a step are computed one after the other, to save memory; the result is the same."""
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the forward and backward pass; auto: bfloat16 on a GPU or TPU, float32 on a CPU."""
    guard: Guard = Guard()
    """What to do about a loss that is not finite."""
    peft: Peft | None = None
    """Few parameters that are added and trained in the place of all others; None: all are trained."""
    tuning: Tuning = Tuning()
    """How the parts of a model that was trained before learn from here on."""
    selection: Selection = Selection()
    """Which weights are the result, and when a run ends early."""

    def __post_init__(self):
        check_values(self)
        for name in ("steps", "evaluate_every", "evaluate_rows", "checkpoint_every", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.accelerator_steps is not None and self.accelerator_steps < 1:
            raise ValueError(f"accelerator_steps={self.accelerator_steps} must be at least 1, or None")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must lie in [0, 2^32)")
        if self.epochs is not None and not 0 < self.epochs < float("inf"):
            raise ValueError(f"epochs={self.epochs} must be more than 0, or None")
        if self.selection.average is not None and isinstance(self.peft, AdaLoRA):
            raise ValueError(
                "selection.average would fill up the ranks that peft=ada_lora takes away; leave one of them out"
            )
        if eval_params_of(self.optimizer) is not None:
            self._check_average()
        if self.tuning.mixout and self.peft is not None:
            raise ValueError("tuning.mixout mixes weights that learn, and with peft they do not; leave one of them out")
        self._check_task()
        self._check_sizes()
        rows, places = self.data.batch_size, self.model.positions
        if rows % self.accumulate:
            raise ValueError(
                f"data.batch_size={rows} is not a multiple of accumulate={self.accumulate}; use {divisors(rows)}"
            )
        length = self.objective.longest(self.data.row_length)
        if isinstance(places, LearnedPositions) and length > places.max_length:
            side = "" if length == self.data.row_length else f" has a target side of {length} places, which"
            raise ValueError(
                f"data.row_length={self.data.row_length}{side} is longer than "
                f"model.positions.max_length={places.max_length}; "
                f"shorten the rows, or use --model.positions.max_length {length}"
            )

    @property
    def is_task(self) -> bool:
        """Whether it fine-tunes on a task, rather than pre-trains on text."""
        return isinstance(self.data, TaskData)

    @property
    def headline(self) -> tuple[str, ...]:
        """Scores that are named beside `valid_loss` when a run ends, those that it has."""
        if isinstance(self.data, TaskData):
            return (*self.data.task.metrics, "majority_accuracy")
        return self.objective.headline

    @property
    def text_data(self) -> TextData:
        """`data` of an experiment that pre-trains. TypeError for a task."""
        if not isinstance(self.data, TextData):
            raise TypeError("this experiment is a task, whose data is no text in packed rows")
        return self.data

    @property
    def task_data(self) -> TaskData:
        """`data` of an experiment that fine-tunes. TypeError for one that pre-trains."""
        if not isinstance(self.data, TaskData):
            raise TypeError("this experiment pre-trains on text, and has no task")
        return self.data

    @property
    def text_objective(self) -> Objective:
        """`objective` of an experiment that pre-trains. TypeError for one of tasks."""
        if isinstance(self.objective, TaskObjective):
            raise TypeError("this experiment is a task, whose objective is not one of text")
        return self.objective

    @property
    def task_objective(self) -> TaskObjective:
        """`objective` of an experiment with a head. TypeError for any other."""
        if not isinstance(self.objective, TaskObjective):
            raise TypeError("the objective of this experiment predicts tokens, and has no head")
        return self.objective

    def _check_average(self) -> None:
        """ValueError where something else would come between what the optimizer trains and what it is scored at."""
        word = choice_name(type(self.optimizer))
        if isinstance(self.peft, AdaLoRA):
            raise ValueError(f"peft=ada_lora takes ranks away beside optimizer={word}, whose average would keep them")
        for name in ("average", "mixout", "layer_decay", "freeze", "unfreeze_every"):
            part = "selection" if name == "average" else "tuning"
            holder = getattr(self, part)
            if getattr(holder, name) != getattr(type(holder)(), name):
                raise ValueError(
                    f"{part}.{name} does not go with optimizer={word}, whose result is an average that it keeps itself; "
                    f"leave it out, or use optimizer=adam_w"
                )

    def _check_sizes(self) -> None:
        """ValueError where a whole number is larger than an axis of an array, or the count of steps, can be."""
        for path, leaf in fields_of(take_apart(self)).items():
            sized = path.startswith(("model.", "peft.")) or path in COUNTED
            if sized and isinstance(leaf, Leaf) and type(leaf.value) is int and leaf.value > MOST:
                raise ValueError(f"{path}={leaf.value} is too large; use {MOST} at most")

    def _check_task(self) -> None:
        """ValueError where data and objective do not fit each other."""
        objective, word = self.objective, choice_name(type(self.objective))
        if not isinstance(self.data, TaskData):
            if isinstance(objective, TaskObjective):
                raise ValueError(f"objective={word} is of tasks, and data holds text; give it data=TaskData(...)")
            if self.epochs is not None:
                raise ValueError(f"epochs={self.epochs} is of tasks; text is trained on for a number of steps")
            return
        if self.data.packed and isinstance(self.peft, PromptTuning):
            raise ValueError(
                "peft=prompt_tuning puts its vectors before the first text of a row only; use data.packed=False"
            )
        kind = choice_name(type(self.data.task))
        fits = kind in objective.needs if isinstance(objective, TaskObjective) else (
            kind == "generation" and isinstance(objective, NextToken | SequenceToSequence)
        )  # fmt: skip
        if not fits:
            raise ValueError(f"objective={word} does not fit a task of {kind}; use {' or '.join(OBJECTIVES[kind])}")
        if isinstance(self.data.task, Generation):
            sides, other = (
                ("one", "sequence_to_sequence") if isinstance(objective, NextToken) else ("two", "next_token")
            )
            if self.data.task.sides != sides:
                raise ValueError(f"objective={word} trains a model of {sides} side{'s' * (sides == 'two')}; add "
                                 f"--data.task.sides {sides}, or use --objective.name {other}")  # fmt: skip
        if isinstance(objective, Contrast) and self.accumulate > 1:
            raise ValueError("accumulate must be 1 with objective=contrast: a row is compared with the whole batch")

    def for_platform(self, platform: str, given: Collection[str] = ()) -> "Experiment":
        """The experiment as it runs on "cpu", "gpu" or "tpu": its steps and precision decided.

        On an accelerator `accelerator_steps` takes the place of `steps`, and evaluations and checkpoints spread out in
        proportion unless the user has `given` their distance.
        """
        dtype = self.compute_dtype
        if dtype == "auto":
            dtype = "float32" if platform == "cpu" else "bfloat16"
        change: dict[str, Any] = {"accelerator_steps": None, "compute_dtype": dtype}
        if platform != "cpu" and self.accelerator_steps is not None and "steps" not in given:
            change["steps"] = self.accelerator_steps
            for name in {"evaluate_every", "checkpoint_every"}.difference(given):
                change[name] = max(1, round(getattr(self, name) * self.accelerator_steps / self.steps))
        return dataclasses.replace(self, **change)

    def as_begun(self, old: "Experiment", given: Collection[str] = ()) -> "Experiment":
        """The experiment with what was decided when the run of `old` began: vocabulary, and for a task also the model, the
        labels and the number of steps, but for the fields of the model that were `given`."""
        if not self.is_task:
            return self.with_vocabulary(old.model.vocab_size)
        return settled(
            self,
            model=adopted(self.model, old.model, given),
            task=old.data.task if isinstance(old.data, TaskData) else None,
            stack=getattr(old.objective, "stack", None),
            sizes={name: getattr(old.objective, name) for name in SIZES if hasattr(old.objective, name)},
            steps=old.steps if self.epochs == old.epochs and self.epochs is not None else None,
        )

    def with_vocabulary(self, size: int) -> "Experiment":
        """The experiment with a model of exactly the `size` tokens that the tokenizer has."""
        return dataclasses.replace(self, model=dataclasses.replace(self.model, vocab_size=size))


def settled(
    experiment: Experiment,
    *,
    model: TransformerConfig,
    task: Any = None,
    stack: str | None = None,
    sizes: Mapping[str, Any] = MappingProxyType({}),
    steps: int | None = None,
) -> Experiment:
    """An experiment on a task with what is decided when a run begins: model, labels, stack, steps."""
    objective, data = experiment.objective, experiment.data
    if task is not None:
        data = dataclasses.replace(data, task=task)
    if isinstance(objective, TaskObjective):
        change: dict[str, Any] = {} if stack is None else {"stack": stack}
        change |= {name: size for name, size in sizes.items() if hasattr(objective, name)}
        objective = dataclasses.replace(objective, **change)
    steps = experiment.steps if steps is None else steps
    return dataclasses.replace(experiment, data=data, model=model, objective=objective, steps=steps)


def adopted(mine: TransformerConfig, theirs: TransformerConfig, given: Collection[str]) -> TransformerConfig:
    """The shape of a model that was trained before, with the fields that the user has `given` for this one."""
    node, own = take_apart(theirs), fields_of(take_apart(mine))
    there = fields_of(node)
    for path in sorted(given):
        name = path.removeprefix("model.")
        if path.startswith("model.") and name in own and name in there:
            put(node, name, own[name].value)
    return put_together(node)


def divisors(number: int) -> str:
    """The divisors of a number in words, "1, 2, 4 or 8"."""
    found = [str(n) for n in range(1, number + 1) if number % n == 0]
    return " or ".join(filter(None, [", ".join(found[:-1]), found[-1]]))
