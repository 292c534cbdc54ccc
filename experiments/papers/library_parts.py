"""Minutes of pre-training on a text are worth points on a task about the same text: the embedded task, without a download.

Begins with a run of `bert_tiny` in runs/bert_tiny; another one is named with --init.

Run:     python -m experiments.reproduce library_parts
Result:  experiments/results/library_parts.json
"""

import statistics
from pathlib import Path

from data.errors import DataError
from experiments.reproduction import Criterion, Finished, Reproduction, Start, Values
from experiments.tasks.library_parts import experiment
from train.charts import Chart, Series

PRETRAINED, AFRESH = "pre_trained", "drawn_afresh"
BASE = "runs/bert_tiny"


def base() -> str:
    """The run that both begin with, one with its weights; DataError with the command that makes it."""
    if not (Path(BASE) / "config.json").is_file():
        raise DataError(
            f"there is no run in {BASE}; make it with: python -m train.pretrain --exp=bert_tiny, or name one with --init RUN"
        )
    return BASE


def measure(finished: Finished) -> dict[str, float]:
    """Scores of all held-out docstrings, and the share of their largest part."""
    return {name: finished.scores[name] for name in ("accuracy", "macro_f1", "valid_loss", "majority_accuracy")}


def mean(values: Values, variant: str, name: str = "accuracy") -> float:
    """Mean over the seeds."""
    return statistics.fmean(values[variant][name])


def curves(finished: list[Finished]) -> list[Chart]:
    """Held-out accuracy over training, every seed of both."""
    series = [
        Series(
            f"{run.variant.replace('_', ' ')}, seed {run.seed}",
            run.held_out("accuracy"),
            tone=1 if run.variant == PRETRAINED else 5,
            kind="plain",
        )
        for run in finished
    ]
    return [Chart("library-parts", "Held-out accuracy", series, wide=True)]


reproduction = Reproduction(
    paper="Devlin et al. 2018, BERT, arXiv:1810.04805; that it helps at every size: Turc et al. 2019, arXiv:1908.08962",
    claim="Pre-training and then fine-tuning beats the same model with weights drawn afresh.",
    published={"form of the claim": "pre-training, then fine-tuning, is better at every size, down to 2 layers of 128"},
    departs="The 2 x 128 encoder of bert_tiny, minutes of masked-language modelling on two megabytes of documentation; the task "
    "is to tell from which part of Python's standard library a docstring is. The text of the task was read before, without its "
    "labels: this is the kindest case for pre-training.",
    variants={PRETRAINED: experiment, AFRESH: experiment},
    starts={PRETRAINED: Start(base), AFRESH: Start(base, fresh=True)},
    measure=measure,
    criteria=(
        Criterion(
            "pre-trained: mean accuracy at least 20 points above the majority",
            lambda v: mean(v, PRETRAINED) >= mean(v, PRETRAINED, "majority_accuracy") + 0.20,
        ),
        Criterion(
            "the control, drawn afresh: mean accuracy at least 3 points below that of the pre-trained",
            lambda v: mean(v, AFRESH) <= mean(v, PRETRAINED) - 0.03,
        ),
    ),
    # Of the same examples, as data/tasks/library_parts.py has it: on CPython 3.11.7; elsewhere the library is another.
    floor=lambda: {
        "accuracy, majority, CPython 3.11.7": 0.182,
        "accuracy, naive Bayes on words, CPython 3.11.7": 0.837,
    },
    control=AFRESH,
    curves=curves,
    options={"keep_last": 1},
)
