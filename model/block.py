"""One block of a transformer: attention, then a feed-forward, each added to the residual stream."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt32

from kernels.dropout import dropout, fold
from model.attention import Attention, Turned
from model.cache import KeyValues, LayerCache
from model.capture import tap
from model.config import TransformerConfig
from model.mlp import MLP
from model.norms import Norm

# Words that part the random streams of one block; never reorder them, a run's masks depend on them.
WEIGHTS, AFTER_ATTENTION, AFTER_MLP, SOURCE_WEIGHTS, AFTER_SOURCE, INSIDE_MLP = range(6)


class Sight(NamedTuple):
    """What a block may see, the same in every layer but for the window.

    Attributes:
        mask: who may attend to whom in self attention; None: everybody.
        turned: cosines and sines of rotary positions.
        bias: what positions add to the scores of self attention.
        source: hidden states of an encoder, for cross attention; None where its keys lie in the cache.
        source_mask: who may attend to which of them.
        at: with a cache, the slot of the first token.
    """

    mask: Bool[Array, "#B #N #T S"] | None = None
    turned: Turned | None = None
    bias: Float[Array, "#B #N T S"] | None = None
    source: Float[Array, "B C D"] | None = None
    source_mask: Bool[Array, "#B #N #T C"] | None = None
    at: Int[Array, ""] | None = None


class Block(nnx.Module):
    """Self attention, cross attention where `cross` is set, and MLP, each f with a norm around it.

    Post-norm (arXiv:1706.03762):  x = norm(x + f(x)).        Pre-norm (arXiv:2002.04745):  x = x + f(norm(x)).
    Sandwich (arXiv:2105.13290):   x = x + norm(f(norm(x))).  Parallel (GPT-J):  x = x + attention(norm(x)) + mlp(norm(x)).
    """

    def __init__(self, config: TransformerConfig, *, causal: bool = False, cross: bool = False, rngs: nnx.Rngs):
        self.placement = config.norm_placement
        self.dropout_rate = config.dropout_rate
        width, sandwich = config.hidden_size, config.norm_placement == "sandwich"
        if cross and config.norm_placement == "parallel":
            raise ValueError("norm_placement='parallel' has no cross attention; use 'pre' for an encoder-decoder")

        def norm(wanted: bool = True) -> Norm | None:
            return Norm(width, config.norm) if wanted else None

        def attention(crossing: bool) -> Attention:
            pair = functools.partial(config.initializer.pair, cross=crossing, causal=causal)
            return Attention(width, config.attention, norm=config.norm, draw=config.draw, pair=pair, rngs=rngs)

        self.attention = attention(crossing=False)
        self.attention_norm = norm()
        self.attention_norm_after = norm(sandwich)
        self.cross_attention = attention(crossing=True) if cross else None
        self.cross_attention_norm = norm(cross)
        self.cross_attention_norm_after = norm(cross and sandwich)
        self.mlp = None if config.mlp is None else MLP(width, config.mlp, draw=config.draw, rngs=rngs)
        self.mlp_norm = norm(self.mlp is not None and self.placement != "parallel")
        self.mlp_norm_after = norm(self.mlp is not None and sandwich)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        sight: Sight = Sight(),
        *,
        cache: LayerCache | None = None,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> tuple[Float[Array, "B T D"], LayerCache | None]:
        """The stream after this block, and what it keeps for the next call."""
        kept: list[KeyValues] = []

        def keys(site: int) -> UInt32[Array, " B"] | None:
            return None if dropout_keys is None else fold(dropout_keys, site)

        def attend(x):
            rotary = {"turned": sight.turned, "bias": sight.bias}
            if cache is None:
                x = self.attention(x, sight.mask, dropout_keys=keys(WEIGHTS), **rotary)
            else:
                assert sight.at is not None and sight.mask is not None
                x, own = self.attention.extend(x, sight.mask, cache.own, sight.at, **rotary)
                kept.append(own)
            return dropout(x, self.dropout_rate, keys(AFTER_ATTENTION))

        def read_source(x):
            assert self.cross_attention is not None
            if cache is None or cache.source is None:
                x = self.cross_attention(x, sight.source_mask, source=sight.source, dropout_keys=keys(SOURCE_WEIGHTS))
            else:
                x = self.cross_attention.recall(x, sight.source_mask, cache.source)
            return dropout(x, self.dropout_rate, keys(AFTER_SOURCE))

        def feed_forward(x):
            assert self.mlp is not None
            return dropout(self.mlp(x, dropout_keys=keys(INSIDE_MLP)), self.dropout_rate, keys(AFTER_MLP))

        if self.placement == "parallel":
            assert self.attention_norm is not None
            normed = self.attention_norm(x)
            x = x + attend(normed) + (0.0 if self.mlp is None else feed_forward(normed))
        else:
            x = self._add(x, attend, self.attention_norm, self.attention_norm_after)
            x = tap(self, "residual_middle", x)
            if self.cross_attention is not None:
                x = self._add(x, read_source, self.cross_attention_norm, self.cross_attention_norm_after)
            if self.mlp is not None:
                x = self._add(x, feed_forward, self.mlp_norm, self.mlp_norm_after)
        return tap(self, "residual", x), None if cache is None else cache._replace(own=kept[0])

    def _add(self, x: Array, part: Callable[[Array], Array], norm: Norm | None, after: Norm | None) -> Array:
        """Add one part to the stream, with its norm where the placement says."""
        assert norm is not None
        if self.placement == "post":
            return norm(x + part(x))
        added = part(norm(x))
        return x + (added if after is None else after(added))
