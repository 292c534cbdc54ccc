"""Small models, and rows to feed them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.attention import MultiHead
from model.encoder import MaskedLanguageModel
from model.families import bert
from model.initializers import TruncatedNormal
from model.mlp import PlainMLP
from model.peft import is_added

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


def flat(model) -> dict[str, jax.Array]:
    """Every parameter by its dotted path."""
    return {".".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))}


def stirred(model, seed=0, size=0.1):
    """A copy in which every added parameter has moved, as after training."""
    graph, state = nnx.split(model)
    draw = np.random.default_rng(seed)

    def move(path, leaf):
        if not is_added(".".join(map(str, path))):
            return leaf
        return leaf.replace(leaf.get_value() + jnp.asarray(draw.normal(0, size, leaf.shape), leaf.dtype))

    return nnx.merge(graph, nnx.map_state(move, state))


def equal(one, other) -> bool:
    """Whether two models are the same: in structure, and in every bit."""
    ours, theirs = flat(one), flat(other)
    assert nnx.split(one)[0] == nnx.split(other)[0]
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[path], theirs[path]) for path in ours)


def outputs(model, batch):
    """Everything that a masked language model says."""
    hidden = model(*batch)
    return jnp.concatenate([hidden, model.predict_tokens(hidden), model.predict_next_sentence(hidden)], -1)
