"""A paper's claim as a value: what is run, what is measured, and what must hold, written down before the run.

A claim has variants (each an experiment), seeds, a trivial floor that says what no learning reaches, a variant that is
expected to fail, and criteria over the figures of all runs. Runs are ordinary run folders made by train/session.py, so a
reproduction that was stopped goes on where it stood. `experiments/reproduce.py` is the command.
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from train.charts import Chart
from train.config import Experiment
from train.lines import read_metrics
from train.run import Run, RunFolder

Values = Mapping[str, Mapping[str, list[float]]]
"""variant -> figure -> one value a seed, in the order of the seeds."""


@dataclasses.dataclass(frozen=True)
class Finished:
    """One finished run, as `measure` sees it."""

    folder: RunFolder
    variant: str
    seed: int

    @cached_property
    def run(self) -> Run:
        """Model, tokenizer and held-out documents or examples at the last checkpoint."""
        return Run.open(self.folder.path)

    @cached_property
    def scores(self) -> dict[str, Any]:
        """The flat scores of the end."""
        return self.folder.read("scores.json") or {}

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """Every line of metrics.jsonl."""
        return read_metrics(self.folder.path)

    def training(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of every step of the training."""
        return [(line["step"], line[name]) for line in self.lines if name in line and "loss" in line]

    def held_out(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of every evaluation."""
        return [
            (line["step"], line[name])
            for line in self.lines
            if name in line and "valid_loss" in line and "event" not in line
        ]


@dataclasses.dataclass(frozen=True)
class Criterion:
    """One thing that must hold for the claim to count as reproduced."""

    text: str
    """In words, with its thresholds."""
    holds: Callable[[Values], bool]
    """The same as a function of all figures."""


@dataclasses.dataclass(frozen=True)
class Start:
    """What a variant that fine-tunes begins with."""

    init: Callable[[], str]
    """The run or published folder, looked for when the claim is put to the test; DataError where it is not there."""
    fresh: bool = False
    """Only its shape and vocabulary; the weights are drawn."""
    given: tuple[str, ...] = ()
    """Fields of the variant's model that stand, as "model.dropout_rate"; all others are those of what it begins with."""


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """A claim, and how it is put to the test."""

    paper: str
    """Authors, year, and where it can be read."""
    claim: str
    """What the paper says, in a sentence."""
    published: Mapping[str, Any]
    """The paper's figures, by name."""
    departs: str
    """In what this differs from the paper's own experiment."""
    variants: Mapping[str, Experiment]
    """What is run, by name."""
    measure: Callable[[Finished], dict[str, float]]
    """The figures of one run; all variants have the same ones."""
    criteria: tuple[Criterion, ...]
    """All must hold. At least one is about the control."""
    floor: Callable[[], dict[str, float]]
    """What a model that learns nothing, or only counts, reaches: the figures to beat."""
    control: str
    """The variant that is expected to fail."""
    curves: Callable[[list[Finished]], list[Chart]]
    """The paper's figure, drawn from our runs."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the runs of every variant."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the runs, as `watch`; none changes what is learnt."""
    starts: Mapping[str, Start] = dataclasses.field(default_factory=dict)
    """What variants begin with, where not with weights drawn from the seed."""
    ready: Callable[[], None] = lambda: None
    """DataError, before anything is trained, where the machine lacks data or a model that it needs."""

    def __post_init__(self):
        if strange := set(self.starts) - set(self.variants):
            raise ValueError(f"starts of {', '.join(sorted(strange))}, which are no variants")
        if self.control not in self.variants:
            raise ValueError(f"control={self.control!r} is not one of the variants {', '.join(self.variants)}")
        if not self.criteria:
            raise ValueError("a reproduction needs criteria, written before the run")


def summarise(values: list[float]) -> dict[str, Any]:
    """Values of all seeds with their mean and sample standard deviation (None for one seed).

    What is not finite, as the step of something that never came, is None, and so are mean and spread then.

    >>> summarise([1.0, 2.0, 3.0])
    {'per_seed': [1.0, 2.0, 3.0], 'mean': 2.0, 'spread': 1.0}
    >>> summarise([1.0, math.inf])
    {'per_seed': [1.0, None], 'mean': None, 'spread': None}
    """
    rounded = [round(value, 6) if math.isfinite(value) else None for value in values]
    if None in rounded:
        return {"per_seed": rounded, "mean": None, "spread": None}
    spread = round(statistics.stdev(values), 6) if len(values) > 1 else None
    return {"per_seed": rounded, "mean": round(statistics.fmean(values), 6), "spread": spread}


def judge(reproduction: Reproduction, values: Values) -> list[dict[str, Any]]:
    """Each criterion in words, and whether it holds."""
    return [{"criterion": item.text, "holds": bool(item.holds(values))} for item in reproduction.criteria]


def run_folder(root: Path, variant: str, seed: int) -> RunFolder:
    """Where the run of a variant and a seed lies."""
    return RunFolder(root / f"{variant}-seed{seed}")


def worst(values: Values, variant: str, name: str) -> float:
    """The largest value over the seeds."""
    return max(values[variant][name])


def least(values: Values, variant: str, name: str) -> float:
    """The smallest value over the seeds."""
    return min(values[variant][name])
