"""Adapters: a small feed-forward of its own behind a sublayer, or beside it."""

import dataclasses
from typing import Literal

import jax
from flax import nnx
from jaxtyping import Array, Float, UInt32

from model.linear import Linear
from model.mlp import MLP, Activation, activate
from model.peft.sites import PeftError, find, hang

Form = Literal["sequential", "parallel"]
SITES = {"sequential": "*.attention.out,*.mlp.down", "parallel": "*.mlp"}


@dataclasses.dataclass(frozen=True)
class BottleneckAdapter:
    """What a sublayer f gives, and s W2 g(W1 . + b1) + b2 of it or of its input, g an activation and W2 zero at the start.

        sequential:  y = f(x) + s up(g(down(f(x))))       after attention and after the feed-forward (Houlsby et al., 1902.00751)
        parallel:    y = f(x) + s up(g(down(x)))          beside the feed-forward (He et al., arXiv:2110.04366)

    Departs from Houlsby et al. in two ways: W2 begins at zero, theirs near it, so that nothing changes at first; and the
    dropout of the sublayer comes after the adapter. Norms are not trained.
    """

    size: int = 64
    """Width R between down and up."""
    form: Form = "sequential"
    """"sequential" reads what the sublayer gives, "parallel" what it reads."""
    activation: Activation = "gelu"
    """g; He et al. have "relu"."""
    strength: float = 1.0
    """s; He et al. have 4 for the parallel form."""
    sites: str | None = None
    """Patterns, separated by commas; None: *.attention.out and *.mlp.down for sequential ones, *.mlp for parallel ones."""

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size={self.size} must be at least 1")
        if not self.strength > 0:
            raise ValueError(f"strength={self.strength} must be positive")

    def tune(self, model: nnx.Module, rngs: nnx.Rngs) -> None:
        """Hang it on the sublayers of a model, in place."""
        sites, parallel = SITES[self.form] if self.sites is None else self.sites, self.form == "parallel"
        for found in find(model, sites, MLP if parallel else Linear):
            writes = found.module.down if parallel else found.module
            outputs = writes.full_kernel().shape[(0 if found.on is None else 1) + writes.contracted :]
            if len(outputs) != 1:
                raise PeftError(f"{found.name} does not write the residual stream; use {SITES['sequential']}")
            hang(found, lambda _, key, on, name, width=outputs[0]: Bottleneck(width, self, key, on), rngs)


class Bottleneck(nnx.Module):
    """Down, activation and up, added to what a module gives."""

    word = "adapter"

    def __init__(self, width: int, choice: BottleneckAdapter, key: Array, on: Float[Array, ""]):
        self.form: Form = choice.form
        self.activation: Activation = choice.activation
        axes, rngs = {"D": width, "R": choice.size}, nnx.Rngs(key)
        small, zeros = jax.nn.initializers.truncated_normal(0.01), jax.nn.initializers.zeros
        self.down = Linear("BTD,DR->BTR", axes, initializer=small, rngs=rngs)
        self.up = Linear("BTR,RD->BTD", axes, initializer=zeros, rngs=rngs)
        self.scale = nnx.Param(on * choice.strength)

    def __call__(
        self, module: Linear | MLP, x: Float[Array, "B T ..."], dropout_keys: UInt32[Array, " B"] | None
    ) -> Float[Array, "B T D"]:
        y = module.plain(x, dropout_keys) if isinstance(module, MLP) else module.plain(x)
        read = x if self.form == "parallel" else y
        return y + self.up(activate(self.down(read), self.activation)) * self.scale[...].astype(y.dtype)
