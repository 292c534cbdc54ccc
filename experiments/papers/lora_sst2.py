"""Few parameters, nearly the score of all: LoRA against full fine-tuning on the whole of SST-2, for one epoch.

Run:     python -m experiments.reproduce lora_sst2
Result:  experiments/results/lora_sst2.json
"""

import dataclasses
import statistics
from typing import Any

import jax

from data.tasks.known import known_task
from data.tasks.sources import TaskFiles
from experiments.local_data import check_there, local, minilm
from experiments.reproduction import Criterion, Finished, Reproduction, Start, Values
from model.families import bert
from model.peft import LoRA
from train.charts import Chart, Series
from train.config import Experiment
from train.fine_tuning import fine_tuning
from train.objectives.tasks import Classify
from train.rates import Tuning
from train.sharding import dotted
from train.state import parameter_count

TRAIN, VALID = "sst2/glue_train.tsv", "sst2/glue_dev.tsv"
FULL, LORA, HEAD = "full", "lora", "head_alone"


def task(**fields: Any) -> Experiment:
    """One epoch of SST-2 without dropout, sentences summed up as the encoder was trained to: the mean of all tokens."""
    data = known_task("sst2")
    data = dataclasses.replace(data, source=TaskFiles(local(TRAIN), local(VALID)), packed=True, batch_size=4)
    whole = bert.config("tiny")
    model = dataclasses.replace(
        whole, dropout_rate=0.0, attention=dataclasses.replace(whole.attention, dropout_rate=0.0)
    )
    objective = Classify(pooling="mean", pooler=False)
    return fine_tuning(data, objective=objective, model=model, epochs=1.0, **fields)


def measure(finished: Finished) -> dict[str, float]:
    """Accuracy on the 872 sentences of GLUE's development part, and the share of the parameters that was trained."""
    parts, tuning = finished.run.built.parts, finished.run.experiment.tuning
    trained, _ = parts.divide(parts.params)
    still = tuning.frozen(trained)
    leaves = jax.tree_util.tree_leaves_with_path(trained)
    learnt = sum(leaf.size for path, leaf in leaves if dotted(path) not in still)
    share = round(learnt / parameter_count(parts.params), 6)
    return {"accuracy": finished.scores["accuracy"], "trained_share": share}


def mean(values: Values, variant: str, name: str = "accuracy") -> float:
    """Mean over the seeds."""
    return statistics.fmean(values[variant][name])


def curves(finished: list[Finished]) -> list[Chart]:
    """Held-out accuracy over training."""
    words = {FULL: "all parameters", LORA: "LoRA, rank 8", HEAD: "the head alone"}
    series = [
        Series(words[run.variant], run.held_out("accuracy"), tone=1 + 2 * place, kind="plain")
        for place, run in enumerate(finished)
    ]
    return [Chart("lora-sst2", "SST-2: held-out accuracy", series, wide=True)]


reproduction = Reproduction(
    paper="Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models, arXiv:2106.09685",
    claim="Products of low rank beside frozen maps reach the score of full fine-tuning.",
    published={
        "RoBERTa-base, SST-2 accuracy, all 125 M parameters": 94.8,
        "RoBERTa-base, SST-2 accuracy, LoRA of rank 8, 0.3 M": "95.1 +- 0.2 (table 2)",
    },
    departs="all-MiniLM-L6-v2 (22.7 M parameters) in the place of RoBERTa-base, one epoch in the place of 60, sentences packed "
    "in rows, no dropout, LoRA beside every linear map. Rate, dropout and pooling of full fine-tuning were chosen among about "
    "ten recipes by the development score of seed 0; those of LoRA and of the head alone were not tuned.",
    variants={
        FULL: task(peak=1e-4),
        LORA: task(peak=1e-3, peft=LoRA(rank=8, sites="layers.*")),
        HEAD: task(peak=1e-3, tuning=Tuning(freeze="embeddings,layers")),
    },
    starts={
        name: Start(minilm, given=("model.dropout_rate", "model.attention.dropout_rate")) for name in (FULL, LORA, HEAD)
    },
    ready=lambda: check_there(TRAIN, VALID),
    measure=measure,
    criteria=(
        Criterion("full fine-tuning: mean accuracy at least 0.90", lambda v: mean(v, FULL) >= 0.90),
        Criterion("LoRA: at most 1.5 points below full fine-tuning", lambda v: mean(v, LORA) >= mean(v, FULL) - 0.015),
        Criterion("LoRA: under 2% of the parameters trained", lambda v: mean(v, LORA, "trained_share") < 0.02),
        Criterion(
            "the control, the head alone: at least 3 points below LoRA", lambda v: mean(v, HEAD) <= mean(v, LORA) - 0.03
        ),
    ),
    floor=lambda: {"accuracy, majority": 0.509, "accuracy, naive Bayes": 0.822},
    control=HEAD,
    curves=curves,
    options={"keep_last": 1},
)
