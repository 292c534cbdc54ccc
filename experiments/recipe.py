"""Choose the recipe of a pre-training experiment, and keep all that was tried.

    python -m experiments.recipe bert_tiny --sweep 'optimizer.matrix_peak=0.01,0.02 optimizer.schedule.peak=1e-3,2e-3'
    python -m experiments.recipe bert_tiny --score runs/bert_tiny runs/bert_tiny-1 runs/bert_tiny-2

A sweep trains every setting once, with a seed that no reported run has, and scores it on one half of the held-out documents, by
a digest of their text. Runs of the recipe that was chosen are scored on the other half, so that no choice was made on what is
reported. Both go to experiments/results/recipe_NAME.json: what was tried before stays there, and is not trained again.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from data.held_out import from_texts, read_texts
from experiments.record import RESULTS
from model.config import to_json
from train.agreement import compare, is_finished
from train.command import InputError, Parser, start
from train.config import Experiment
from train.diverging import Diverged
from train.environment import for_others
from train.lines import plain, read_metrics, replace_text
from train.overrides import overridden
from train.registry import Declared, load
from train.run import Run, RunError, RunFolder
from train.session import train
from train.several import parse_sweep, summed_up
from train.streams import tell
from train.usage import flag_words

SEED = 10  # of every setting that is tried; reported runs have others, such as 0, 1, 2
CHOOSING, REPORTED = 0, 1  # which half of the held-out documents
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
    parser.add_argument("name", help="the experiment, or a file of one")
    parser.add_argument("--sweep", help="settings to try, as 'FIELD=A,B FIELD=C,D'")
    parser.add_argument(
        "--score", nargs="+", default=(), metavar="RUN", help="finished runs of the recipe, to be reported"
    )
    parser.add_argument("--runs", default="runs/recipe", help="where run folders of settings go")
    parser.add_argument("--out", default=str(RESULTS), help="the folder in which recipe_NAME.json lies")
    given = parser.parse_args()
    if (given.sweep is None) == (not given.score):
        parser.error("give one of --sweep and --score")
    declared = one_line_of(lambda: load(given.name))
    path = Path(given.out) / f"recipe_{declared.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)  # before anything is trained
    kept = read_kept(path)
    if given.sweep is None:
        kept["reported"] = report(declared, [Path(run) for run in given.score], given.name)
        write(path, kept)
        tell(json.dumps(kept["reported"]["over_seeds"], indent=2))
        return 0
    tried = kept["tried"]
    for label, experiment in settings(declared.experiment, given.sweep).items():
        if label not in tried:
            tried[label] = try_setting(experiment, Path(given.runs) / declared.name / digest(experiment))
            jax.clear_caches()  # or the programs of all of them stay in memory
            write(path, kept)  # what is interrupted keeps what it has
        elif tried[label]["experiment"] != digest(experiment):
            raise InputError(
                f"{path} has {label} of another {declared.name}: the rest of its recipe has changed since; name what changed "
                "in the sweep, or another folder with --out"
            )
        tell(f"{in_short(tried[label])}: {label}")
    return 0


def one_line_of(read: Callable[[], Any]) -> Any:
    """What `read` gives; its ValueError, which names the mistake and a remedy, as bad input."""
    try:
        return read()
    except ValueError as error:
        raise InputError(str(error)) from error


def read_kept(path: Path) -> dict[str, Any]:
    """What was tried and reported before; InputError where the file is none of ours."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"tried": {}}
        if all(isinstance(entry["experiment"], str) for entry in kept["tried"].values()):
            return kept
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise InputError(f"{path} is damaged, or of another program; move it away, or name another folder with --out")


def settings(declared: Experiment, sweep: str) -> dict[str, Experiment]:
    """Each setting of a sweep by a label that says the values as they were read. InputError for any mistake in one."""
    found: dict[str, Experiment] = {}
    grid = parse_sweep(sweep)
    if not grid[0]:
        raise InputError("--sweep names no field; give 'FIELD=A,B FIELD=C,D'")
    for fields in grid:
        if "seed" in fields:
            raise InputError(f"--sweep seed: every setting is tried with the seed {SEED}; leave it out")
        experiment = one_line_of(lambda: overridden(declared, dict(fields), known=()))  # noqa: B023
        experiment = experiment.for_platform(jax.default_backend(), set(fields))
        masking = getattr(experiment.objective, "masking", None)
        if "objective.masking.rate" in fields and masking is not None and masking.scored_rate is None:
            raise InputError(
                "--sweep objective.masking.rate: each would be scored with as much hidden as it trains with; sweep "
                "objective.masking.scored_rate=0.15 with it"
            )
        words = flag_words(experiment)
        read = {field: words.get(field, words.get(f"{field}.name", text)) for field, text in fields.items()}
        label = " ".join(f"{field}={value}" for field, value in sorted(read.items()))
        found[label] = dataclasses.replace(experiment, seed=SEED)
    return found


def digest(experiment: Experiment) -> str:
    """The beginning of a digest of all fields."""
    text = json.dumps(to_json(experiment), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def try_setting(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Train one setting and score it on the choosing half; of one that diverges it is kept that it does."""
    try:
        run = train(experiment, folder)
    except Diverged as error:
        return {"experiment": digest(experiment), "valid_loss": None, "diverged": str(error)} | trained(folder)
    return {"experiment": digest(experiment)} | scored(run, CHOOSING) | trained(folder)


def report(declared: Declared, folders: list[Path], called: str) -> dict[str, Any]:
    """Finished runs of the declared recipe, which the command line calls `called`, on the reported half.

    Raises:
        RunError: one of them is of something else, or is not finished.
    """
    by_seed: dict[int, dict[str, Any]] = {}
    for folder in folders:
        run = Run.open(folder, strict=True)
        if not isinstance(run, Run):
            raise RunError(f"{folder} is a published folder, which does not say how it was trained; name a run folder")
        seed, ran_on = run.experiment.seed, (run.folder.read("environment.json") or {}).get("backend", "cpu")
        wanted = declared.experiment.with_vocabulary(run.experiment.model.vocab_size).for_platform(ran_on)
        if found := compare(dataclasses.replace(wanted, seed=seed), run.experiment):
            raise RunError(
                f"{folder} is no run of {called} as it is declared: {found[0]}; train one with "
                f"python -m train.pretrain --exp={called} --run-dir NEW"
            )
        if seed == SEED:
            raise RunError(f"{folder} has the seed {SEED}, with which recipes are chosen; train one with --seed 0")
        if seed in by_seed:
            raise RunError(f"{folder} has the seed {seed}, which another has; name each run once")
        if not is_finished(run.folder, run.experiment):
            raise RunError(f"{folder} has not taken all {run.experiment.steps} steps; repeat the command that began it")
        by_seed[seed] = scored(run, REPORTED) | trained(folder)
    over = {
        name: summed_up([one[name] for one in by_seed.values()])
        for name in FIGURES
        if all(one.get(name) is not None for one in by_seed.values())
    }
    return {"experiment": digest(declared.experiment), "by_seed": by_seed, "over_seeds": over}


def scored(run: Run, half: int) -> dict[str, Any]:
    """The figures of a run on one half of its held-out documents. RunError if there is no document in it."""
    texts = [text for text in read_texts(run.folder.path) if half_of(text) == half]
    if not texts:
        raise RunError(
            f"{run.folder.path} holds out too few documents to halve them; hold out more with data.valid_documents"
        )
    found = run.evaluator(from_texts(texts, run.tokenizer)).full(run.params)
    return {name: plain(round(float(found[name]), 4)) for name in FIGURES if name in found} | {"documents": len(texts)}


def half_of(text: str) -> int:
    """To which half a document belongs, wherever it stands.

    >>> half_of("one document"), half_of("other")
    (0, 1)
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[0] % 2


def trained(folder: Path) -> dict[str, Any]:
    """What the steps of a run took together, and where they were taken."""
    environment = for_others(RunFolder(folder).read("environment.json") or {})
    taken = sum(line.get("seconds") or 0.0 for line in read_metrics(folder))
    where = {name: environment.get(name) for name in ("processor", "cpu_count", "python", "git_revision", "git_dirty")}
    return {"minutes_of_steps": round(taken / 60, 1), **where}


def in_short(entry: dict[str, Any]) -> str:
    """The loss of a setting, and what it has from context."""
    loss, gain = (entry.get(name) for name in ("valid_loss", "context_gain"))
    said = "not finite" if loss is None else f"{loss:.3f} nats"
    return said if gain is None else f"{said}, context gain {gain:.3f}"


def write(path: Path, kept: dict[str, Any]) -> None:
    """The result, at one stroke."""
    replace_text(path, json.dumps(kept, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


if __name__ == "__main__":
    start(main)
