"""Several runs of one experiment, that differ in their seed or in a few fields, and what they come to together.

    RUN_DIR/peak=2e-05/seed-0/        a run folder like any other; one level is left out where there is nothing to tell apart
    RUN_DIR/comparison.json           every run with its scores; mean and spread over seeds of each setting
    RUN_DIR/comparison.html           the same as a page

Runs that are finished are not run again, so a comparison goes on where it was stopped.
"""

import dataclasses
import itertools
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from model.inspection.markup import joined
from train.charts import Chart, Series, draw
from train.command import InputError
from train.lines import replace_text
from train.overrides import overridden
from train.page import fill, page
from train.progress import SCORES
from train.run import RunFolder
from train.session import train_run
from train.streams import tell

NOT_SCORES = ("step", "held_out_examples", "held_out_targets", "held_out_documents")


@dataclasses.dataclass(frozen=True)
class Variant:
    """One run of several: the fields in which it differs, its seed, and its folder."""

    fields: dict[str, str]
    seed: int
    folder: Path

    @property
    def label(self) -> str:
        """The fields as a reader knows them."""
        return ", ".join(f"{path.rpartition('.')[2]}={text}" for path, text in self.fields.items()) or "as declared"


def train_several(request: Any, started: float) -> int:
    """Train every variant that a request asks for, one after the other, and compare them. Returns the exit code."""
    parent = Path(request.options.run_dir)
    seeds = parse_seeds(request.options.seeds, request.experiment.seed)
    grid = parse_sweep(request.options.sweep)
    variants = arranged(parent, grid, seeds, bool(request.options.seeds))
    # A mistaken field is told before anything is trained.
    experiments = [changed(request, variant) for variant in variants]
    if RunFolder(parent).exists():
        raise InputError(f"--run-dir {parent} holds a run; name a new folder for several of them")
    for number, (variant, experiment) in enumerate(zip(variants, experiments, strict=True), 1):
        tell(f"{number} of {len(variants)}: {variant.label}, seed {variant.seed}, into {variant.folder}")
        if code := train_variant(request, variant, experiment, started):
            return code
    compared = compare_runs(variants)
    replace_text(parent / "comparison.json", json.dumps(compared, indent=2, ensure_ascii=False) + "\n")
    replace_text(parent / "comparison.html", comparison_page(request.name, compared))
    tell(table_text(compared))
    tell(f"{parent / 'comparison.html'} compares them")
    return 0


def train_variant(request: Any, variant: Variant, experiment: Any, started: float) -> int:
    """Train one of several runs into its folder. Returns the exit code."""
    options = dataclasses.replace(request.options, run_dir=str(variant.folder))
    given = request.given | set(variant.fields) | {"seed"}
    code = train_run(dataclasses.replace(request, experiment=experiment, options=options, given=given), started)
    jax.clear_caches()  # or the programs of all of them stay in memory
    return code


def parse_seeds(text: str, first: int) -> list[int]:
    """How many seeds, or which: "3" are three from the first on, "0,7" are these.

    >>> parse_seeds("3", 5), parse_seeds("0,7", 5), parse_seeds("", 5)
    ([5, 6, 7], [0, 7], [5])
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words) or (text and not words):
        raise InputError(f"--seeds {text} is neither a number of seeds nor a list of them, such as 3 or 0,1,2")
    if not words:
        return [first]
    if len(words) == 1 and "," not in text:
        if not 1 <= int(words[0]) <= 1_000:
            raise InputError(f"--seeds {text} are no runs; use 1 to 1000")
        return [first + number for number in range(int(words[0]))]
    seeds = [int(word) for word in words]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {text} names a seed twice; a run with the same seed is the same run")
    return seeds


def parse_sweep(text: str) -> list[dict[str, str]]:
    """Every combination of the values of each field.

    >>> parse_sweep("data.batch_size=16,32 seed=1")
    [{'data.batch_size': '16', 'seed': '1'}, {'data.batch_size': '32', 'seed': '1'}]
    """
    fields: dict[str, list[str]] = {}
    for word in text.split():
        path, equals, values = word.removeprefix("--").partition("=")
        found = [value for value in values.split(",") if value]
        if not equals or not path or not found:
            raise InputError(f"--sweep {text}: {word!r} is not FIELD=A,B,C; separate fields with spaces, in quotes")
        if (path := path.replace("-", "_")) in fields:
            raise InputError(f"--sweep {text} names {path} twice; give its values together, as {path}=A,B")
        fields[path] = found
    return [dict(zip(fields, chosen, strict=True)) for chosen in itertools.product(*fields.values())]


def arranged(parent: Path, grid: Sequence[dict[str, str]], seeds: Sequence[int], named: bool) -> list[Variant]:
    """The runs with their folders, settings first."""
    variants = []
    for fields in grid:
        words = [f"{path.rpartition('.')[2]}={text}".replace("/", "_") for path, text in fields.items()]
        folder = parent / ",".join(words) if words else parent
        variants += [Variant(fields, seed, folder / f"seed-{seed}" if named or not words else folder) for seed in seeds]
    return variants


def changed(request: Any, variant: Variant) -> Any:
    """The experiment of a variant. ValueError for a field that is not there."""
    seed = {} if "seed" in variant.fields else {"seed": str(variant.seed)}
    try:
        experiment = overridden(request.experiment, {**seed, **variant.fields}, known=())
    except ValueError as error:
        raise InputError(str(error)) from error
    return dataclasses.replace(experiment, epochs=None) if "steps" in variant.fields else experiment


def compare_runs(variants: Sequence[Variant]) -> dict[str, Any]:
    """Scores of every run, and over the seeds of each setting their mean and standard deviation."""
    runs = [
        {
            "setting": v.label,
            "seed": v.seed,
            "folder": str(v.folder),
            "scores": RunFolder(v.folder).read("scores.json") or {},
        }
        for v in variants
    ]
    settings = {}
    for label in dict.fromkeys(run["setting"] for run in runs):
        mine = [run["scores"] for run in runs if run["setting"] == label]
        names = [
            name
            for name in mine[0]
            if name not in NOT_SCORES and all(isinstance(scores.get(name), int | float) for scores in mine)
        ]
        settings[label] = {name: summed_up([scores[name] for scores in mine]) for name in names}
    return {"runs": runs, "settings": settings}


def summed_up(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation (of a sample, n - 1) over seeds.

    >>> summed_up([0.5, 0.75])
    {'mean': 0.625, 'spread': 0.1767766952966369}
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if len(finite) < len(values):
        return {"mean": None, "spread": None}
    return {"mean": statistics.fmean(finite), "spread": statistics.stdev(finite) if len(finite) > 1 else None}


def told(item: dict[str, float | None]) -> str:
    """A mean with its spread."""
    if item["mean"] is None:
        return "not finite"
    return f"{item['mean']:.4f}" + ("" if item["spread"] is None else f" ± {item['spread']:.4f}")


def table_text(compared: dict[str, Any]) -> str:
    """The settings and their scores in plain columns."""
    width = max(len(label) for label in compared["settings"])
    return "\n".join(
        f"{label:{width}}  " + "  ".join(f"{SCORES.get(name, name)} {told(item)}" for name, item in scores.items())
        for label, scores in compared["settings"].items()
    )


def comparison_page(name: str, compared: dict[str, Any]) -> str:
    """The comparison as a standalone page: a table of settings, a chart by seed of each score, and every run."""
    settings = compared["settings"]
    names = list(dict.fromkeys(score for scores in settings.values() for score in scores))
    rows = [[label, *(told(scores[n]) if n in scores else "" for n in names)] for label, scores in settings.items()]
    runs = [[run["setting"], str(run["seed"]), run["folder"]] for run in compared["runs"]]
    charts = joined(draw(chart_of(score, compared, number)) for number, score in enumerate(names[:6]))
    parts = [
        ("settings", "Settings", fill("page", "table", ["setting", *(str(SCORES.get(n, n)) for n in names)], rows)),
        ("seeds", "By seed", fill("page", "charts", charts)),
        ("runs", "Runs", fill("page", "table", ["setting", "seed", "folder"], runs)),
    ]
    header = fill("page", "heading", "Several runs compared", name, ["Mean ± standard deviation over seeds."])
    footer = fill("page", "code", "Made by ", "python -m train.finetune", ".")
    body = joined(fill("page", "section", *part) for part in parts)
    return page(f"{name}: {len(settings)} settings", header, body, footer)


def chart_of(score: str, compared: dict[str, Any], number: int = 0) -> Chart:
    """A score of every run, setting by setting, in a dot for each seed."""
    runs = list(enumerate(compared["runs"]))

    def points(label: str) -> list[tuple[float, float | None]]:
        return [(float(at), run["scores"].get(score)) for at, run in runs if run["setting"] == label]

    series = [
        Series(label, points(label), tone=1 + tone % 5, kind="dots") for tone, label in enumerate(compared["settings"])
    ]
    return Chart(f"score-{number}-{score}", SCORES.get(score, score), series, axis="run")
