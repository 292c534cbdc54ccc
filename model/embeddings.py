"""From ids to the first residual stream: tokens, positions and token types, summed."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, UInt32

from kernels.dropout import dropout
from model.config import TransformerConfig
from model.linear import Embedding, truncated_normal
from model.norms import Norm
from model.positions import LearnedPositions, SinusoidalPositions, sinusoids


class Embeddings(nnx.Module):
    """x = dropout(norm(tokens[t] + positions[p] + token_types[s])), each part where the config has it."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        width, choice = config.hidden_size, config.positions
        shared = {"initializer": truncated_normal(config.initializer_range), "rngs": rngs}
        self.dropout_rate = config.dropout_rate
        self.choice = choice
        self.tokens = Embedding(config.vocab_size, width, **shared)
        if isinstance(choice, LearnedPositions):
            self.positions = Embedding(choice.max_length, width, **shared)
        self.token_types = Embedding(config.num_token_types, width, **shared) if config.num_token_types else None
        self.norm = Norm(width, config.norm) if config.norm_embeddings else None

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        token_types: Int[Array, "B T"] | None = None,
        *,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B T D"]:
        """Token types left out count as type 0. A row longer than the table of learned positions raises ValueError."""
        x = self.tokens(tokens)
        x = x + self.encode(positions, x.shape[-1]).astype(x.dtype)
        if self.token_types is not None:
            x = x + self.token_types(jnp.zeros_like(tokens) if token_types is None else token_types)
        if self.norm is not None:
            x = self.norm(x)
        return dropout(x, self.dropout_rate, dropout_keys)

    def encode(self, positions: Int[Array, "B T"], width: int) -> Float[Array, "B T D"]:
        """The vectors of `positions`, learned or computed."""
        if isinstance(self.choice, SinusoidalPositions):
            return sinusoids(positions, width, self.choice.max_wavelength)
        if positions.shape[1] > self.choice.max_length:
            raise ValueError(
                f"a row of {positions.shape[1]} tokens is longer than the {self.choice.max_length} learned positions; "
                "shorten the rows or raise positions.max_length"
            )
        return self.positions(positions)
