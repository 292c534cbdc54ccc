"""From ids to the first residual stream: tokens, positions and token types, summed."""

from flax import nnx
from jaxtyping import Array, Float, Int, UInt32

from kernels.dropout import dropout
from model.config import TransformerConfig
from model.linear import Embedding, truncated_normal
from model.norms import Norm
from model.positions import LearnedPositions, sinusoids


class Embeddings(nnx.Module):
    """x = dropout(norm(tokens[t] + positions[p] + token_types[s])), each part where the config has it."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        width, choice = config.hidden_size, config.positions
        shared = {"initializer": truncated_normal(config.initializer_range), "rngs": rngs}
        self.dropout_rate = config.dropout_rate
        self.position_choice = choice
        self.tokens = Embedding(config.vocab_size, width, **shared)
        self.positions = Embedding(choice.max_length, width, **shared) if isinstance(choice, LearnedPositions) else None
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
        if isinstance(self.position_choice, LearnedPositions):
            if tokens.shape[1] > self.position_choice.max_length:
                raise ValueError(
                    f"a row of {tokens.shape[1]} tokens is longer than the {self.position_choice.max_length} learned positions; "
                    "shorten the rows or raise positions.max_length"
                )
            x = x + self.positions(positions)
        else:
            x = x + sinusoids(positions, x.shape[-1], self.position_choice.max_wavelength).astype(x.dtype)
        if self.token_types is not None:
            x = x + (self.token_types.embedding[...][None, :1] if token_types is None else self.token_types(token_types))
        if self.norm is not None:
            x = self.norm(x)
        return dropout(x, self.dropout_rate, dropout_keys)
