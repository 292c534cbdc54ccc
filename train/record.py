"""What a run folder says of its run, read without complaint: missing files are empty, strange lines are left out."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from data.errors import DataError
from data.foreign import read_json
from train.lines import METRICS_FILE, read_lines

Line = dict[str, Any]
MOST_STEPS, MOST_OTHERS = 50_000, 10_000  # lines that are held; of more, every second, fourth, ... one
SUMMED = ("tokens", "seconds")
LAST_STEP = 1 << 53  # no run is so long


@dataclass(frozen=True)
class Record:
    """The small files of a run folder, as they lie there.

    Attributes:
        folder: where it lies.
        name: of the experiment.
        ident: begins every id of the report, so that two reports can stand on one page.
        config, base: the resolved experiment, and the same as it was declared.
        environment, data: what ran, and on what.
        scores, samples: the closing evaluation, and words that the model filled in.
        lines: of metrics.jsonl, in order; of a very long run some, evenly spread.
        sums, largest: of SUMMED over the training steps, all lines counted.
    """

    folder: Path
    name: str
    ident: str
    config: dict[str, Any]
    base: dict[str, Any]
    environment: dict[str, Any]
    data: dict[str, Any]
    scores: dict[str, Any]
    samples: list[Any]
    lines: list[Line]
    sums: dict[str, float]
    largest: dict[str, float]

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read what there is; a file that is missing or is not JSON counts as empty."""
        folder = Path(folder).resolve()
        declared = load(folder / "run.json", dict).get("experiment")
        return cls(
            folder=folder,
            name=declared if isinstance(declared, str) and declared else folder.name,
            ident="loupe-" + hashlib.sha256(str(folder).encode()).hexdigest()[:8],
            config=load(folder / "config.json", dict),
            base=load(folder / "base.json", dict),
            environment=load(folder / "environment.json", dict),
            data=load(folder / "data.json", dict),
            scores=load(folder / "scores.json", dict),
            samples=load(folder / "samples.json", list),
            **metrics(folder / METRICS_FILE),
        )

    @cached_property
    def steps(self) -> list[Line]:
        """The lines of training steps."""
        return [line for line in self.lines if "event" not in line and "loss" in line]

    @cached_property
    def evaluations(self) -> list[Line]:
        """The lines of held-out scores; of two for one step the later, which says more."""
        found = {line["step"]: line for line in self.lines if "event" not in line and "loss" not in line}
        return list(found.values())

    @cached_property
    def events(self) -> list[Line]:
        """The lines of events."""
        return [line for line in self.lines if isinstance(line.get("event"), str)]

    @property
    def last_step(self) -> int:
        """The newest step that is written down."""
        return max((line["step"] for line in self.lines), default=0)

    @property
    def total_steps(self) -> int | None:
        """How many were asked for."""
        steps = self.config.get("steps")
        return steps if isinstance(steps, int) and steps > 0 else None

    @property
    def is_done(self) -> bool:
        """Whether the run has reached its end."""
        return any(line["event"] == "done" for line in self.events)

    def score(self, name: str) -> float | None:
        """A held-out score: the closing one, else the newest one measured on the way."""
        for source in (self.scores, *reversed(self.evaluations)):
            if (value := number(source.get(name))) is not None:
                return value
        return None

    def fact(self, name: str) -> float | None:
        """A number about the run that several files may hold: its parameters, the entropy of its words."""
        for source in (self.scores, self.environment, self.data, *reversed(self.evaluations)):
            if (value := number(source.get(name))) is not None:
                return value
        return None

    def curve(self, name: str, lines: Sequence[Line] | None = None) -> list[tuple[float, float | None]]:
        """(step, value) of a field over the training steps, or over `lines`; None where the value was not finite."""
        lines = self.steps if lines is None else lines
        return [(line["step"], number(line[name])) for line in lines if name in line]

    def values(self, name: str) -> list[float]:
        """The finite values of a field over the training steps."""
        return [value for _, value in self.curve(name) if value is not None]


class Thinned:
    """The first of many, and every n-th after it: n doubles whenever more than `most` are held."""

    def __init__(self, most: int):
        self.most, self.every, self.seen = most, 1, 0
        self.held: list[tuple[int, Line]] = []
        self.last: tuple[int, Line] | None = None

    def add(self, place: int, line: Line) -> None:
        """Take the line at a place of the file."""
        self.last = place, line
        if self.seen % self.every == 0:
            self.held.append(self.last)
        self.seen += 1
        if len(self.held) > self.most:
            self.held, self.every = self.held[::2], 2 * self.every

    def lines(self) -> dict[int, Line]:
        """Those that are held, by their place, the last among them."""
        return dict([*self.held, *([self.last] if self.last else [])])


def metrics(path: Path) -> dict[str, Any]:
    """`lines`, `sums` and `largest` of a Record, in one pass and bounded memory; lines of no sense are left out."""
    steps, others, done = Thinned(MOST_STEPS), Thinned(MOST_OTHERS), Thinned(1)
    sums: dict[str, float] = {}
    largest: dict[str, float] = {}
    for place, line in enumerate(read_lines(path)):
        if not 0 <= line["step"] < LAST_STEP:
            continue
        if "event" in line or "loss" not in line:
            (done if line.get("event") == "done" else others).add(place, line)
            continue
        steps.add(place, line)
        for name in SUMMED:
            if (known := number(line.get(name))) is not None and abs(known) < LAST_STEP:
                sums[name] = sums.get(name, 0.0) + known
                largest[name] = max(largest.get(name, known), known)
    kept = steps.lines() | others.lines() | done.lines()
    return {"lines": [kept[place] for place in sorted(kept)], "sums": sums, "largest": largest}


def load(path: Path, kind: type) -> Any:
    """The JSON value of a file if it is of this kind, else an empty one."""
    try:
        return read_json(path, DataError, kind=kind)
    except DataError:
        return kind()


def number(value: Any) -> float | None:
    """A finite number, or None for anything else.

    >>> number(3), number(float("nan")), number("3"), number(True)
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dicts by their dotted path; a list is a leaf.

    >>> flatten({"model": {"norm": {"name": "layer_norm"}}, "steps": 3})
    {'model.norm.name': 'layer_norm', 'steps': 3}
    """
    if not isinstance(tree, dict):
        return {prefix: tree}
    found = {}
    for name, value in tree.items():
        found |= flatten(value, f"{prefix}.{name}" if prefix else str(name))
    return found
