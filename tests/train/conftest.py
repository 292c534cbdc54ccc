"""A tiny model, objective and batch that the tests of training share. Nothing here reads a corpus."""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pytest

from data.batch import Batch
from model.families import bert
from train.objectives import MaskedLM
from train.optimizers import AdamW
from train.sharding import MeshShape, batch_sharding, make_mesh, place_batch, replicated
from train.state import TrainState, abstract_model, init_state, state_shapes
from train.step import StepOptions, make_step

VOCABULARY, ROW, PLACES, PAIRS = 256, 32, 5, 2


def tiny_model(dropout: float = 0.0):
    """A 2-layer encoder of width 32."""
    config = bert.config("tiny", vocab_size=VOCABULARY, max_length=ROW)
    attention = dataclasses.replace(config.attention, num_heads=2, dropout_rate=dropout)
    mlp = dataclasses.replace(config.mlp, intermediate_size=64)
    return dataclasses.replace(config, hidden_size=32, attention=attention, mlp=mlp, dropout_rate=dropout)


def random_batch(rows: int = 16, seed: int = 0) -> Batch:
    """Two segments and some padding a row, masked places and pairs with uneven weights."""
    rng = np.random.default_rng(seed)

    def integers(high: int, *shape: int) -> np.ndarray:
        return rng.integers(0, high, shape).astype(np.int32)

    lengths = rng.integers(8, ROW + 1, rows)
    places = np.arange(ROW)[None, :]
    half = lengths[:, None] // 2
    segments = np.where(places < half, 1, np.where(places < lengths[:, None], 2, 0)).astype(np.int32)
    positions = np.where(segments == 2, places - half, np.where(segments == 1, places, 0)).astype(np.int32)
    return Batch(
        tokens=integers(VOCABULARY, rows, ROW),
        positions=positions,
        segments=segments,
        example_ids=np.arange(rows, dtype=np.int32),
        epochs=np.zeros(rows, np.int32),
        labels={
            "masked_places": integers(8, rows, PLACES),
            "masked_targets": integers(VOCABULARY, rows, PLACES),
            "masked_weights": (rng.random((rows, PLACES)) < 0.7).astype(np.float32),
            "next_sentence_places": integers(8, rows, PAIRS),
            "next_sentence_targets": integers(2, rows, PAIRS),
            "next_sentence_weights": (rng.random((rows, PAIRS)) < 0.6).astype(np.float32),
        },
        token_types=integers(2, rows, ROW),
    )


@dataclass
class Training:
    """A compiled step on a mesh, with the state it starts from."""

    mesh: jax.sharding.Mesh
    target: TrainState
    state: TrainState
    compiled: Any

    def run(self, *batches: Batch) -> list[dict[str, float]]:
        """Take a step on each batch; returns the scalars of each."""
        seen = []
        for batch in batches:
            self.state, scalars = self.compiled(self.state, place_batch(batch, batch_sharding(self.mesh)))
            seen.append({name: float(value) for name, value in scalars.items()})
        return seen


@pytest.fixture(scope="session")
def random_rows():
    """The factory of random batches."""
    return random_batch


@pytest.fixture(scope="session")
def training():
    """A factory: the step of a tiny model on a mesh ("" is one device), with what a test wants to vary."""

    @functools.cache
    def compiled(mesh: str, accumulate: int, dropout: float):
        devices = None if mesh else jax.devices()[:1]
        placed = make_mesh(MeshShape.parse(mesh), devices)
        config, objective, optimizer = tiny_model(dropout), MaskedLM(), AdamW()
        transform = optimizer.build(100)
        parts = abstract_model(lambda rngs: objective.build(config, rngs), 0)
        target = state_shapes(parts, transform, placed)
        options = StepOptions(seed=0, accumulate=accumulate)
        step = make_step(parts, objective, transform, optimizer.schedule.build(100), options)
        where = (jax.tree.map(lambda leaf: leaf.sharding, target), replicated(placed))
        with jax.set_mesh(placed):
            batch = place_batch(random_batch(), batch_sharding(placed))
            step = jax.jit(step, donate_argnums=0, out_shardings=where).lower(target, batch).compile()

        def start():
            return init_state(lambda rngs: objective.build(config, rngs), 0, transform, target)

        return placed, target, start, step

    def make(mesh: str = "", accumulate: int = 1, dropout: float = 0.0) -> Training:
        placed, target, start, step = compiled(mesh, accumulate, dropout)
        return Training(placed, target, start(), step)

    return make
