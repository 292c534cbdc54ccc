"""From ids to the first residual stream: tokens, positions and token types, summed."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, UInt32

from kernels.dropout import dropout
from model.capture import tap
from model.config import TransformerConfig
from model.initializers import Initializer
from model.linear import Embedding, Linear
from model.norms import Norm
from model.positions import LearnedPositions, SinusoidalPositions, sinusoids


class Embeddings(nnx.Module):
    """x = project(dropout(norm(tokens[t] + positions[p] + token_types[s]))), each part where the config has it.

    The projection is there where embeddings are narrower than the model (ALBERT, arXiv:1909.11942).
    """

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        width, choice = config.embedding_size or config.hidden_size, config.positions
        self.dropout_rate, self.choice = config.dropout_rate, choice
        self.scale = math.sqrt(width) if config.scale_embeddings else None

        def table(rows: int, initializer: Initializer | None = None) -> Embedding:
            initializer = initializer or config.draw("embedding", rows, width)
            return Embedding(rows, width, initializer=initializer, rngs=rngs)

        self.tokens = table(config.vocab_size)
        if isinstance(choice, LearnedPositions):
            rows = choice.max_length + choice.offset
            self.positions = table(rows, config.initializer.positions(rows, width))
        self.token_types = table(config.num_token_types) if config.num_token_types else None
        self.norm = Norm(width, config.norm) if config.norm_embeddings else None
        axes, drawn = {"E": width, "D": config.hidden_size}, config.draw("input", width, config.hidden_size)
        factored = config.embedding_size is not None
        self.projection = Linear("BTE,ED->BTD", axes, initializer=drawn, rngs=rngs) if factored else None

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        token_types: Int[Array, "B T"] | None = None,
        *,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B T D"]:
        """Token types left out count as type 0. A row longer than the table of learned positions raises ValueError."""
        return self.add(self.look_up(tokens), positions, token_types, dropout_keys=dropout_keys)

    def look_up(self, tokens: Int[Array, "B T"]) -> Float[Array, "B T E"]:
        """The vectors of tokens, before anything is added."""
        x = self.tokens(tokens)
        return x if self.scale is None else x * self.scale

    def add(
        self,
        x: Float[Array, "B T E"],
        positions: Int[Array, "B T"],
        token_types: Int[Array, "B T"] | None = None,
        *,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B T D"]:
        """The stream that begins with vectors in the place of tokens."""
        if (encoded := self.encode(positions, x.shape[-1])) is not None:
            x = x + encoded.astype(x.dtype)
        if self.token_types is not None:
            x = x + self.token_types(jnp.zeros(x.shape[:2], jnp.int32) if token_types is None else token_types)
        if self.norm is not None:
            x = self.norm(x)
        x = dropout(x, self.dropout_rate, dropout_keys)
        return tap(self, "output", x if self.projection is None else self.projection(x))

    def encode(self, positions: Int[Array, "B T"], width: int) -> Float[Array, "B T D"] | None:
        """The vectors of `positions`, learned or computed; None where positions act inside attention, or nowhere."""
        if isinstance(self.choice, SinusoidalPositions):
            return sinusoids(positions, width, self.choice.max_wavelength)
        if not isinstance(self.choice, LearnedPositions):
            return None
        if positions.shape[1] > self.choice.max_length:
            raise ValueError(
                f"a row of {positions.shape[1]} tokens is longer than the {self.choice.max_length} learned positions; "
                "shorten the rows or raise positions.max_length"
            )
        return self.positions(positions + self.choice.offset)
