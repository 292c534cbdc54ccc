"""A search over fields of an experiment, each trial a run folder of its own; the door to optuna.

    train.finetune --exp=TASK --init=RUN --search 'optimizer.schedule.peak=1e-5:1e-3:log data.batch_size=16,32' --trials 20

    RUN_DIR/trial-0/  RUN_DIR/trial-1/ ...         run folders like any other
    RUN_DIR/comparison.json  comparison.html       every trial with its scores

What is proposed depends on the seed and on the scores before it, and on nothing else. So the same command goes on where it
was stopped, and a larger `--trials` goes on from the last; there is no data base beside the runs.
"""

import importlib.util
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.command import InputError
from train.lines import replace_text
from train.run import RunFolder
from train.selection import FALLING
from train.several import Variant, changed, compare_runs, comparison_page, train_variant
from train.streams import tell


@dataclass(frozen=True)
class Span:
    """Numbers from `low` to `high`, evenly or by their logarithm; whole ones where both ends are written so."""

    low: float
    high: float
    log: bool
    whole: bool

    @property
    def first(self) -> str:
        """The lower end, as the word that sets it."""
        return str(int(self.low)) if self.whole else f"{self.low:.6g}"


Space = dict[str, Span | tuple[str, ...]]


def train_search(request: Any, started: float) -> int:
    """Train as many trials as are asked for, one after the other, and name the best. Returns the exit code."""
    space, parent = parse_space(request.options.search), Path(request.options.run_dir)
    first = {path: among.first if isinstance(among, Span) else among[0] for path, among in space.items()}
    changed(request, Variant(first, request.experiment.seed, parent))  # a mistaken field is told before all else
    if RunFolder(parent).exists():
        raise InputError(f"--run-dir {parent} holds a run; name a new folder for a search")
    if importlib.util.find_spec("optuna") is None:
        raise InputError("--search needs optuna: pip install -e '.[search]'")
    import optuna  # pyright: ignore[reportMissingImports]

    metric = request.experiment.selection.metric or request.experiment.headline[0]
    falls = metric.endswith(FALLING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=request.experiment.seed)
    study = optuna.create_study(direction="minimize" if falls else "maximize", sampler=sampler)
    variants: list[Variant] = []
    for number in range(request.options.trials):
        trial = study.ask()
        fields = {path: proposed(trial, path, among) for path, among in space.items()}
        variant = Variant(fields, request.experiment.seed, parent / f"trial-{number}")
        tell(f"trial {number} of {request.options.trials}: {variant.label}, into {variant.folder}")
        if code := train_variant(request, variant, changed(request, variant), started):
            return code
        scores = RunFolder(variant.folder).read("scores.json") or {}
        if metric not in scores:
            raise InputError(f"--selection.metric {metric} is none of the scores of this task: {', '.join(scores)}")
        value = float(scores[metric])
        study.tell(trial, value if math.isfinite(value) else (math.inf if falls else -math.inf))
        variants.append(variant)
        compared = compare_runs(variants)
        replace_text(parent / "comparison.json", json.dumps(compared, indent=2, ensure_ascii=False) + "\n")
        replace_text(parent / "comparison.html", comparison_page(request.name, compared))
    best = variants[study.best_trial.number]
    tell(f"the best {metric} of {len(variants)} trials is {study.best_value:.4f}: {best.label}, in {best.folder}")
    return 0


def proposed(trial: Any, path: str, among: Span | tuple[str, ...]) -> str:
    """The value of a field in a trial, as the word that sets it."""
    if not isinstance(among, Span):
        return str(trial.suggest_categorical(path, list(among)))
    if among.whole:
        return str(trial.suggest_int(path, int(among.low), int(among.high), log=among.log))
    return f"{trial.suggest_float(path, among.low, among.high, log=among.log):.6g}"


def parse_space(text: str) -> Space:
    """What is searched: FIELD=LOW:HIGH, FIELD=LOW:HIGH:log, or FIELD=A,B,C, with spaces between fields.

    >>> parse_space("optimizer.schedule.peak=1e-5:1e-3:log data.batch_size=16,32")["optimizer.schedule.peak"]
    Span(low=1e-05, high=0.001, log=True, whole=False)
    """
    space: Space = {}
    for word in text.split():
        path, equals, values = word.removeprefix("--").partition("=")
        if not equals or not path or not values:
            raise InputError(f"--search {text}: {word!r} is not FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=A,B,C")
        space[path.replace("-", "_")] = (
            read_span(word, values) if ":" in values else tuple(filter(None, values.split(",")))
        )
    if not space:
        raise InputError("--search names no field; write FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=A,B,C")
    return space


def read_span(word: str, values: str) -> Span:
    """The ends of a span. InputError where they are none."""
    low, high, *scale = values.split(":")
    try:
        span = Span(float(low), float(high), scale == ["log"], low.isdecimal() and high.isdecimal())
    except ValueError:
        raise InputError(f"--search {word}: {low} and {high} must be numbers, the lower first") from None
    if scale not in ([], ["log"]) or not span.low < span.high or (span.log and span.low <= 0):
        raise InputError(f"--search {word}: write LOW:HIGH with LOW below HIGH, and above 0 with :log behind it")
    return span
