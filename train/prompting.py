"""Zero- and few-shot scores from the command line: python -m train.evaluate RUN_OR_DIR --tasks sst2,piqa --shots 0,4

Part of `train.evaluate`, which comes here where --tasks or --harness is given. Scores are written to
RUN_DIR/scores-few_shot.json (harness: scores-harness.json), flat: accuracy_sst2_4_shot, accuracy_stderr_sst2_4_shot, floor_sst2,
... Those of a published folder are only printed unless --out names a file. No file that is there is written over.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train import cli
from train.command import InputError, configure_jax, new_file
from train.registry import entries, is_published
from train.suggest import nearest

if TYPE_CHECKING:
    from train.likelihood import Scorer

MOST_TEXTS = 200  # documents of a source of text, unless --limit says otherwise


@dataclass(frozen=True)
class PromptOptions:
    """What `train.evaluate --tasks` takes beside the model."""

    tasks: str = ""
    """Tasks in words, by name with commas between: sst2, cola, rte, mrpc, ag_news, piqa, hellaswag, arc_easy, copa, boolq,
    library (no download), wikitext, text."""
    shots: str = "0"
    """How many solved examples stand before each question; several numbers with commas between."""
    seed: str = "0"
    """Draws the shots; with several seeds, commas between, means and their spread are given."""
    limit: int | None = None
    """Ask the first so many examples of each task only."""
    harness: str = ""
    """Tasks of lm-evaluation-harness instead, which must be installed (the extra `eval`); it finds their data itself."""
    out: str | None = None
    """Write the scores to this new file, not into the run folder."""
    step: int | None = None
    """The checkpoint of a run; None: the newest."""
    base: str | None = None
    """Where the base lies that a run with --peft was trained on, if it has been moved."""
    mesh: str = ""
    """Devices along each kind of parallelism, as data=2,fsdp=2; empty: all of them along data."""

    def __post_init__(self):
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit {self.limit} leaves no example; use 1 or more")
        for name in ("shots", "seed"):
            whole_numbers(name, getattr(self, name))


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit code."""
    words, given = cli.take_texts(argv, ("data.source", "data.task.spelt"))
    request = cli.parse_model(words, command="evaluate", options=PromptOptions)
    options, source = request.options, (given.get("data.source") or [None])[-1]
    spelt = read_spelt(given.get("data.task.spelt", []))
    if bool(options.tasks) == bool(options.harness):
        raise InputError("name tasks with --tasks, or tasks of the harness with --harness; one of the two")
    if options.harness:
        if source is not None:
            raise InputError(
                "--data.source is not for the harness, whose tasks find their data themselves; leave it out"
            )
        if spelt:
            raise InputError(
                "--data.task.spelt is not for the harness, whose tasks read labels themselves; leave it out"
            )
        if len(whole_numbers("seed", options.seed)) > 1:
            raise InputError(f"--seed {options.seed}: the harness draws by one seed; give one")
        need_harness()
    else:
        check_spelt(known_tasks(options.tasks), spelt)
        if "seed" in request.given and not any(whole_numbers("shots", options.shots)):
            raise InputError("--seed draws the shots, and there are none; add --shots 4, or leave it out")
    place = place_of(request.path, options)
    configure_jax()
    from train.pretrained import open_any

    chosen = None if options.harness else examples_of(options, source)
    opened = open_any(request.path, step=options.step, mesh=options.mesh, base=options.base)
    shots = whole_numbers("shots", options.shots)
    scores: dict[str, Any]
    if chosen is None:
        from train.harness import harness_scores

        counts = shots if "shots" in request.given else (None,)
        seed = whole_numbers("seed", options.seed)[0]
        scores = {}
        for count in counts:
            scores |= harness_scores(opened, options.harness, shots=count, limit=options.limit, seed=seed)
    else:
        from train.likelihood import Scorer

        seeds = whole_numbers("seed", options.seed)
        scores = task_scores(Scorer(opened), chosen, shots=shots, seeds=seeds, limit=options.limit, spelt=spelt)
    if opened.run is not None:
        scores |= {"step": opened.run.step}
    show(scores)
    if place is not None:
        from train.lines import replace_text

        replace_text(place, json.dumps(scores, indent=2, ensure_ascii=False) + "\n")
        print(f"written to {place}")
    return 0


def task_scores(
    scorer: "Scorer",
    chosen: dict[str, Any],
    *,
    shots: Sequence[int] = (0,),
    seeds: Sequence[int] = (0,),
    limit: int | None = None,
    spelt: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> dict[str, float]:
    """Flat scores of tasks, each with its examples as `examples_of` gives them; how labels are read is said."""
    from train.few_shot import WholeTexts, few_shot, floor, questions, text_scores

    found: dict[str, float] = {}
    for name, (task, parts) in chosen.items():
        begin, scorer.cut = time.monotonic(), 0
        if isinstance(task, WholeTexts):
            texts = parts[: limit or MOST_TEXTS]
            found |= {f"{metric}_{name}": value for metric, value in text_scores(scorer, task, texts).items()}
            found[f"texts_{name}"] = len(texts)
            continue
        train, valid = parts
        told = lambda line, name=name: say(f"{name}: {line}")  # noqa: E731
        every = questions(task, valid, among=train or (), spelt=spelt, say=told)
        pool = every if train is None else questions(task, train, among=valid, spelt=spelt) if any(shots) else []
        asked = every[:limit]
        found |= {f"examples_{name}": len(asked), f"floor_{name}": floor(task, asked)}
        for count in shots:
            scores = few_shot(scorer, task, asked, pool, count, seeds, own=train is None)
            found |= {f"{metric}_{name}_{count}_shot": value for metric, value in scores.items()}
        rounds = sum(len(seeds) if count else 1 for count in shots)
        say(f"{name}: {len(asked):,} questions, {rounds} rounds in {time.monotonic() - begin:.1f} s")
        if scorer.cut:
            say(
                f"note: {scorer.cut:,} contexts of {name} lost their beginning to fit the {scorer.room} places of the model"
            )
    return found


def examples_of(options: PromptOptions, source: str | None) -> dict[str, Any]:
    """Tasks by name, each with its examples, read before any model is opened."""
    from data.errors import NotPrepared
    from train.few_shot import WholeTexts
    from train.few_shot_sources import open_examples

    chosen: dict[str, Any] = {}
    for name, task in known_tasks(options.tasks).items():
        word = source or task.source
        if not word:
            raise InputError(
                f"{name} has no text of its own; name some with --data.source, such as files:{name}.txt#whole"
            )
        if isinstance(task, WholeTexts):
            from data.corpus import open_corpora
            from data.sources import parse_source

            corpora = open_corpora(parse_source(word))
            texts = (text for corpus in corpora for text in corpus.texts())
            chosen[name] = task, [text for text, _ in zip(texts, range(options.limit or MOST_TEXTS), strict=False)]
        else:
            try:
                chosen[name] = task, open_examples(word)
            except NotPrepared as error:
                raise error.for_experiment(name if name in {item.name for item in entries()} else "sst2") from None
    if source is not None and len(chosen) > 1:
        raise InputError(
            f"--data.source is of one task, and --tasks {options.tasks} names {len(chosen)}; name one at a time"
        )
    return chosen


def need_harness() -> None:
    """InputError where lm-evaluation-harness is not installed."""
    import importlib.util

    if importlib.util.find_spec("lm_eval") is None:
        raise InputError("--harness needs lm-evaluation-harness, which is not installed; pip install -e '.[eval]'")


def known_tasks(names: str) -> dict[str, Any]:
    """The tasks of these names, with commas between. InputError with the nearest for one that nobody knows."""
    from train.few_shot_tasks import TASKS

    found = {}
    for name in filter(None, (word.strip() for word in names.split(","))):
        if name not in TASKS:
            near = nearest(name, list(TASKS))
            hint = f"did you mean {near}?" if near else f"there are {', '.join(TASKS)}"
            raise InputError(f"--tasks: there is no task {name!r}; {hint}")
        found[name] = TASKS[name]
    if not found:
        raise InputError(f"--tasks names no task; there are {', '.join(TASKS)}")
    return found


def read_spelt(given: Sequence[str]) -> tuple[str, ...]:
    """The words of --data.task.spelt; the last of several wins."""
    if not given:
        return ()
    from data.tasks import choices
    from train.values import read

    spelt = read("--data.task.spelt", given[-1], tuple[str, ...], ())
    choices.check_spelt(spelt)
    return spelt


def check_spelt(tasks: dict[str, Any], spelt: Sequence[str]) -> None:
    """InputError where words for labels are given, and tasks have none, others, or another number of them."""
    if not spelt:
        return
    if len(tasks) > 1:
        raise InputError(f"--data.task.spelt is of one task, and --tasks names {len(tasks)}; name one at a time")
    (name, task), *_ = tasks.items()
    if not hasattr(task, "answers"):
        raise InputError(f"--data.task.spelt is for labels, and {name} has none; leave it out")
    if task.answers and len(task.answers) != len(spelt):
        raise InputError(
            f"--data.task.spelt has {len(spelt)} words, and {name} has {len(task.answers)} classes; write one each"
        )


def place_of(path: str, options: PromptOptions) -> Path | None:
    """The file that the scores go to, None for a published folder; InputError if it is there already."""
    if options.out:
        return new_file("--out", options.out)
    if is_published(path):
        return None
    place = Path(path) / ("scores-harness.json" if options.harness else "scores-few_shot.json")
    if place.exists():
        raise InputError(f"{place} is there already; name a new file with --out, or move it away")
    return place


def whole_numbers(name: str, text: str) -> tuple[int, ...]:
    """Numbers with commas between, none twice.

    >>> whole_numbers("shots", "0, 4")
    (0, 4)
    """
    words = [word.strip() for word in str(text).split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise ValueError(f"--{name} {text} is no list of whole numbers, each once; write --{name} 0 or --{name} 0,4")
    return tuple(map(int, words))


def show(scores: dict[str, Any]) -> None:
    """Print scores, a line each."""
    width = max(24, *(len(key) for key in scores))
    for key, value in scores.items():
        said = f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else value
        print(f"{key:{width}} {said}")
    sys.stdout.flush()
