"""Every kind of stack trains alike on one device and on eight, each kind of parallelism at once."""

import jax
import numpy as np
import pytest

from data.batch import Batch
from data.config import TextData
from model.attention import MultiHead, Window
from model.config import TransformerConfig
from model.mlp import GatedMLP, PlainMLP
from model.norms import RMSNorm
from model.output import Output
from model.positions import ALiBi, RelativeBuckets
from model.rotary import Rotary
from train.config import Experiment
from train.objectives import NextToken, SequenceToSequence
from train.optimizers import AdamW
from train.sharding import MeshShape, batch_sharding, make_mesh, place_batch, replicated
from train.state import build, init_state
from train.step import StepOptions, make_step

ROWS, LENGTH, VOCABULARY = 8, 12, 48
PLAIN = {"hidden_size": 32, "num_layers": 2, "norm_placement": "pre", "norm_embeddings": False, "dropout_rate": 0.1}
STACKS = {
    "decoder, rotary, grouped, gated": (
        NextToken(),
        {
            "attention": MultiHead(4, 2, bias=False, norm_query_key=True, window=Window(4, ("local", "global"))),
            "mlp": GatedMLP(64),
            "positions": Rotary(),
            "norm": RMSNorm(),
            "output": Output(tied=False),
        },
    ),
    "decoder, alibi, sinks": (
        NextToken(),
        {"attention": MultiHead(4, sinks=True), "mlp": PlainMLP(64), "positions": ALiBi()},
    ),
    "encoder-decoder, buckets": (
        SequenceToSequence(),
        {
            "attention": MultiHead(4, bias=False, scale=1.0),
            "mlp": PlainMLP(64, "relu"),
            "positions": RelativeBuckets(8, 16),
        },
    ),
}


def rows(sources: bool) -> Batch:
    """Packed rows of two segments and padding."""
    draw = np.random.default_rng(0)
    tokens = draw.integers(1, VOCABULARY, (ROWS, LENGTH + 1)).astype(np.int32)
    segments = np.tile(np.repeat([1, 2, 0], [7, 4, 1]).astype(np.int32), (ROWS, 1))
    positions = np.tile(np.concatenate([np.arange(7), np.arange(4), [0]]).astype(np.int32), (ROWS, 1))
    side = {"source_tokens": tokens[:, ::-1][:, :LENGTH], "source_positions": positions, "source_segments": segments}
    return Batch(
        tokens=tokens[:, :-1],
        positions=positions,
        segments=segments,
        example_ids=np.arange(ROWS, dtype=np.int32),
        epochs=np.zeros(ROWS, np.int32),
        labels={"next_targets": tokens[:, 1:], "next_weights": (segments > 0).astype(np.float32)},
        **(side if sources else {}),
    )


QUICK = "decoder, rotary, grouped, gated"


@pytest.mark.parametrize(
    "name", [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STACKS]
)
def test_one_device_equals_eight(name):
    objective, choices = STACKS[name]
    experiment = Experiment(
        data=TextData(row_length=LENGTH, batch_size=ROWS),
        model=TransformerConfig(vocab_size=VOCABULARY, **PLAIN, **choices),
        objective=objective,
        optimizer=AdamW(),
        steps=10,
        compute_dtype="float32",
    )

    def after_one_step(mesh) -> tuple[float, np.ndarray]:
        built = build(experiment, mesh)
        make = lambda rngs: objective.build(experiment.model, rngs)  # noqa: E731
        state = init_state(make, 0, built.optimizer, built.target)
        schedule = experiment.optimizer.schedule.build(10)
        step = make_step(built.parts, objective, built.optimizer, schedule, StepOptions(0))
        where = (jax.tree.map(lambda leaf: leaf.sharding, built.target), replicated(mesh))
        batch = place_batch(rows(isinstance(objective, SequenceToSequence)), batch_sharding(mesh))
        with jax.set_mesh(mesh):
            state, scalars = jax.jit(step, out_shardings=where)(state, batch)
        moments = next(part.mu for part in state.optimizer if hasattr(part, "mu"))
        return float(scalars["loss"]), np.concatenate(
            [np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(moments))]
        )

    loss, gradient = after_one_step(make_mesh(MeshShape(), jax.devices()[:1]))
    split_loss, split_gradient = after_one_step(make_mesh(MeshShape(2, 2, 2)))
    assert split_loss == pytest.approx(loss, rel=1e-5)
    assert np.linalg.norm(split_gradient - gradient) <= 1e-5 * np.linalg.norm(gradient)
