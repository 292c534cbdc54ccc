"""nanoGPT's CPU recipe on the characters of Shakespeare ends at a loss of 1.88 after 2,000 steps.

Run:     python -m experiments.reproduce shakespeare
Result:  experiments/results/shakespeare.json
"""

import dataclasses

import numpy as np

from data.ngrams import additive_ngrams
from experiments.local_data import need
from experiments.reproduction import Criterion, Finished, Reproduction, least, worst
from experiments.shakespeare_char import experiment
from model.attention import Window
from train.charts import Chart, Series
from train.state import parameter_count

RECIPE, BLIND = "nanogpt_cpu", "one_token_of_context"


def measure(finished: Finished) -> dict[str, float]:
    """Loss on the whole held-out tenth, and the number of parameters."""
    return {
        "valid_loss": finished.scores["valid_loss"],
        "parameters": float(parameter_count(finished.run.params)),
    }


def floor() -> dict[str, float]:
    """Losses of counts with a tenth added, on the same split, in nats a character."""
    with open(need("tinyshakespeare/input.txt"), encoding="utf-8", newline="") as file:
        characters = np.array(list(file.read()))
    symbols, ids = np.unique(characters, return_inverse=True)
    cut = int(len(ids) * 0.9)
    scores = additive_ngrams([ids[:cut]], [ids[cut:]], vocab_size=len(symbols), order=4)
    return {f"counts of order {order}": nats for order, nats in enumerate(scores.nats, start=1)}


def curves(finished: list[Finished]) -> list[Chart]:
    """Held-out loss over training, every seed of the recipe and the first of the control."""
    runs = [item for item in finished if item.variant == RECIPE]
    series = [
        Series(f"seed {run.seed}", run.held_out("valid_loss"), tone=1 + n % 4, kind="plain")
        for n, run in enumerate(runs)
    ]
    control = next(item for item in finished if item.variant == BLIND)
    series.append(Series("one token of context", control.held_out("valid_loss"), tone=5, kind="plain"))
    return [Chart("shakespeare", "Held-out loss, nats a character", series, levels=(("nanoGPT", 1.88),), wide=True)]


reproduction = Reproduction(
    paper="Karpathy 2022, nanoGPT, README (train_shakespeare_char.py with the settings for a CPU)",
    claim="4 layers, 128 wide, context 64, 12 rows, 2,000 steps: a loss of 1.88 on the held-out tenth.",
    published={"loss": 1.88, "how": "mean of 20 batches", "parameters": 804_096},
    departs="The loss is that of the whole held-out tenth in windows of 64, where nanoGPT averages 20 random batches; windows "
    "for training are dealt out epoch by epoch.",
    variants={
        RECIPE: experiment,
        BLIND: dataclasses.replace(
            experiment,
            model=dataclasses.replace(
                experiment.model, attention=dataclasses.replace(experiment.model.attention, window=Window(1))
            ),
        ),
    },
    measure=measure,
    criteria=(
        Criterion(
            "loss within 1.84 and 1.94 nats, every seed",
            lambda v: least(v, RECIPE, "valid_loss") >= 1.84 and worst(v, RECIPE, "valid_loss") <= 1.94,
        ),
        Criterion("exactly 804,096 parameters", lambda v: set(v[RECIPE]["parameters"]) == {804_096.0}),
        Criterion(
            "the control, which sees one character, stays above 2.4 nats, every seed",
            lambda v: least(v, BLIND, "valid_loss") > 2.4,
        ),
    ),
    floor=floor,
    control=BLIND,
    curves=curves,
)
