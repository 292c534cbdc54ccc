"""Prefix tuning: trained keys and values that every token of a layer sees beside those of the tokens."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from model.attention import Attention
from model.peft.sites import find, hang

Extended = tuple[Array, Array, Array | None, Array | None]


@dataclasses.dataclass(frozen=True)
class PrefixTuning:
    """P keys and values for each layer (Li and Liang, arXiv:2101.00190).

    Departs from the paper: the keys and values are trained themselves, not through a network that is thrown away afterwards;
    and positions of tokens do not move. Attention is shared out anew, so attaching changes outputs from the start.
    """

    length: int = 16
    """Keys and values P."""
    deviation: float = 0.02
    """Standard deviation at the start."""
    sites: str = "*.attention"
    """Attentions by pattern, separated by commas; *.cross_attention has prefixes of the source."""

    def __post_init__(self):
        if self.length < 1:
            raise ValueError(f"length={self.length} must be at least 1")

    def tune(self, model: nnx.Module, rngs: nnx.Rngs) -> None:
        """Hang it on the attentions of a model, in place."""
        for found in find(model, self.sites, Attention):
            hang(found, lambda module, key, on, name: Prefix(module, self, key, on), rngs)


class Prefix(nnx.Module):
    """The trained keys and values of one attention; they are put behind those of tokens, whose places stay as they are."""

    word = "prefix"

    def __init__(self, module: Attention, choice: PrefixTuning, key: Array, on: Float[Array, ""]):
        shape = (choice.length, *module.key.full_kernel().shape[1:])
        self.keys, self.values = (
            nnx.Param(choice.deviation * jax.random.normal(one, shape, jnp.float32)) for one in jax.random.split(key)
        )
        self.scale = nnx.Param(on)

    def __call__(
        self,
        key: Float[Array, "..."],
        value: Float[Array, "..."],
        mask: Bool[Array, "#B #N #T S"] | None,
        bias: Float[Array, "#B #N T S"] | None,
        heads_first: bool,
    ) -> Extended:
        """Keys and values [B S K H] (or [B K S H]) with the prefix behind them, the mask that lets everybody see it, and the
        bias, which is zero there."""
        axis = 2 if heads_first else 1
        tokens = key.shape[axis]

        def behind(tensor: Array, added: Array) -> Array:
            added = added.transpose(1, 0, 2) if heads_first else added
            added = jnp.broadcast_to(added[None].astype(tensor.dtype), (tensor.shape[0], *added.shape))
            return jnp.concatenate([tensor, added], axis)

        key, value = behind(key, self.keys[...]), behind(value, self.values[...])
        length = key.shape[axis] - tokens
        mask = jnp.ones((1, 1, 1, tokens), bool) if mask is None else mask
        seen = jnp.broadcast_to(self.scale[...] > 0, (*mask.shape[:-1], length))
        if bias is not None:
            bias = jnp.pad(bias, [(0, 0)] * 3 + [(0, length)])
        return key, value, jnp.concatenate([mask, seen], -1), bias
