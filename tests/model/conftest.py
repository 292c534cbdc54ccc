"""Small models, and rows to feed them."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.attention import MultiHead
from model.encoder import MaskedLanguageModel
from model.families import bert
from model.initializers import TruncatedNormal
from model.mlp import PlainMLP

VOCABULARY = 50


@pytest.fixture(scope="session")
def tiny():
    """tiny(**overrides) -> config."""
    return tiny_config


@pytest.fixture(scope="session")
def make_model():
    """make_model(config, class) -> model with noisy biases; MaskedLanguageModel where no class is named."""
    return noisy_model


@pytest.fixture(scope="session")
def documents():
    """documents(lengths) -> list of (tokens, token types)."""
    return draw_documents


@pytest.fixture(scope="session")
def pack():
    """pack(documents, row_length) -> the arrays that the encoder takes."""
    return pack_row


@pytest.fixture(scope="session")
def batch():
    """Three packed rows of 12 tokens."""
    rows = [pack_row(draw_documents(lengths, seed=n), 12) for n, lengths in enumerate([(5, 4), (12,), (2, 3, 6)])]
    return tuple(jnp.concatenate(parts) for parts in zip(*rows, strict=True))


def tiny_config(**overrides):
    """Two layers, 16 wide, four heads, no dropout: small enough to compile in a second."""
    defaults = {
        "hidden_size": 16,
        "attention": MultiHead(4, dropout_rate=0.0),
        "mlp": PlainMLP(32),
        "dropout_rate": 0.0,
        "initializer": TruncatedNormal(0.3),
    }
    return bert.config("tiny", vocab_size=VOCABULARY, max_length=32, **(defaults | overrides))


def noisy_model(config, make=MaskedLanguageModel, seed=0, **options):
    """A model drawn by numpy, with noise on biases and scales too, so that none can be left out unnoticed."""
    abstract = nnx.eval_shape(lambda: make(config, **options, rngs=nnx.Rngs(seed)))
    graph, shapes = nnx.split(abstract)
    draw = np.random.default_rng(seed)

    def values(path, leaf):
        word = path[-1]
        deviation = 0.1 if word in ("scale", "bias") else config.initializer.deviation
        return leaf.replace(jnp.asarray(draw.normal(float(word == "scale"), deviation, leaf.shape), jnp.float32))

    return nnx.merge(graph, nnx.map_state(values, shapes))


def draw_documents(lengths, seed=0):
    """Random documents, each as (tokens, token types)."""
    draw = np.random.default_rng(seed)
    return [(draw.integers(0, VOCABULARY, n), np.sort(draw.integers(0, 2, n))) for n in lengths]


def pack_row(docs, row_length):
    """One row [1, T] of several documents and padding: tokens, positions, segments, token types."""
    rows = np.zeros((4, 1, row_length), np.int32)
    start = 0
    for number, (tokens, types) in enumerate(docs, start=1):
        end = start + len(tokens)
        rows[:, 0, start:end] = tokens, np.arange(len(tokens)), np.full(len(tokens), number), types
        start = end
    return tuple(jnp.asarray(x) for x in rows)
