"""An induction circuit whose weights are set by hand: a model of ours that is known to the last number.

The construction of Elhage et al. 2021 ("A Mathematical Framework for Transformer Circuits"), two layers of attention and
nothing else. The residual stream is four spaces side by side, each with one direction for every symbol or place:

    token     which symbol stands here                            written by the embeddings
    place     which place this is                                 written by the positions
    previous  which symbol stood one place before                 written by the previous-token head
    answer    which symbol comes next                             written by the induction head, read by the output

| head | looks from                       | to                              | writes                  |
|------|----------------------------------|---------------------------------|-------------------------|
| 0.0  | place t                          | place t - 1                     | token into previous     |
| 0.1  | token                            | the same token earlier          | nothing                 |
| 0.2  | nothing                          | everything alike                | nothing                 |
| 1.0  | token                            | places whose previous is it     | token into answer       |
| 1.1  | place t                          | place t                         | nothing                 |
| 1.2  | nothing                          | everything alike                | nothing                 |

Every norm sees a stream of known length, two unit vectors in the first layer and three in the second, so its scale is set to
give the stream back unchanged. Place 0 has nothing before it; the induction head's keys take one off there, so that it does
not take what place 0 copied from itself for a predecessor.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from kernels.attention import masked_softmax
from model.attention import MultiHead
from model.capture import captured
from model.config import TransformerConfig
from model.decoder import LanguageModel
from model.inspection.maps import AttentionMaps
from model.masks import causal_mask
from model.norms import RMSNorm
from model.output import Output
from model.positions import LearnedPositions

PREVIOUS, DUPLICATE, INDUCTION, DIAGONAL = (0, 0), (0, 1), (1, 0), (1, 1)
SHARPNESS = 20.0  # scores of what is looked at, over those of the rest


def planted_induction(symbols: int = 24, length: int = 72) -> LanguageModel:
    """The model, for rows of up to `length` of `symbols` symbols."""
    width, size = 3 * symbols + length, symbols + length
    config = TransformerConfig(
        vocab_size=symbols,
        hidden_size=width,
        num_layers=2,
        attention=MultiHead(num_heads=3, head_size=size, bias=False, dropout_rate=0.0, scale=1.0),
        mlp=None,
        positions=LearnedPositions(length),
        norm=RMSNorm(epsilon=0.0),
        norm_placement="pre",
        norm_embeddings=False,
        output=Output(tied=False),
        dropout_rate=0.0,
    )
    graph, shapes = nnx.split(nnx.eval_shape(lambda: LanguageModel(config, rngs=nnx.Rngs(0))))
    model = nnx.merge(graph, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))
    token, previous, answer = (slice(n * symbols, (n + 1) * symbols) for n in range(3))
    place = slice(3 * symbols, width)
    one, places = np.eye(symbols, dtype=np.float32), np.eye(length, dtype=np.float32)
    query, key, value = (np.zeros((2, width, 3, size), np.float32) for _ in range(3))
    out = np.zeros((2, 3, size, width), np.float32)
    symbol, spot = slice(0, symbols), slice(symbols, size)  # the two halves of a head

    layer, head = PREVIOUS
    query[layer, place, head, spot] = SHARPNESS * places
    key[layer, place, head, spot] = np.eye(length, k=1)  # the key of place s answers to the query of s + 1
    value[layer, token, head, symbol] = one
    out[layer, head, symbol, previous] = one

    layer, head = DUPLICATE
    query[layer, token, head, symbol] = SHARPNESS * one
    key[layer, token, head, symbol] = one
    query[layer, place, head, spot] = -SHARPNESS * places  # not itself
    key[layer, place, head, spot] = places

    layer, head = INDUCTION
    query[layer, token, head, symbol] = SHARPNESS * one
    key[layer, previous, head, symbol] = one
    key[layer, 3 * symbols, head, symbol] = -1.0
    value[layer, token, head, symbol] = one
    out[layer, head, symbol, answer] = one

    layer, head = DIAGONAL
    query[layer, place, head, spot] = SHARPNESS * places
    key[layer, place, head, spot] = places

    tokens, positions = np.zeros((symbols, width), np.float32), np.zeros((length, width), np.float32)
    tokens[:, token], positions[:, place] = one, places
    table = np.zeros((symbols, width), np.float32)
    table[:, answer] = SHARPNESS * one
    attention, layers = model.layers.attention, model.layers
    assert model.token_head.table is not None and model.final_norm is not None
    for parameter, array in (
        (model.embeddings.tokens.embedding, tokens),
        (model.embeddings.positions.embedding, positions),
        (attention.query.kernel, query),
        (attention.key.kernel, key),
        (attention.value.kernel, value),
        (attention.out.kernel, out),
        (layers.attention_norm.scale, np.stack([np.full(width, math.sqrt(n / width), np.float32) for n in (2, 3)])),
        (model.final_norm.scale, np.full(width, math.sqrt(4 / width), np.float32)),
        (model.token_head.table.embedding, table),
    ):
        parameter[...] = jnp.asarray(array)
    return model


def repeated_tokens(symbols: int = 24, block: int = 24, length: int = 72, seed: int = 0) -> np.ndarray:
    """One random block over and over, int32 [T]. No symbol stands twice in it, so each has one successor: in A B A the place
    before the second A is also what came after the first."""
    drawn = np.random.default_rng(seed).permutation(symbols)[:block]
    return np.resize(drawn, length).astype(np.int32)


def inputs_of(tokens: np.ndarray) -> tuple[jnp.ndarray, jnp.ndarray, jnp.ndarray]:
    """What a model takes for texts without padding: tokens, positions and segments, from [T] or [B T]."""
    rows = jnp.atleast_2d(jnp.asarray(tokens))
    return rows, jnp.broadcast_to(jnp.arange(rows.shape[1])[None], rows.shape), jnp.ones_like(rows)


def causal_maps(model: LanguageModel, tokens: np.ndarray) -> AttentionMaps:
    """The attention of a plain decoder in one text, from its captured queries and keys."""
    _, sites = captured(model, lambda model: model(*inputs_of(tokens)))
    scale, layers = model.config.attention.scale, range(model.num_layers)
    weights = []
    for layer in layers:
        query, key = (sites[f"layers.{layer}.attention.{name}"] for name in ("queries", "keys"))
        scores = jnp.einsum("BTNH,BSNH->BNTS", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
        weights.append(np.asarray(masked_softmax(scores, causal_mask(len(tokens)))[0]))
    words = tuple(map(str, tokens))
    heads = tuple(range(model.config.attention.num_heads))
    return AttentionMaps(np.stack(weights), words, words, tuple(layers), heads, "decoder")
