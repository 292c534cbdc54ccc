"""Heads on any stack: what they read is what is asked about, and nothing around it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.pooling import pool
from model.task_models import task_model

STACKS = ("encoder", "decoder", "encoder_decoder")
POOLINGS = ("first", "last", "mean")


@pytest.mark.parametrize(
    ("stack", "pooling"),
    [
        (stack, pooling)
        if stack == "encoder" or pooling == "last"
        else pytest.param(stack, pooling, marks=pytest.mark.slow)
        for stack in STACKS
        for pooling in POOLINGS
    ],
)
def test_a_segment_is_summed_up_as_if_it_stood_alone(stack, pooling, tiny, documents, pack):
    """Three texts in one row, with padding behind them, score as each of them in a row of its own."""
    model = task_model(stack, tiny(num_token_types=0), 3, pooling, rngs=nnx.Rngs(0))

    @jax.jit
    def scores(tokens, positions, segments):
        return model.classify(model.summed_up(model.states(tokens, positions, segments), segments, 3))

    texts = documents([5, 3, 7])
    packed = scores(*pack(texts, 20)[:3])[0]
    for place, text in enumerate(texts):
        np.testing.assert_allclose(packed[place], scores(*pack([text], 20)[:3])[0, 0], rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_what_its_name_says(pooling):
    hidden = jax.random.normal(jax.random.key(0), (2, 6, 4))
    segments = jnp.array([[1, 1, 1, 2, 2, 0], [1, 2, 0, 0, 0, 0]])
    found = pool(hidden, segments, 2, pooling)
    for row in range(2):
        for segment in (1, 2):
            states = hidden[row][np.asarray(segments[row]) == segment]
            told = {"first": states[0], "last": states[-1], "mean": states.mean(0)}[pooling]
            np.testing.assert_allclose(found[row, segment - 1], told, rtol=1e-6, atol=1e-6)


def test_states_without_a_pooling_are_those_of_the_tokens(tiny, documents, pack):
    model = task_model("encoder", tiny(), 5, None, rngs=nnx.Rngs(0))
    tokens, positions, segments, types = pack(documents([6]), 8)
    states = model.states(tokens, positions, segments, types)
    assert (model.summed_up(states, segments) == states).all()
    assert model.classify(states).shape == (1, 8, 5)


@pytest.mark.parametrize("stack", STACKS)
def test_parameters_have_the_paths_of_the_stack(stack, tiny):
    """So that the weights of a trained model fit by name, and only the head is new."""
    from model.decoder import Decoder
    from model.encoder import Encoder
    from model.encoder_decoder import EncoderDecoder

    kind = {"encoder": Encoder, "decoder": Decoder, "encoder_decoder": EncoderDecoder}[stack]

    def paths(model) -> set[str]:
        flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
        return {".".join(map(str, path)) for path, _ in flat}

    whole = paths(nnx.eval_shape(lambda: kind(tiny(), rngs=nnx.Rngs(0))))
    ours = paths(nnx.eval_shape(lambda: task_model(stack, tiny(), 2, "mean", rngs=nnx.Rngs(0))))
    new = {"classifier.kernel", "classifier.bias"}
    assert new <= ours and ours - new <= whole
    assert all(path.startswith(("decoder.", "token_head.")) for path in whole - ours)


def test_a_model_without_outputs_has_no_head_to_ask(tiny):
    model = task_model("encoder", tiny(), 0, "mean", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="outputs=1 or more"):
        model.classify(jnp.zeros((1, 1, 16)))
