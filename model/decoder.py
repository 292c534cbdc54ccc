"""A decoder, in which every token sees those before it and a prefix where one is given, and the language model on it."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt32

from model.cache import Cache, empty_cache
from model.config import TransformerConfig
from model.embeddings import Embeddings
from model.encoder import part
from model.heads import TokenHead
from model.transformer import Transformer


class Decoder(Transformer):
    """Embeddings and causal blocks.

    With a `prefix` the tokens of the prefix see each other in both directions, and everybody sees them: a prefix language
    model (arXiv:1910.10683, section 3.2.1). Vectors that model/peft puts before the tokens hang under the name `tuned`.
    """

    tuned: str | None = None

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        self.embeddings = Embeddings(config, rngs=rngs)
        super().__init__(config, causal=True, rngs=rngs)

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        *,
        prefix: Bool[Array, "B T"] | None = None,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B T D"]:
        """The last hidden state of every token. Segment 0 is padding; `dropout_keys`, one an example, switch dropout on."""
        if self.tuned is not None:
            told = {"prefix": prefix, "dropout_keys": dropout_keys}
            return getattr(self, self.tuned)(self, tokens, positions, segments, **told)
        first, others = part(dropout_keys)
        x = self.embeddings(tokens, positions, dropout_keys=first)
        return self.run(x, positions, segments, prefix=prefix, dropout_keys=others)[0]

    def extend(
        self,
        cache: Cache,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        *,
        prefix: Bool[Array, "B T"] | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache]:
        """Hidden states of T more tokens after those in the cache, and the cache with them in it."""
        if self.tuned is not None:
            raise ValueError(
                "vectors before the tokens are in no cache; to write text, tune with a prefix or LoRA instead"
            )
        x, cache_after = self.run(self.embeddings(tokens, positions), positions, segments, prefix=prefix, cache=cache)
        assert cache_after is not None
        return x, cache_after

    def empty_cache(self, batch: int, slots: int, dtype: Any = jnp.float32) -> Cache:
        """A cache for rows of up to `slots` tokens, in the form that the layers have: stacked, or one for each."""
        attention = self.config.attention
        return empty_cache(
            batch,
            slots,
            num_layers=self.num_layers,
            num_kv_heads=attention.num_kv_heads or attention.num_heads,
            head_size=attention.head_size_in(self.config.hidden_size),
            dtype=dtype,
            apart=isinstance(self.layers, nnx.List),
        )


class LanguageModel(Decoder):
    """A decoder with a head that scores the next token (Radford et al. 2018)."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        self.token_head = TokenHead(config, rngs=rngs)

    def predict_tokens(self, hidden: Float[Array, "B K D"]) -> Float[Array, "B K V"]:
        """Logits, in float32, of the token after each of K places, from the hidden states there."""
        return self.token_head(hidden, self.embeddings.tokens)
