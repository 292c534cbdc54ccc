"""A small encoder that was trained before, fine-tuned on three tasks of GLUE and a part of a fourth, beats what counting reaches.

MRPC, CoLA and RTE whole, and the first 10,000 examples of SST-2; three seeds each; 3 epochs at 5e-5, within the grid that BERT
is tuned over (arXiv:1810.04805, appendix A.3).

Run:     python -m experiments.reproduce glue_small
Result:  experiments/results/glue_small.json
"""

import dataclasses
import statistics

from data.tasks.known import known_task
from data.tasks.sources import TaskFiles
from experiments.local_data import check_there, local, minilm
from experiments.reproduction import Criterion, Finished, Reproduction, Start, Values, worst
from train.charts import Chart, Series
from train.config import Experiment
from train.fine_tuning import fine_tuning

FILES = {  # what is trained on, what is scored
    "mrpc": ("mrpc/train.tsv", "mrpc/test.tsv"),
    "cola": ("cola/in_domain_train.tsv", "cola/in_domain_dev.tsv"),
    "rte": ("rte/train.tsv", "rte/dev.tsv"),
    "sst2_10k": ("sst2/glue_train.tsv", "sst2/glue_dev.tsv"),
}
COLUMNS = {"cola": ("_", "label", "_", "sentence")}
AFRESH = "cola_afresh"

# Measured on exactly these files, and written down with them: the commonest class, and naive Bayes on words and pairs of words
# that was trained on all training examples (SST-2: on all 67,349), or for pairs of texts the share of words that both have.
FLOOR = {
    "mrpc accuracy, majority": 0.665,
    "mrpc F1, majority": 0.799,
    "mrpc accuracy, word overlap": 0.731,
    "cola Matthews, majority": 0.0,
    "cola accuracy, majority": 0.693,
    "cola accuracy, naive Bayes": 0.594,
    "rte accuracy, majority": 0.527,
    "rte accuracy, word overlap": 0.527,
    "sst2 accuracy, majority": 0.509,
    "sst2 accuracy, naive Bayes": 0.822,
}
SCORES = {"mrpc": "accuracy", "cola": "matthews", "rte": "accuracy", "sst2_10k": "accuracy"}


def task(name: str) -> Experiment:
    """The experiment on one of the tasks."""
    train, valid = FILES[name]
    data = known_task(name.partition("_")[0])
    source = TaskFiles(local(train), local(valid), COLUMNS.get(name, ()))
    limit = 10_000 if name == "sst2_10k" else None
    length = 256 if name == "rte" else 128  # its texts are paragraphs
    data = dataclasses.replace(data, source=source, train_limit=limit, row_length=length)
    return fine_tuning(data, evaluate_every=100, evaluate_rows=256)


def measure(finished: Finished) -> dict[str, float]:
    """The scores of all held-out examples, those of the majority beside them."""
    names = ("accuracy", "f1", "matthews", "majority_accuracy", "expected_calibration_error")
    return {name: finished.scores[name] for name in names}


def mean(values: Values, variant: str, name: str = "accuracy") -> float:
    """Mean over the seeds."""
    return statistics.fmean(values[variant][name])


def curves(finished: list[Finished]) -> list[Chart]:
    """The score of each task over training, every seed, on the first 256 held-out examples."""
    charts = []
    for name, score in SCORES.items():
        runs = [item for item in finished if item.variant == name]
        series = [
            Series(f"seed {run.seed}", run.held_out(score), tone=1 + n, kind="plain") for n, run in enumerate(runs)
        ]
        if name == "cola":
            runs = [item for item in finished if item.variant == AFRESH][:1]
            series += [Series("drawn afresh", run.held_out(score), tone=5, kind="plain") for run in runs]
        charts.append(Chart(f"glue-{name}", f"{name.replace('_', ' ')}: {score}", series))
    return charts


reproduction = Reproduction(
    paper="Devlin et al. 2018, BERT, arXiv:1810.04805, on GLUE (Wang et al. 2018, arXiv:1804.07461); the encoder is "
    "all-MiniLM-L6-v2 (Wang et al. 2020, MiniLM, arXiv:2002.10957, trained on as a sentence encoder)",
    claim="An encoder that was trained before is fine-tuned on a few thousand examples, with a head and nothing else, to scores "
    "that words and their counts do not reach.",
    published={
        "BERT-base, GLUE test": "MRPC F1 88.9, CoLA Matthews 52.1, RTE accuracy 66.4, SST-2 accuracy 93.5 (table 1)",
    },
    departs="22.7 M parameters in the place of 110 M; the original files in the place of GLUE's: the 3,576 first training pairs "
    "of MRPC and its test pairs, CoLA's in-domain sentences; of SST-2 the first 10,000 of 67,349. The last weights are scored, "
    "not the best.",
    variants={name: task(name) for name in FILES} | {AFRESH: task("cola")},
    starts={name: Start(minilm) for name in FILES} | {AFRESH: Start(minilm, fresh=True)},
    ready=lambda: check_there(*(path for paths in FILES.values() for path in paths)),
    measure=measure,
    criteria=(
        Criterion(
            "MRPC: mean accuracy at least 0.761, word overlap (0.731) and three points",
            lambda v: mean(v, "mrpc") >= 0.761,
        ),
        Criterion(
            "CoLA: mean Matthews correlation at least 0.15, where the majority has 0 by definition",
            lambda v: mean(v, "cola", "matthews") >= 0.15,
        ),
        Criterion(
            "RTE: mean accuracy at least 0.557, the majority (0.527) and three points",
            lambda v: mean(v, "rte") >= 0.557,
        ),
        Criterion(
            "SST-2, 10,000 examples: mean accuracy at least 0.842, naive Bayes on all 67,349 (0.822) and two points",
            lambda v: mean(v, "sst2_10k") >= 0.842,
        ),
        Criterion(
            "the control, CoLA with weights drawn afresh: Matthews correlation at most 0.10, every seed",
            lambda v: worst(v, AFRESH, "matthews") <= 0.10,
        ),
    ),
    floor=lambda: dict(FLOOR),
    control=AFRESH,
    curves=curves,
    options={"keep_last": 1},
)
