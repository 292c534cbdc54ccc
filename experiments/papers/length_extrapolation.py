"""Train short, test long: with ALiBi the loss holds far beyond the length of the training, with sinusoids it breaks.

Run:     python -m experiments.reproduce length_extrapolation
Result:  experiments/results/length_extrapolation.json
"""

import dataclasses

from experiments.papers.shakespeare import floor
from experiments.reproduction import Criterion, Finished, Reproduction
from experiments.shakespeare_char import experiment as shakespeare
from model.attention import MultiHead
from model.positions import ALiBi, NoPositions, SinusoidalPositions
from model.rotary import Rotary
from train.charts import Chart, Series

LENGTHS = (64, 128, 256, 512, 1_024)
POSITIONS = {"alibi": ALiBi(), "sinusoidal": SinusoidalPositions(), "rotary": Rotary(), "none": NoPositions()}

base = dataclasses.replace(
    shakespeare,
    data=dataclasses.replace(shakespeare.data, batch_size=16),
    model=dataclasses.replace(
        shakespeare.model, attention=MultiHead(num_heads=8, bias=False, dropout_rate=0.0), scale_embeddings=False
    ),
    steps=1_500,
)


def measure(finished: Finished) -> dict[str, float]:
    """Loss on the whole held-out tenth, in windows of each length."""
    run, losses = finished.run, {}
    for length in LENGTHS:
        data = dataclasses.replace(run.experiment.text_data, row_length=length, batch_size=max(1, 1_024 // length))
        losses[f"loss_at_{length}"] = run.evaluator(data=data).headline(run.params)["valid_loss"]
    return losses


def curves(finished: list[Finished]) -> list[Chart]:
    """Loss against the length of the window, the first seed, as in the paper's figure 4."""
    series = []
    for tone, variant in enumerate(POSITIONS, start=1):
        run = next(item for item in finished if item.variant == variant)
        measured = measure(run)
        series.append(Series(variant, [(n, measured[f"loss_at_{n}"]) for n in LENGTHS], tone=tone, kind="plain"))
    return [Chart("length", "Held-out loss by length of the window; trained on 64", series, wide=True)]


reproduction = Reproduction(
    paper="Press et al. 2022, Train Short, Test Long, arXiv:2108.12409; rotary by Su et al., arXiv:2104.09864; none "
    "after Kazemnejad et al., arXiv:2305.19466",
    claim="Models with sinusoidal positions break beyond the length of their training; ALiBi keeps its loss or lowers it.",
    published={
        "1.3 B parameters": "ALiBi trained at 1,024 matches at 2,048 the perplexity of sinusoids trained at 2,048"
    },
    departs="Characters of Shakespeare, 4 layers of 128, trained on windows of 64; losses in windows that do not overlap.",
    variants={
        name: dataclasses.replace(base, model=dataclasses.replace(base.model, positions=choice))
        for name, choice in POSITIONS.items()
    },
    measure=measure,
    criteria=(
        Criterion(
            "ALiBi: the loss at 512 is at most 0.03 nats above that at 64, every seed",
            lambda v: all(
                far <= near + 0.03
                for far, near in zip(v["alibi"]["loss_at_512"], v["alibi"]["loss_at_64"], strict=True)
            ),
        ),
        Criterion(
            "the control, sinusoids: the loss at 256 is more than 0.5 nats above that at 64, every seed",
            lambda v: all(
                far > near + 0.5
                for far, near in zip(v["sinusoidal"]["loss_at_256"], v["sinusoidal"]["loss_at_64"], strict=True)
            ),
        ),
    ),
    floor=floor,
    control="sinusoidal",
    curves=curves,
)
