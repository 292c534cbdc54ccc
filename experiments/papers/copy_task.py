"""An encoder-decoder copies random digits without a fault; a decoder's counts, without the source, cannot.

Run:     python -m experiments.reproduce copy_task
Result:  experiments/results/copy_task.json
"""

import dataclasses

import numpy as np

from data.config import TextData
from data.synthetic_tasks import CopyTask
from data.tokenizers.choices import Words
from experiments.reproduction import Criterion, Finished, Reproduction, least, worst
from model.attention import MultiHead
from model.config import TransformerConfig
from model.encoder_decoder import EncoderDecoder
from model.initializers import Xavier
from model.mlp import PlainMLP
from model.norms import LayerNorm
from model.positions import NoPositions, SinusoidalPositions
from model.stack import Stack
from train.charts import Chart, Series
from train.config import Experiment
from train.objectives import SequenceToSequence
from train.optimizers import AdamW
from train.schedules import WarmupCosine

LENGTH, SYMBOLS = 10, 10
COPIES, BLIND = "sinusoidal_positions", "no_positions"

copies = Experiment(
    data=TextData(
        source=CopyTask(),
        tokenizer=Words(),
        row_length=LENGTH + 1,
        batch_size=64,
        valid_documents=500,
    ),
    model=TransformerConfig(
        vocab_size=SYMBOLS + 5,
        hidden_size=64,
        num_layers=2,
        attention=MultiHead(num_heads=4, dropout_rate=0.0),
        mlp=PlainMLP(intermediate_size=256, activation="relu"),
        positions=SinusoidalPositions(),
        norm=LayerNorm(epsilon=1e-6),
        norm_placement="post",
        norm_embeddings=False,
        scale_embeddings=True,
        dropout_rate=0.0,
        initializer=Xavier(),
        stack=Stack(loop="unroll"),
    ),
    objective=SequenceToSequence(),
    optimizer=AdamW(
        schedule=WarmupCosine(peak=2e-3, warmup_steps=100), b2=0.98, epsilon=1e-9, weight_decay=0.0, clip_norm=1.0
    ),
    steps=1_000,
    evaluate_every=100,
    checkpoint_every=500,
)


def measure(finished: Finished) -> dict[str, float]:
    """Shares of digits, and of whole strings, that are right when each digit is guessed from the true ones before it.

    A string is right so if and only if greedy decoding gives it: both go wrong at the same first place, or at none.
    """
    run, model, objective = finished.run, finished.run.model, finished.run.experiment.objective
    assert isinstance(model, EncoderDecoder) and isinstance(objective, SequenceToSequence)
    whole = right = digits = strings = 0.0
    for batch in run.evaluator().batches(objective.modes[0]):
        hidden = objective.hidden(model, batch, None)
        guesses = np.asarray(model.predict_tokens(hidden).argmax(-1))
        asked = batch.labels["next_weights"] > 0
        hits = (guesses == batch.labels["next_targets"]) & asked
        used = asked.any(1)
        right, digits = right + hits.sum(), digits + asked.sum()
        whole, strings = whole + (hits == asked).all(1)[used].sum(), strings + used.sum()
    return {"digits_right": right / digits, "strings_right": whole / strings}


def curves(finished: list[Finished]) -> list[Chart]:
    """Held-out accuracy of both variants over training, the first seed."""
    series = []
    for tone, variant in enumerate((COPIES, BLIND), start=1):
        run = next(item for item in finished if item.variant == variant)
        series.append(Series(variant.replace("_", " "), run.held_out("accuracy"), tone=tone, kind="plain"))
    return [Chart("copy", "Held-out digits that are right", series, unit="%", zero=True, wide=True)]


reproduction = Reproduction(
    paper="Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762; the task as in The Annotated Transformer",
    claim="A small encoder-decoder learns to copy random strings of ten digits without a fault.",
    published={"exact copies": "all"},
    departs="Two layers of 64 on each side; the rate falls along a cosine; 16,384 random strings, of which 500 are held out.",
    variants={
        COPIES: copies,
        BLIND: dataclasses.replace(copies, model=dataclasses.replace(copies.model, positions=NoPositions())),
    },
    measure=measure,
    criteria=(
        Criterion(
            "every held-out string is copied exactly, every seed", lambda v: least(v, COPIES, "strings_right") == 1.0
        ),
        Criterion(
            "the control, which cannot tell the order of the source, copies under 5% of the strings, every seed",
            lambda v: worst(v, BLIND, "strings_right") < 0.05,
        ),
    ),
    floor=lambda: {"digits_right by a guess": 1 / SYMBOLS, "strings_right by a guess": float(SYMBOLS) ** -LENGTH},
    control=BLIND,
    curves=curves,
)
