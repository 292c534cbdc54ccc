"""The experiment: one frozen value that says what is trained, on what, how, and for how long.

It reads in the order of the flow: data, model, objective, optimizer, and then the run. Whatever may differ between two
runs of the same experiment (the folder, the devices, the trackers) is not here but in train/options.py.
"""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from data.config import TextData
from data.sources import parse_source
from model.config import TransformerConfig, choice_name
from model.positions import LearnedPositions
from train.objectives import MaskedLM, NextToken, PrefixLM, SequenceToSequence, SpanCorruption
from train.optimizers import LAMB, SGD, AdamW, Lion
from train.tree import differences


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
    one_word: ClassVar[dict[str, Any]] = {"data.source": parse_source}
    """Choices that the command line reads from one word, the inverse of `str`."""

    data: TextData
    """Text, tokenizer, and the shape of a batch."""
    model: TransformerConfig
    """The shape of the transformer."""
    objective: MaskedLM | NextToken | PrefixLM | SpanCorruption | SequenceToSequence
    """What is hidden and what is asked."""
    optimizer: AdamW | Lion | LAMB | SGD
    """How a gradient becomes an update, and the learning rate over the run."""
    steps: int
    """Updates of the parameters, on a CPU."""
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

    def __post_init__(self):
        for name in ("steps", "evaluate_every", "evaluate_rows", "checkpoint_every", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.accelerator_steps is not None and self.accelerator_steps < 1:
            raise ValueError(f"accelerator_steps={self.accelerator_steps} must be at least 1, or None")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must lie in [0, 2^32)")
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

    def with_vocabulary(self, size: int) -> "Experiment":
        """The experiment with a model of exactly the `size` tokens that the tokenizer has."""
        return dataclasses.replace(self, model=dataclasses.replace(self.model, vocab_size=size))


def compare(old: Any, new: Any, may_change: Collection[str] = ()) -> list[str]:
    """One line for each field in which two experiments differ, leaving out the dotted paths in `may_change`.

    A path in `may_change` covers everything below it. ["optimizer.schedule.peak: was 0.0005, now 0.001"]
    """
    return [
        f"{path}: was {before}, now {after}"
        for path, before, after in differences(old, new)
        if not any(path == free or path.startswith(f"{free}.") for free in may_change)
    ]


def resume_refusals(old: Experiment, new: Experiment) -> list[str]:
    """One line for each field that stands in the way of going on with the run of `old` as `new`; empty if nothing does.

    The number of steps may change where the learning rate does not depend on it. Mesh, tracking and logging may always
    change: they are options of the run, not fields of the experiment.
    """
    schedule = choice_name(type(new.optimizer.schedule))
    lines = compare(old, new, {"steps", "accelerator_steps"})
    if old.steps != new.steps and (new.optimizer.schedule.depends_on_steps or old.optimizer.schedule.depends_on_steps):
        lines.append(f"steps: was {old.steps}, now {new.steps} (the {schedule} schedule is drawn over all steps)")
    return lines


def divisors(number: int) -> str:
    """The divisors of a number in words, "1, 2, 4 or 8"."""
    found = [str(n) for n in range(1, number + 1) if number % n == 0]
    return " or ".join(filter(None, [", ".join(found[:-1]), found[-1]]))
