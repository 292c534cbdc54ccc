"""Multi-head attention with fewer key and value heads where wanted; self attention, or cross attention to a source."""

import dataclasses

from flax import nnx
from jaxtyping import Array, Bool, Float, UInt32

from kernels.attention import attention
from model.linear import Initializer, Linear


@dataclasses.dataclass(frozen=True)
class MultiHead:
    """Heads of attention: each query head has its own key head (MHA), a group shares one (GQA), or all do (MQA)."""

    num_heads: int
    """Query heads N."""
    num_kv_heads: int | None = None
    """Key and value heads K; None is as many as query heads. Grouped: arXiv:2305.13245; one: arXiv:1911.02150."""
    head_size: int | None = None
    """Size H of a head; None is the model's width over num_heads."""
    bias: bool = True
    """Whether query, key, value and out have biases."""
    dropout_rate: float = 0.1
    """Dropout on the attention weights."""

    def __post_init__(self):
        if self.num_heads < 1:
            raise ValueError(f"num_heads={self.num_heads} must be at least 1")
        if self.num_kv_heads is not None and (self.num_kv_heads < 1 or self.num_heads % self.num_kv_heads):
            raise ValueError(
                f"num_heads={self.num_heads} is not a multiple of num_kv_heads={self.num_kv_heads}; "
                f"use {_divisors(self.num_heads)}"
            )
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate={self.dropout_rate} must lie in [0, 1)")

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
    """Self attention, or cross attention when `source` is given."""

    def __init__(
        self,
        width: int,
        choice: MultiHead,
        *,
        source_width: int | None = None,
        initializer: Initializer,
        rngs: nnx.Rngs,
    ):
        self.dropout_rate = choice.dropout_rate
        axes = {"D": width, "N": choice.num_heads, "H": choice.head_size_in(width)}
        source = {**axes, "D": source_width or width, "K": choice.num_kv_heads or choice.num_heads}
        shared = {"bias": choice.bias, "initializer": initializer, "rngs": rngs}
        self.query = Linear("BTD,DNH->BTNH", axes, **shared)
        self.key = Linear("BSD,DKH->BSKH", source, **shared)
        self.value = Linear("BSD,DKH->BSKH", source, **shared)
        self.out = Linear("BTNH,NHD->BTD", axes, **shared)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "#B #N #T S"] | None = None,
        *,
        source: Float[Array, "B S C"] | None = None,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B T D"]:
        """Read from `source`, or from `x` itself where it is None, what `mask` allows (True may attend)."""
        source = x if source is None else source
        query, key, value = self.query(x), self.key(source), self.value(source)
        mixed = attention(query, key, value, mask, dropout_rate=self.dropout_rate, dropout_keys=dropout_keys)
        return self.out(mixed)


def _divisors(number: int) -> str:
    found = [str(n) for n in range(1, number + 1) if number % n == 0]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}"
