"""Masks of a prompt filled in by a masked language model."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from data.tokenizers import Tokenizer
from model.encoder import MaskedLanguageModel
from train.pretrained import Opened
from train.prompts import masked_ids, tokenizer_of


@dataclass(frozen=True)
class Fill:
    """A token for a mask, and how probable it is there, the other masks unknown."""

    token: int
    text: str
    probability: float


def fill(opened: Opened, prompt: str, most: int = 5) -> list[list[Fill]]:
    """For each mask of the prompt its most probable tokens, the best first.

    Raises:
        GenerationError: the prompt has no mask, or the model cannot read it.
    """
    assert isinstance(opened.model, MaskedLanguageModel)
    tokenizer, ids = tokenizer_of(opened), masked_ids(opened, prompt)
    graph, params = nnx.split(opened.model)
    places = np.flatnonzero(ids == tokenizer.special.mask)
    chances = np.asarray(jax.device_get(_chances(graph, params, jnp.asarray(ids)[None], jnp.asarray(places))))
    chances = chances[:, : tokenizer.vocab_size]
    best = np.argsort(-chances, axis=1, kind="stable")[:, :most]
    return [
        [Fill(int(token), _text(tokenizer, int(token)), float(row[token])) for token in tokens]
        for row, tokens in zip(chances, best, strict=True)
    ]


@functools.partial(jax.jit, static_argnums=0)
def _chances(graph: Any, params: Any, ids: Int[Array, "1 T"], places: Int[Array, " K"]) -> Float[Array, "K V"]:
    model = nnx.merge(graph, params)
    hidden = model(ids, jnp.arange(ids.shape[1], dtype=jnp.int32)[None], jnp.ones_like(ids))
    return jax.nn.softmax(model.predict_tokens(hidden[:, places])[0], axis=-1)


def _text(tokenizer: Tokenizer, token: int) -> str:
    """What a token stands for, without the space before it; its name where it stands for nothing that shows."""
    return tokenizer.decode([token]).strip() or repr(tokenizer.token(token))
