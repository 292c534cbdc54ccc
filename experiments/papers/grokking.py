"""Grokking: the training half of modular division is learnt long before the other half, and weight decay brings it sooner.

Run:     python -m experiments.reproduce grokking
Result:  experiments/results/grokking.json
"""

import dataclasses

from data.config import TextData
from data.synthetic_tasks import ModularArithmetic
from data.tokenizers.choices import Words
from experiments.reproduction import Criterion, Finished, Reproduction, Values
from model.attention import MultiHead
from model.config import TransformerConfig
from model.initializers import Normal
from model.mlp import PlainMLP
from model.norms import LayerNorm
from model.positions import LearnedPositions
from model.stack import Stack
from train.charts import Chart, Series
from train.config import Experiment
from train.objectives import NextToken
from train.optimizers import AdamW
from train.schedules import Constant

PRIME = 97
WITH, WITHOUT = "weight_decay_1", "weight_decay_0"

decaying = Experiment(
    data=TextData(
        source=ModularArithmetic(prime=PRIME, operation="divide"),
        tokenizer=Words(),
        row_length=5,
        batch_size=512,
        valid_fraction=0.5,
        valid_documents=10_000,
        window=10_000,
    ),
    model=TransformerConfig(
        vocab_size=PRIME + 7,
        hidden_size=128,
        num_layers=2,
        attention=MultiHead(num_heads=4, bias=False, dropout_rate=0.0),
        mlp=PlainMLP(intermediate_size=512, activation="relu", bias=False),
        positions=LearnedPositions(max_length=5),
        norm=LayerNorm(epsilon=1e-5),
        norm_placement="pre",
        norm_embeddings=False,
        dropout_rate=0.0,
        initializer=Normal(0.02),
        stack=Stack(loop="unroll"),
    ),
    objective=NextToken(opening="cls", closing=None, answer_after="="),
    optimizer=AdamW(
        schedule=Constant(peak=1e-3, warmup_steps=10), b2=0.98, epsilon=1e-8, weight_decay=1.0, clip_norm=None
    ),
    steps=2_500,
    evaluate_every=50,
    evaluate_rows=2_000,
    checkpoint_every=500,
)


def first_step(curve: list[tuple[int, float]], level: float) -> float:
    """The first step at which a curve reaches a level; infinite if it never does.

    >>> first_step([(50, 0.2), (100, 0.995)], 0.99)
    100.0
    """
    return next((float(step) for step, value in curve if value >= level), float("inf"))


def smooth_training(finished: Finished) -> dict[int, float]:
    """Accuracy on the training batches, the mean of the ten steps up to each evaluation."""
    curve = dict(finished.training("accuracy"))
    found = {}
    for step, _ in finished.held_out("accuracy"):
        last = [curve[s] for s in range(max(1, step - 9), step + 1) if s in curve]
        if last:
            found[step] = sum(last) / len(last)
    return found


def measure(finished: Finished) -> dict[str, float]:
    """Steps at which either half is learnt, and what is known of the other half while the first is learnt already."""
    training, held_out = smooth_training(finished), dict(finished.held_out("accuracy"))
    learnt = [held_out[step] for step, value in training.items() if value >= 0.99 and step in held_out]
    return {
        "step_of_99_percent_training": first_step(sorted(training.items()), 0.99),
        "step_of_99_percent_held_out": first_step(finished.held_out("accuracy"), 0.99),
        "least_held_out_once_training_is_at_99": min(learnt, default=1.0),
        "held_out_at_the_end": finished.scores["accuracy"],
    }


def control_is_behind(values: Values) -> bool:
    """Without decay under half of the held-out equations at the end, which is past the step of the others."""
    return max(values[WITHOUT]["held_out_at_the_end"]) < 0.5


def curves(finished: list[Finished]) -> list[Chart]:
    """Accuracy on both halves over training, for the first seed of each variant, as in the paper's figure 1."""
    charts = []
    for variant, title in ((WITH, "Weight decay 1"), (WITHOUT, "No weight decay (control)")):
        run = next(item for item in finished if item.variant == variant)
        series = [
            Series("training half", sorted(smooth_training(run).items()), tone=1, kind="plain"),
            Series("held-out half", run.held_out("accuracy"), tone=2, kind="plain"),
        ]
        charts.append(Chart(f"grokking-{variant}", title, series, unit="%", zero=True, wide=True))
    return charts


reproduction = Reproduction(
    paper="Power et al. 2022, Grokking, arXiv:2201.02177",
    claim="On a / b mod 97 the network knows the training half by heart early and the other half only much later; weight "
    "decay shortens the delay most.",
    published={
        "training accuracy near perfect": "before 10^3 steps",
        "held-out accuracy near perfect, no weight decay": "near 10^6 steps",
    },
    departs="The control runs for as many steps as the others, not for a million. Pre-norm, initial deviation 0.02, gradients "
    "not clipped; which half is held out is chosen by a hash.",
    variants={
        WITH: decaying,
        WITHOUT: dataclasses.replace(decaying, optimizer=dataclasses.replace(decaying.optimizer, weight_decay=0.0)),
    },
    measure=measure,
    criteria=(
        Criterion(
            "weight decay 1: at some evaluation training accuracy is at least 99% and held-out accuracy at most 20%, every seed",
            lambda values: max(values[WITH]["least_held_out_once_training_is_at_99"]) <= 0.20,
        ),
        Criterion(
            "weight decay 1: held-out accuracy reaches 99% within 5,000 steps, every seed",
            lambda values: max(values[WITH]["step_of_99_percent_held_out"]) <= 5_000,
        ),
        Criterion("the control, no weight decay, ends below 50% held-out accuracy, every seed", control_is_behind),
    ),
    floor=lambda: {"accuracy of a guess": 1 / PRIME},
    control=WITHOUT,
    curves=curves,
)
