"""A stack of blocks with what all of them share: who sees whom, positions, the last norm.

From a residual stream to hidden states; encoder, decoder and both halves of an encoder-decoder are this one module.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt32

from kernels.dropout import fold, keep_mask
from model.block import Block, Sight
from model.cache import Cache
from model.config import TransformerConfig
from model.masks import causal_mask, prefix_mask, segment_mask, window_mask
from model.norms import Norm
from model.placing import split_rows
from model.position_bias import RelativeBias, alibi_bias
from model.positions import ALiBi, RelativeBuckets
from model.rotary import Rotary, rotation
from model.stack import run_layers, stack_layers

DROPPED_LAYER = 1_000  # a word of a layer's random stream, far from those of model/block.py


class Transformer(nnx.Module):
    """Blocks, their positions where these act inside attention, and the norm at the end where there is one."""

    def __init__(
        self,
        config: TransformerConfig,
        *,
        causal: bool,
        cross: bool = False,
        num_layers: int | None = None,
        rngs: nnx.Rngs,
    ):
        self.config, self.causal = config, causal
        self.num_layers = num_layers or config.num_layers
        rows = 1 if config.share_layers else self.num_layers
        self.layers = stack_layers(lambda rngs: Block(config, causal=causal, cross=cross, rngs=rngs), rows, rngs)
        if isinstance(config.positions, RelativeBuckets):
            initializer = config.initializer.relative_bias(config.positions, not causal)
            initializer = initializer or config.draw("input", config.hidden_size, config.attention.num_heads)
            self.position_bias = RelativeBias(
                config.attention.num_heads,
                config.positions,
                bidirectional=not causal,
                initializer=initializer,
                rngs=rngs,
            )
        self.final_norm = None if config.norm_placement == "post" else Norm(config.hidden_size, config.norm)

    def run(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        *,
        prefix: Bool[Array, "B T"] | None = None,
        source: Float[Array, "B C D"] | None = None,
        source_segments: Int[Array, "B C"] | None = None,
        cache: Cache | None = None,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """Hidden states of the tokens whose embeddings are `x`, and the cache after them.

        Segment 0 is padding: nobody sees it, and its own states mean nothing. With a cache the tokens take its next slots,
        and see what lies in it already.
        """
        start = None if cache is None else cache.length
        if cache is not None:
            cache = cache.advance(positions, segments)
            source_segments = cache.source_segments
        keys = (positions, segments) if cache is None else (cache.positions, cache.segments)
        call = self._caller(
            positions,
            segments,
            *keys,
            prefix=prefix,
            source=source,
            source_segments=source_segments,
            start=start,
            dropout_keys=dropout_keys,
        )
        x, kept = run_layers(
            self.layers,
            split_rows(x),
            call,
            self.num_layers,
            self.config.stack,
            shared=self.config.share_layers,
            kept=None if cache is None else cache.layers,
        )
        return self._normed(x), None if cache is None else cache._replace(layers=kept)

    def run_from(
        self,
        x: Float[Array, "B T D"],
        layer: Int[Array, ""],
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        *,
        source: Float[Array, "B C D"] | None = None,
        source_segments: Int[Array, "B C"] | None = None,
        first: Callable[[Block], None] | None = None,
    ) -> Float[Array, "B T D"]:
        """Hidden states from the stream that enters a layer, whose number is traced: one program for all of them.

        `first` is told the block of that layer before it runs, to let something see or change what happens inside.
        """
        call = self._caller(positions, segments, positions, segments, source=source, source_segments=source_segments)
        graph, rows = nnx.split(self.layers)

        def block(number: Array) -> Block:
            index = jnp.zeros_like(number) if self.config.share_layers else number
            return nnx.merge(
                graph, jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, 0, False), rows)
            )

        def step(number: Array, x: Array) -> Array:
            return call(block(number), x, number.astype(jnp.uint32), None)[0]

        if first is None:
            return self._normed(jax.lax.fori_loop(layer, self.num_layers, step, x))
        changed = block(layer)
        first(changed)
        x = call(changed, x, layer.astype(jnp.uint32), None)[0]
        return self._normed(jax.lax.fori_loop(layer + 1, self.num_layers, step, x))

    def _normed(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return x if self.final_norm is None else self.final_norm(x)

    def _caller(
        self,
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        key_positions: Int[Array, "B S"],
        key_segments: Int[Array, "B S"],
        *,
        prefix: Bool[Array, "B T"] | None = None,
        source: Float[Array, "B C D"] | None = None,
        source_segments: Int[Array, "B C"] | None = None,
        start: Int[Array, ""] | None = None,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Callable[[Block, Any, Array, Any], tuple[Any, Any]]:
        """How a layer is called by its number: what it sees, what it drops, and what it keeps."""
        if prefix is not None and start is not None:
            nowhere = jnp.zeros(key_segments.shape, bool)  # the slots of a prefix are those of its tokens
            prefix = jax.lax.dynamic_update_slice(nowhere, prefix, (0, start))
        mask = self.visible(segments, key_segments, prefix, start)
        window, kinds = self.config.attention.window, self._is_local()
        near = None
        if window is not None:
            near = mask & window_mask(positions, key_positions, window.size, self.causal)
        sight = Sight(
            mask=mask,
            turned=self._turned(positions),
            bias=self._bias(positions, key_positions),
            source=source,
            source_mask=None if source_segments is None else segment_mask(segments, source_segments),
            at=start,
        )

        def call(layer: Block, x: Array, index: Array, kept: Any) -> tuple[Array, Any]:
            keys = None if dropout_keys is None else fold(dropout_keys, index)
            here = sight
            if near is not None:
                here = sight._replace(mask=near if all(kinds) else jnp.where(jnp.array(kinds)[index], near, mask))
            y, kept = layer(x, here, cache=kept, dropout_keys=keys)
            if self.config.layer_drop_rate and keys is not None:
                stays = keep_mask(fold(keys, DROPPED_LAYER), (x.shape[0], 1, 1), self.config.layer_drop_rate)
                y = jnp.where(stays, y, x)
            return split_rows(y), kept

        return call

    def visible(
        self,
        segments: Int[Array, "B T"],
        key_segments: Int[Array, "B S"],
        prefix: Bool[Array, "B S"] | None,
        start: Int[Array, ""] | None,
    ) -> Bool[Array, "B 1 T S"]:
        """Who may attend to whom, windows aside."""
        same = segment_mask(segments, key_segments)
        if not self.causal:
            return same
        before = causal_mask(segments.shape[1], key_segments.shape[1], 0 if start is None else start)
        return same & (before if prefix is None else before | prefix_mask(prefix))

    def _turned(self, positions: Int[Array, "B T"]):
        choice = self.config.positions
        if not isinstance(choice, Rotary):
            return None
        return rotation(choice, positions, self.config.attention.head_size_in(self.config.hidden_size))

    def _bias(self, positions: Int[Array, "B T"], key_positions: Int[Array, "B S"]) -> Float[Array, "B N T S"] | None:
        match self.config.positions:
            case RelativeBuckets():
                return self.position_bias(positions, key_positions)
            case ALiBi():
                return alibi_bias(positions, key_positions, self.config.attention.num_heads)
        return None

    def _is_local(self) -> list[bool]:
        window = self.config.attention.window
        return [] if window is None else window.is_local(self.num_layers)
