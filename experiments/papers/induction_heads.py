"""Induction heads need two layers: with two, repeated random text is copied after an abrupt change; with one, never.

Run:     python -m experiments.reproduce induction_heads
Result:  experiments/results/induction_heads.json
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from data.config import TextData
from data.synthetic_tasks import RepeatedBlocks
from data.tokenizers.choices import Words
from experiments.reproduction import Criterion, Finished, Reproduction, least, worst
from kernels.attention import masked_softmax
from kernels.cross_entropy import cross_entropy
from model.attention import MultiHead
from model.capture import captured
from model.config import TransformerConfig
from model.decoder import LanguageModel
from model.initializers import Normal
from model.inspection.attention_scores import induction_score
from model.masks import causal_mask
from model.norms import LayerNorm
from model.positions import LearnedPositions
from model.stack import Stack
from train.charts import Chart, Series
from train.config import Experiment
from train.objectives import NextToken
from train.optimizers import AdamW
from train.schedules import Constant

LENGTH, SYMBOLS = 64, 64
TWO, ONE = "two_layers", "one_layer"

two_layers = Experiment(
    data=TextData(
        source=RepeatedBlocks(length=LENGTH, vocabulary=SYMBOLS, shortest=16, longest=32),
        tokenizer=Words(),
        row_length=LENGTH - 1,
        batch_size=32,
        valid_documents=512,
    ),
    model=TransformerConfig(
        vocab_size=SYMBOLS + 5,
        hidden_size=64,
        num_layers=2,
        attention=MultiHead(num_heads=4, bias=False, dropout_rate=0.0),
        mlp=None,
        positions=LearnedPositions(max_length=LENGTH),
        norm=LayerNorm(epsilon=1e-5),
        norm_placement="pre",
        norm_embeddings=False,
        dropout_rate=0.0,
        initializer=Normal(0.1),
        stack=Stack(loop="unroll"),
    ),
    objective=NextToken(opening=None, closing=None),
    optimizer=AdamW(schedule=Constant(peak=1e-3, warmup_steps=50), weight_decay=0.01, clip_norm=1.0),
    steps=4_000,
    evaluate_every=200,
    checkpoint_every=1_000,
)


def repeated(rows: int = 256, block: int = 24) -> np.ndarray:
    """Fresh rows of one block over and over, as ids of the tokenizer's symbols 0 ... 63; int32 [B, T]."""
    blocks = np.random.default_rng(7).integers(0, SYMBOLS, (rows, block))
    return np.tile(blocks, (1, LENGTH // block + 1))[:, :LENGTH].astype(np.int32)


def measure(finished: Finished) -> dict[str, float]:
    """Loss before and after the block comes round, the best head's score for looking at what came after it before, and the
    loss without what that head adds, and without what all the heads add that score at least half of its."""
    block, run = 24, finished.run
    symbols = repeated(block=block)
    ids = np.array([int(run.tokenizer.encode(str(symbol))[0]) for symbol in range(SYMBOLS)], np.int32)
    tokens = jnp.asarray(ids[symbols])
    positions = jnp.broadcast_to(jnp.arange(LENGTH - 1, dtype=jnp.int32)[None], (tokens.shape[0], LENGTH - 1))
    inputs = (tokens[:, :-1], positions, jnp.ones_like(positions))
    model = run.model
    assert isinstance(model, LanguageModel)

    def losses(model: LanguageModel) -> jax.Array:
        return cross_entropy(model.predict_tokens(model(*inputs)), tokens[:, 1:])

    loss, sites = captured(model, losses)
    scores = np.array([prefix_matching(sites, layer, block) for layer in range(model.num_layers)])
    out, second = model.layers.attention.out.kernel, slice(block, None)
    trained = out[...]

    def loss_without(heads: np.ndarray) -> float:
        """Mean loss on repeated places when these heads, bool [L, N], write nothing into the stream."""
        out[...] = jnp.where(jnp.asarray(heads)[:, :, None, None], 0.0, trained)
        ablated = losses(model)[:, second].mean()
        out[...] = trained
        return float(ablated)

    return {
        "first_block_loss": float(loss[:, : block - 1].mean()),
        "second_half_loss": float(loss[:, second].mean()),
        "best_prefix_matching_score": float(scores.max()),
        "loss_without_that_head": loss_without(scores == scores.max()),
        "loss_without_such_heads": loss_without(scores >= scores.max() / 2),
    }


def prefix_matching(sites: dict[str, jax.Array], layer: int, block: int) -> np.ndarray:
    """Mean weight from each repeated place to the places after its symbol's earlier occurrences, by head [N]
    (arXiv:2209.11895). Places of the block stand for symbols: one that chance put into it twice is no repetition."""
    query, key = sites[f"layers.{layer}.attention.queries"], sites[f"layers.{layer}.attention.keys"]
    scores = jnp.einsum("BTNH,BSNH->BNTS", query, key) / np.sqrt(query.shape[-1])
    weights = masked_softmax(scores, causal_mask(query.shape[1]))
    return induction_score(np.asarray(weights), np.arange(query.shape[1]) % block).mean(0)


def curves(finished: list[Finished]) -> list[Chart]:
    """Held-out loss over training: one layer and two, the first seed."""
    series = []
    for tone, variant in enumerate((TWO, ONE), start=1):
        run = next(item for item in finished if item.variant == variant)
        series.append(Series(variant.replace("_", " "), run.training("loss"), tone=tone))
    return [Chart("induction", "Training loss on repeated random text, nats a symbol", series, wide=True, zero=True)]


reproduction = Reproduction(
    paper="Olsson et al. 2022, In-context Learning and Induction Heads, arXiv:2209.11895; Elhage et al. 2021, A Mathematical "
    "Framework for Transformer Circuits",
    claim="Attention-only models with two layers form induction heads in an abrupt change and copy repeated random text; one "
    "layer never does.",
    published={
        "form of the claim": "an abrupt change, with a rise of the prefix-matching score, in models of two layers or more"
    },
    departs="Width 64 and 64 symbols, random blocks of 16 to 32 symbols repeated to length 64, instead of a language model of "
    "web text; norms as in GPT-2, weights drawn with a deviation of 0.1. Several heads do the same here, so taking one away "
    "costs little: they are taken away together, and both losses are reported.",
    variants={
        TWO: two_layers,
        ONE: dataclasses.replace(two_layers, model=dataclasses.replace(two_layers.model, num_layers=1)),
    },
    measure=measure,
    criteria=(
        Criterion(
            "two layers: loss on repeated blocks under 0.1, every seed",
            lambda v: worst(v, TWO, "second_half_loss") < 0.1,
        ),
        Criterion(
            "two layers: a head with a prefix-matching score above 0.7, every seed",
            lambda v: least(v, TWO, "best_prefix_matching_score") > 0.7,
        ),
        Criterion(
            "two layers: without all heads that score half as much the loss rises by more than 1 nat, every seed",
            lambda v: all(
                without - whole > 1
                for without, whole in zip(v[TWO]["loss_without_such_heads"], v[TWO]["second_half_loss"], strict=True)
            ),
        ),
        Criterion(
            "the control, one layer: loss above 2 nats and no score above 0.2, every seed",
            lambda v: least(v, ONE, "second_half_loss") > 2 and worst(v, ONE, "best_prefix_matching_score") < 0.2,
        ),
    ),
    floor=lambda: {"loss of a uniform guess": float(np.log(SYMBOLS))},
    control=ONE,
    curves=curves,
    options={"watch": "layers.*.attention", "watch_every": 100, "keep": "log"},  # to see the heads form
)
