"""Prompt tuning: trained vectors before the tokens of a row."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt32

from model.decoder import LanguageModel
from model.encoder import Encoder, part
from model.peft.sites import PeftError, hang_part


@dataclasses.dataclass(frozen=True)
class PromptTuning:
    """P vectors in the place of embedded tokens, before those of the text (Lester et al., arXiv:2104.08691).

    They take positions 0 ... P - 1 and belong to the first text of a row, so rows should hold one text each. Outputs change from
    the start, and are those of the tokens alone.
    """

    length: int = 16
    """Vectors P."""
    initial: Literal["vocabulary", "gaussian"] = "vocabulary"
    """How they begin: as the vectors of tokens drawn at random, which is best in the paper, or normal with deviation 0.02."""

    def __post_init__(self):
        if self.length < 1:
            raise ValueError(f"length={self.length} must be at least 1")

    def tune(self, model: nnx.Module, rngs: nnx.Rngs) -> None:
        """Hang it on the first encoder or decoder of a model, in place."""
        for _, module in sorted(nnx.iter_modules(model), key=lambda item: len(item[0])):
            if isinstance(module, Encoder | LanguageModel):
                hang_part(module, Prompt(module, self, rngs.params()))
                return
        raise PeftError(f"a {type(model).__name__} has no row of tokens to put a prompt before; use LoRA or a prefix")


class Prompt(nnx.Module):
    """The trained vectors."""

    word = "prompt"

    def __init__(self, model: Encoder | LanguageModel, choice: PromptTuning, key: Array):
        table = model.embeddings.tokens
        if choice.initial == "vocabulary":
            rows = jax.random.randint(key, (1, choice.length), 0, table.embedding.shape[0])
            vectors = model.embeddings.look_up(rows)[0].astype(jnp.float32)
        else:
            width = model.config.embedding_size or model.config.hidden_size
            vectors = 0.02 * jax.random.normal(key, (choice.length, width), jnp.float32)
        self.embedding = nnx.Param(vectors)

    def __call__(
        self,
        model: Any,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        token_types: Int[Array, "B T"] | None = None,
        *,
        prefix: Bool[Array, "B T"] | None = None,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B T D"]:
        """The last hidden states of the tokens."""
        length, rows = self.embedding.shape[0], tokens.shape[0]

        def before(values: Array, added: Array) -> Array:
            return jnp.concatenate([jnp.broadcast_to(added, (rows, length)).astype(values.dtype), values], axis=1)

        first, others = part(dropout_keys)
        x = model.embeddings.look_up(tokens)
        vectors = jnp.broadcast_to(self.embedding[...][None].astype(x.dtype), (rows, *self.embedding.shape))
        positions = before(positions + length, jnp.arange(length)[None])
        segments = before(segments, segments[:, :1])
        token_types = None if token_types is None else before(token_types, token_types[:, :1])
        told = {} if prefix is None else {"prefix": before(prefix, prefix[:, :1])}
        x = jnp.concatenate([vectors, x], axis=1)
        x = model.embeddings.add(x, positions, token_types, dropout_keys=first)
        return model.run(x, positions, segments, dropout_keys=others, **told)[0][:, length:]
