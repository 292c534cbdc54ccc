"""Choose the recipe of a pre-training experiment, and keep all that was tried.

    python -m experiments.recipe bert_small --sweep 'optimizer.matrix_peak=0.01,0.02 objective.masking.rate=0.15,0.3'
    python -m experiments.recipe bert_small --score runs/recipe/seed-0 runs/recipe/seed-1 runs/recipe/seed-2

A sweep trains every setting once, with a seed that no reported run has, and scores it on every other held-out document. Runs of
the recipe that was chosen are scored on the documents between those, so that no choice was made on what is reported. Both go to
experiments/results/recipe_NAME.json: what was tried before stays there, and is not trained again.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax

from data.held_out import from_texts, read_texts
from experiments.record import RESULTS
from train.command import Parser, start
from train.config import Experiment
from train.environment import describe_environment, for_others
from train.lines import read_metrics, replace_text
from train.overrides import overridden
from train.registry import Declared, load
from train.run import Run, RunError
from train.session import train
from train.several import parse_sweep, summed_up
from train.streams import tell

SEED = 10  # of every setting that is tried; reported runs have 0, 1, 2
CHOOSING, REPORTED = 0, 1  # which of two neighbouring held-out documents
FIGURES = (
    "valid_loss",
    "unigram_entropy",
    "context_gain",
    "nats_per_byte",
    "masked_accuracy",
    "next_sentence_accuracy",
)


def main() -> int:
    """The command; returns its exit code."""
    parser = Parser(prog="python -m experiments.recipe", description=__doc__)
    parser.add_argument("name", help="the experiment")
    parser.add_argument("--sweep", default="", help="settings to try, as 'FIELD=A,B FIELD=C,D'")
    parser.add_argument(
        "--score", nargs="+", default=(), metavar="RUN", help="finished runs of the recipe, to be reported"
    )
    parser.add_argument("--runs", default="runs/recipe", help="where run folders of settings go")
    parser.add_argument("--out", default=str(RESULTS), help="where recipe_NAME.json goes")
    given = parser.parse_args()
    if bool(given.sweep) == bool(given.score):
        parser.error("give one of --sweep and --score")
    declared = load(given.name)
    path = Path(given.out) / f"recipe_{declared.name}.json"
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if given.sweep:
        tried = kept.setdefault("tried", {})
        for fields in parse_sweep(given.sweep):
            label = " ".join(f"{field}={value}" for field, value in sorted(fields.items()))
            if label not in tried:
                folder = Path(given.runs) / declared.name / label.replace("/", "_")
                tried[label] = try_setting(declared.experiment, fields, folder)
                write(path, kept)  # what is interrupted keeps what it has
            tell(f"{tried[label]['valid_loss']:.3f} nats, context gain {tried[label]['context_gain']:.3f}: {label}")
    else:
        kept["reported"] = report(declared, [Path(run) for run in given.score])
        tell(json.dumps(kept["reported"]["over_seeds"], indent=2))
    kept["environment"] = for_others(describe_environment())
    write(path, kept)
    return 0


def try_setting(declared: Experiment, fields: dict[str, str], folder: Path) -> dict[str, Any]:
    """Train one setting and score it on the choosing half."""
    experiment = dataclasses.replace(overridden(declared, dict(fields), known=()), seed=SEED)
    begin = time.time()
    run = train(experiment, folder)
    return scored(run, CHOOSING) | {
        "minutes_of_steps": minutes(folder),
        "minutes": round((time.time() - begin) / 60, 1),
    }


def report(declared: Declared, folders: list[Path]) -> dict[str, Any]:
    """Finished runs of the declared recipe on the reported half: RunError where one is of something else."""
    by_seed: dict[int, dict[str, Any]] = {}
    for folder in folders:
        run = Run.open(folder)
        seed = run.experiment.seed
        wanted = declared.experiment.with_vocabulary(run.experiment.model.vocab_size).for_platform(
            jax.default_backend()
        )
        if dataclasses.replace(run.experiment, seed=wanted.seed) != wanted:
            name = declared.name
            raise RunError(f"{folder} is no run of {name} as it is declared; train it with --exp={name} --seed {seed}")
        if seed == SEED or seed in by_seed:
            raise RunError(
                f"{folder} has the seed {seed}, which {'chose the recipe' if seed == SEED else 'another has'}"
            )
        by_seed[seed] = scored(run, REPORTED) | {"minutes_of_steps": minutes(folder)}
    over = {
        name: summed_up([one[name] for one in by_seed.values()])
        for name in FIGURES
        if name in next(iter(by_seed.values()))
    }
    return {"by_seed": by_seed, "over_seeds": over}


def scored(run: Run, half: int) -> dict[str, Any]:
    """The figures of a run on every other held-out document, the first of two or the second."""
    texts = read_texts(run.folder.path)[half::2]
    found = run.evaluator(from_texts(texts, run.tokenizer)).full(run.params)
    return {name: round(float(found[name]), 4) for name in FIGURES if name in found} | {"documents": len(texts)}


def minutes(folder: Path) -> float:
    """What the steps of a run took together."""
    return round(sum(line.get("seconds", 0.0) for line in read_metrics(folder)) / 60, 1)


def write(path: Path, kept: dict[str, Any]) -> None:
    """The result, at one stroke."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    start(main)
