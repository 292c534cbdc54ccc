"""Multi-head attention with fewer key and value heads where wanted; self attention, or cross attention to a source."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt32

from kernels.attention import attention, attention_scores, heads_first_attention, masked_softmax, mix_values
from model.cache import KeyValues
from model.capture import tap, tap_made
from model.initializers import Draw
from model.linear import Linear
from model.norms import LayerNorm, Norm, RMSNorm
from model.rotary import rotate

Projection = Literal["query", "key", "value", "out"]
PROJECTIONS: tuple[Projection, ...] = ("query", "key", "value", "out")
Pair = Callable[..., tuple[Float[Array, "D N H"], Float[Array, "D K H"]]]
"""The kernels of query and key with which attention begins, from those that were drawn: initializers.Independent.pair."""
Turned = tuple[Float[Array, "B T R"], Float[Array, "B T R"]]


@dataclasses.dataclass(frozen=True)
class Window:
    """Attention to what is near (Longformer, arXiv:2004.05150; Mistral, arXiv:2310.06825), in all layers or in some."""

    size: int
    """Causal: a token and the size - 1 before it. In both directions: size // 2 on either side."""
    pattern: tuple[Literal["local", "global"], ...] = ("local",)
    """Which layers are windowed, repeated over the layers: ("local", "global") alternates, as in Gemma 2."""

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size={self.size} of the window must be at least 1")
        if not self.pattern or not set(self.pattern) <= {"local", "global"}:
            raise ValueError(f"pattern={self.pattern} must be words local and global, at least one")

    def is_local(self, num_layers: int) -> list[bool]:
        """Whether each layer is windowed.

        >>> Window(4, ("local", "global")).is_local(3)
        [True, False, True]
        """
        return [self.pattern[layer % len(self.pattern)] == "local" for layer in range(num_layers)]


@dataclasses.dataclass(frozen=True)
class MultiHead:
    """Heads of attention: each query head has its own key head (MHA), a group shares one (GQA), or all do (MQA)."""

    num_heads: int
    """Query heads N."""
    num_kv_heads: int | None = None
    """Key and value heads K; None is as many as query heads. Grouped: arXiv:2305.13245; one: arXiv:1911.02150."""
    head_size: int | None = None
    """Size H of a head; None is the model's width over num_heads."""
    bias: bool | tuple[Projection, ...] = True
    """Which of query, key, value and out have biases: all, none, or those that are named."""
    dropout_rate: float = 0.1
    """Dropout on the attention weights."""
    scale: float | None = None
    """What scores are multiplied by; None: 1 / sqrt(H). T5 has 1."""
    norm_query_key: bool = False
    """Whether the model's norm is applied to each head of queries and keys, before they turn (arXiv:2302.05442)."""
    soft_cap: float | None = None
    """Scores are kept within +-c by c tanh(score / c) (Gemma 2, arXiv:2408.00118); None: not."""
    sinks: bool = False
    """Whether each head has a learned score that attends to nothing (arXiv:2309.17453)."""
    window: Window | None = None
    """How far self attention sees; None: everything that the mask allows."""

    def __post_init__(self):
        if self.num_heads < 1:
            raise ValueError(f"num_heads={self.num_heads} must be at least 1")
        if self.head_size is not None and self.head_size < 1:
            raise ValueError(f"head_size={self.head_size} must be at least 1, or None")
        if self.num_kv_heads is not None and (self.num_kv_heads < 1 or self.num_heads % self.num_kv_heads):
            raise ValueError(
                f"num_heads={self.num_heads} is not a multiple of num_kv_heads={self.num_kv_heads}; "
                f"use {_divisors(self.num_heads)}"
            )
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate={self.dropout_rate} must lie in [0, 1)")
        if self.soft_cap is not None and not self.soft_cap > 0:
            raise ValueError(f"soft_cap={self.soft_cap} must be positive; None leaves scores as they are")
        if not isinstance(self.bias, bool) and not set(self.bias) <= set(PROJECTIONS):
            raise ValueError(f"bias={self.bias} must be True, False or some of {', '.join(PROJECTIONS)}")

    def has_bias(self, projection: Projection) -> bool:
        """Whether a projection has a bias."""
        return self.bias if isinstance(self.bias, bool) else projection in self.bias

    def head_size_in(self, width: int) -> int:
        """The size of a head in a model of this width; ValueError where the heads do not divide it."""
        if self.head_size is not None:
            return self.head_size
        if width % self.num_heads:
            raise ValueError(
                f"hidden_size={width} is not a multiple of num_heads={self.num_heads}; "
                "change one of them, or set attention.head_size"
            )
        return width // self.num_heads


class Attention(nnx.Module):
    """Self attention, or cross attention when a source, or what was read from it, is given.

    Keys and values that model/peft adds to those of the tokens hang under the name `tuned`.
    """

    tuned: str | None = None

    def __init__(
        self,
        width: int,
        choice: MultiHead,
        *,
        source_width: int | None = None,
        norm: LayerNorm | RMSNorm = LayerNorm(),
        draw: Draw,
        pair: Pair | None = None,
        rngs: nnx.Rngs,
    ):
        self.dropout_rate, self.soft_cap = choice.dropout_rate, choice.soft_cap
        size, heads, kv_heads = choice.head_size_in(width), choice.num_heads, choice.num_kv_heads or choice.num_heads
        self.scale = 1.0 / math.sqrt(size) if choice.scale is None else choice.scale
        axes = {"D": width, "N": heads, "H": size}
        source = {**axes, "D": source_width or width, "K": kv_heads}

        def linear(name: Projection, equation: str, axes: dict[str, int], drawn) -> Linear:
            return Linear(equation, axes, bias=choice.has_bias(name), initializer=drawn, rngs=rngs)

        read = draw("input", source["D"], kv_heads * size)
        self.query = linear("query", "BTD,DNH->BTNH", axes, draw("query", width, heads * size))
        self.key = linear("key", "BSD,DKH->BSKH", source, read)
        self.value = linear("value", "BSD,DKH->BSKH", source, read)
        self.out = linear("out", "BTNH,NHD->BTD", axes, draw("output", heads * size, width))
        if pair is not None:
            self.query.kernel[...], self.key.kernel[...] = pair(
                self.query.kernel[...], self.key.kernel[...], scale=self.scale
            )
        self.query_norm = Norm(size, norm) if choice.norm_query_key else None
        self.key_norm = Norm(size, norm) if choice.norm_query_key else None
        self.sinks = nnx.Param(jnp.zeros(heads, jnp.float32)) if choice.sinks else None

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "#B #N #T S"] | None = None,
        *,
        source: Float[Array, "B S C"] | None = None,
        turned: Turned | None = None,
        bias: Float[Array, "#B #N T S"] | None = None,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B T D"]:
        """Read from `source`, or from `x` itself where it is None, what `mask` allows (True may attend).

        `turned` holds the cosines and sines of rotary positions; `bias` is added to the scores.
        """
        query = self._query(x, turned, dropout_keys)
        key, value = self._keys_and_values(x if source is None else source, turned, dropout_keys)
        key, value, mask, bias = self._with_added(key, value, mask, bias)
        dropping = {"dropout_rate": self.dropout_rate, "dropout_keys": dropout_keys}
        mixed = attention(query, key, value, mask, scale=self.scale, **self._shaping(bias), **dropping)
        remixed = self._look(query, key, value, mask, bias)
        return self._out(mixed if remixed is None else remixed, dropout_keys)

    def extend(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "#B #N #T S"],
        cache: KeyValues,
        at: Int[Array, ""],
        *,
        turned: Turned | None = None,
        bias: Float[Array, "#B #N T S"] | None = None,
    ) -> tuple[Float[Array, "B T D"], KeyValues]:
        """Self attention of more tokens: their keys and values go into the cache at slot `at`, and all of it is read."""
        cache = cache.write(*self._keys_and_values(x, turned), at)
        return self._recall(self._query(x, turned), cache, mask, bias), cache

    def recall(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "#B #N #T S"] | None, memory: KeyValues
    ) -> Float[Array, "B T D"]:
        """Cross attention to a source whose keys and values `read` has kept."""
        return self._recall(self._query(x, None), memory, mask, None)

    def read(self, source: Float[Array, "B S C"]) -> KeyValues:
        """Keys and values of a source, for as many calls as follow."""
        key, value = self._keys_and_values(source, None)
        return KeyValues(key.transpose(0, 2, 1, 3), value.transpose(0, 2, 1, 3))

    def _query(
        self, x: Float[Array, "B T D"], turned: Turned | None, dropout_keys: UInt32[Array, " B"] | None = None
    ) -> Float[Array, "B T N H"]:
        query = self.query(x, dropout_keys)
        if self.query_norm is not None:
            query = self.query_norm(query)
        return tap(self, "queries", query if turned is None else rotate(query, turned))

    def _keys_and_values(
        self, source: Float[Array, "B S C"], turned: Turned | None, dropout_keys: UInt32[Array, " B"] | None = None
    ) -> tuple[Float[Array, "B S K H"], Float[Array, "B S K H"]]:
        key = self.key(source, dropout_keys)
        if self.key_norm is not None:
            key = self.key_norm(key)
        if turned is not None:
            key = rotate(key, turned)
        return tap(self, "keys", key), tap(self, "values", self.value(source, dropout_keys))

    def _recall(self, query: Float[Array, "B T N H"], memory: KeyValues, mask, bias) -> Float[Array, "B T D"]:
        key, value = (part.astype(query.dtype) for part in memory)
        key, value, mask, bias = self._with_added(key, value, mask, bias, heads_first=True)
        return self._out(heads_first_attention(query, key, value, mask, self.scale, **self._shaping(bias)))

    def _with_added(self, key, value, mask, bias, heads_first: bool = False):
        if self.tuned is None:
            return key, value, mask, bias
        return getattr(self, self.tuned)(key, value, mask, bias, heads_first)

    def _look(self, query, key, value, mask, bias) -> Float[Array, "B T N H"] | None:
        """The sites `scores` and `weights`, made again from queries and keys beside the kernel that ran, only where a capture
        asks; where it changes them, the values mixed by what came of it."""
        sinks = None if self.sinks is None else self.sinks[...]

        def make_scores() -> Float[Array, "B N T S"]:
            return attention_scores(query, key, self.scale, bias=bias, soft_cap=self.soft_cap)

        scores = tap_made(self, "scores", make_scores)

        def make_weights() -> Float[Array, "B N T S"]:
            return masked_softmax(make_scores() if scores is None else scores, mask, sinks)

        weights = tap_made(self, "weights", make_weights, again=scores is not None)
        return None if weights is None else mix_values(weights, value)

    def _shaping(self, bias) -> dict[str, Any]:
        return {"bias": bias, "soft_cap": self.soft_cap, "sinks": None if self.sinks is None else self.sinks[...]}

    def _out(
        self, mixed: Float[Array, "B T N H"], dropout_keys: UInt32[Array, " B"] | None = None
    ) -> Float[Array, "B T D"]:
        return tap(self, "output", self.out(tap(self, "mixed", mixed), dropout_keys))


def _divisors(number: int) -> str:
    found = [str(n) for n in range(1, number + 1) if number % n == 0]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}"
