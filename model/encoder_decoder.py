"""An encoder and a decoder that reads from it, over one vocabulary and one table of embeddings."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, UInt32

from kernels.dropout import fold
from model.cache import Cache, KeyValues, LayerCache, empty_cache
from model.config import TransformerConfig
from model.embeddings import Embeddings
from model.encoder import part
from model.heads import TokenHead
from model.transformer import Transformer

SOURCE, TARGET = 2, 3  # words that part the random streams of the two sides; a run's masks depend on them


class EncoderDecoder(nnx.Module):
    """The first transformer (Vaswani et al., arXiv:1706.03762), and T5 (Raffel et al., arXiv:1910.10683)."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.embeddings = Embeddings(config, rngs=rngs)
        self.encoder = Transformer(config, causal=False, rngs=rngs)
        self.decoder = Transformer(config, causal=True, cross=True, num_layers=config.num_decoder_layers, rngs=rngs)
        self.token_head = TokenHead(config, rngs=rngs)

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        *,
        source_tokens: Int[Array, "B S"],
        source_positions: Int[Array, "B S"],
        source_segments: Int[Array, "B S"],
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B T D"]:
        """The decoder's last hidden states. `tokens` are its input, the target shifted by one; both sides number their
        segments alike, and a segment reads the source of its own number. Segment 0 is padding.
        """
        source = self.encode(source_tokens, source_positions, source_segments, dropout_keys=dropout_keys)
        first, others = part(None if dropout_keys is None else fold(dropout_keys, TARGET))
        return self.decoder.run(
            self.embeddings(tokens, positions, dropout_keys=first),
            positions,
            segments,
            source=source,
            source_segments=source_segments,
            dropout_keys=others,
        )[0]

    def encode(
        self,
        tokens: Int[Array, "B S"],
        positions: Int[Array, "B S"],
        segments: Int[Array, "B S"],
        *,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B S D"]:
        """The encoder's last hidden states."""
        first, others = part(None if dropout_keys is None else fold(dropout_keys, SOURCE))
        x = self.embeddings(tokens, positions, dropout_keys=first)
        return self.encoder.run(x, positions, segments, dropout_keys=others)[0]

    def start(
        self, source: Float[Array, "B S D"], source_segments: Int[Array, "B S"], slots: int, dtype: Any = jnp.float32
    ) -> Cache:
        """A cache for targets of up to `slots` tokens, with each layer's keys and values of the encoded source in it."""
        attention = self.config.attention
        cache = empty_cache(
            source.shape[0],
            slots,
            num_layers=self.decoder.num_layers,
            num_kv_heads=attention.num_kv_heads or attention.num_heads,
            head_size=attention.head_size_in(self.config.hidden_size),
            dtype=dtype,
            apart=isinstance(self.decoder.layers, nnx.List),
        )

        def read(layer) -> KeyValues:
            return jax.tree.map(lambda part: part.astype(dtype), layer.cross_attention.read(source))

        layers = self.decoder.layers
        if isinstance(layers, nnx.List):
            shared = self.config.share_layers
            kept: Any = tuple(
                one._replace(source=read(layers[0 if shared else n])) for n, one in enumerate(cache.layers)
            )
        else:
            memory = nnx.vmap(read, in_axes=0, out_axes=0)(layers)
            if self.config.share_layers:
                memory = jax.tree.map(lambda part: jnp.repeat(part, self.decoder.num_layers, axis=0), memory)
            kept = LayerCache(cache.layers.own, memory)
        return cache._replace(layers=kept, source_segments=source_segments)

    def extend(
        self, cache: Cache, tokens: Int[Array, "B T"], positions: Int[Array, "B T"], segments: Int[Array, "B T"]
    ) -> tuple[Float[Array, "B T D"], Cache]:
        """Hidden states of T more target tokens after those in the cache, and the cache with them in it."""
        x, after = self.decoder.run(self.embeddings(tokens, positions), positions, segments, cache=cache)
        assert after is not None
        return x, after

    def predict_tokens(self, hidden: Float[Array, "B K D"]) -> Float[Array, "B K V"]:
        """Logits, in float32, of the token after each of K places of the target, from the hidden states there."""
        return self.token_head(hidden, self.embeddings.tokens)
