"""LoRA and its kin: a frozen kernel plus a trained product of two thin matrices."""

import dataclasses
import math
import zlib
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt32

from kernels.dropout import dropout, fold
from model.capture import tap
from model.linear import Linear, project
from model.peft.frozen import Base, quantize_base
from model.peft.ia3 import spread
from model.peft.sites import find, hang


@dataclasses.dataclass(frozen=True)
class LoRA:
    """y = W x + s B A x, with A and B trained and B zero at the start (Hu et al., arXiv:2106.09685)."""

    rank: int = 8
    """Rows R of A, columns of B."""
    alpha: float = 16.0
    """s is alpha / R."""
    dropout: float = 0.0
    """Dropout on what A reads, inside layers."""
    sites: str = "*.attention.query,*.attention.value"
    """Linear maps by pattern, separated by commas; with the number of the layer, as layers.[0-5].mlp.up."""
    rank_stabilised: bool = False
    """rsLoRA: s is alpha / sqrt(R), so that a higher rank learns as fast (Kalajdzievski, arXiv:2312.03732)."""
    decomposed: bool = False
    """DoRA: direction and length of the weights of each output are trained apart (Liu et al., arXiv:2402.09353)."""
    rate_ratio: float = 1.0
    """LoRA+: the learning rate of B over that of A; 16 in the paper (Hayou et al., arXiv:2402.12354)."""
    initial: Literal["uniform", "gaussian"] = "uniform"
    """How A is drawn: uniform in +-1 / sqrt(inputs), as the authors' code does, or normal with deviation 1 / R."""
    base: Base = "float32"
    """How the frozen kernels of layers are kept; "nf4" makes QLoRA (Dettmers et al., arXiv:2305.14314)."""

    def __post_init__(self):
        check_rank(self)
        if not self.rate_ratio > 0:
            raise ValueError(f"rate_ratio={self.rate_ratio} must be positive; 1 trains A and B alike")

    @property
    def scaling(self) -> float:
        """s, what the product is multiplied by.

        >>> LoRA(rank=4, alpha=8.0).scaling, LoRA(rank=4, alpha=8.0, rank_stabilised=True).scaling
        (2.0, 4.0)
        """
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def tune(self, model: nnx.Module, rngs: nnx.Rngs) -> None:
        """Hang it on the linear maps of a model, in place."""
        quantize_base(model, self.base)
        for found in find(model, self.sites, Linear):
            hang(found, lambda linear, key, on, name: LowRank(linear, self, key, on, name), rngs)


def check_rank(choice: Any) -> None:
    """ValueError for what no product of low rank can use."""
    if choice.rank < 1:
        raise ValueError(f"rank={choice.rank} must be at least 1")
    if not choice.alpha > 0:
        raise ValueError(f"alpha={choice.alpha} must be positive")
    if not 0 <= choice.dropout < 1:
        raise ValueError(f"dropout={choice.dropout} must lie in [0, 1)")


def low_rank(
    x: Float[Array, "..."], a: Float[Array, "..."], b: Float[Array, "..."], scale: Float[Array, ""], contracted: int = 1
) -> Float[Array, "..."]:
    """y = s B (A x), in the type of `x`.

    The inputs of the map are the last `contracted` axes of `x` and the first ones of `a` [inputs, R]; `b` [R, outputs] brings
    its outputs. Reference: Hu et al., arXiv:2106.09685, equation 3.

    >>> low_rank(jnp.ones((1, 2)), jnp.ones((2, 1)), jnp.ones((1, 3)), jnp.array(0.5))
    Array([[1., 1., 1.]], dtype=float32)
    """
    inner = project(x, a.astype(x.dtype), None, contracted) * scale.astype(x.dtype)
    return project(inner, b.astype(x.dtype))


def low_rank_kernel(a: Float[Array, "..."], b: Float[Array, "..."], scale: Float[Array, ""]) -> Float[Array, "..."]:
    """The same as a kernel [inputs, outputs] of float32: s A B.

    >>> low_rank_kernel(jnp.ones((2, 1)), jnp.ones((1, 1)), jnp.array(0.5)).tolist()
    [[0.5], [0.5]]
    """
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    product = (a.reshape(-1, a.shape[-1]) * scale.astype(jnp.float32)) @ b.reshape(b.shape[0], -1)
    return product.reshape(*a.shape[:-1], *b.shape[1:])


def lengths(kernel: Float[Array, "..."], contracted: int = 1) -> Float[Array, "..."]:
    """The length in float32 of the weights of each output, over its inputs.

    >>> lengths(jnp.array([[3.0, 0.0], [4.0, 2.0]])).tolist()
    [5.0, 2.0]
    """
    return jnp.sqrt(jnp.square(kernel.astype(jnp.float32)).sum(tuple(range(contracted))))


class LowRank(nnx.Module):
    """A and B, and for DoRA the lengths m of the weights of each output.

        LoRA:  y = W x + s B A x                 DoRA:  y = m / |W + s B A| * (W x + s B A x)

    The norm in DoRA is taken over the inputs of each output and counts as a constant in the backward pass, as in section 4.3
    of its paper. Dropout is on what A reads only.
    """

    word = "lora"

    def __init__(self, linear: Linear, choice: LoRA, key: Array, on: Float[Array, ""], name: str):
        kernel, contracted = linear.full_kernel(), linear.contracted
        own = nnx.Param(lengths(kernel, contracted)) if choice.decomposed else None
        self.start(choice.dropout, name, on * choice.scaling, own)
        self.a = nnx.Param(first(choice.initial, key, kernel.shape[:contracted], choice.rank))
        self.b = nnx.Param(jnp.zeros((choice.rank, *kernel.shape[contracted:]), jnp.float32))

    def start(self, dropout_rate: float, name: str, scale: Float[Array, ""], magnitude: Any = None) -> None:
        """What every form has: dropout with a word of its own in the random stream of a layer, s, and m or None."""
        self.dropout_rate, self.site = dropout_rate, zlib.crc32(name.encode())
        self.scale, self.magnitude = nnx.Param(scale), magnitude

    def __call__(
        self, linear: Linear, x: Float[Array, "..."], dropout_keys: UInt32[Array, " B"] | None
    ) -> Float[Array, "..."]:
        keys = None if dropout_keys is None else fold(dropout_keys, self.site)
        y, read = linear.plain(x), dropout(x, self.dropout_rate, keys)
        delta = tap(linear, self.word, low_rank(read, *self.factors(), linear.contracted))
        if self.magnitude is None:
            return y + delta
        # Written so that a gain of one, as at the start, changes nothing to the last bit.
        gain = self.gain(linear).astype(y.dtype) - 1.0
        turned = y + delta if linear.bias is None else y - spread(linear.bias[...], y) + delta
        return y + delta + spread(gain, y) * turned

    def factors(self) -> tuple[Array, Array, Array]:
        """A, B and s."""
        return self.a[...], self.b[...], self.scale[...]

    def gain(self, linear: Linear) -> Float[Array, "..."]:
        """m / |W + s B A|; one where this does not act, or where the weights are all zero."""
        assert self.magnitude is not None
        kernel = linear.full_kernel().astype(jnp.float32) + low_rank_kernel(*self.factors())
        norms = jax.lax.stop_gradient(lengths(kernel, linear.contracted))
        acts = (norms > 0) & (self.scale[...] > 0)
        return jnp.where(acts, self.magnitude[...].astype(jnp.float32) / jnp.where(norms > 0, norms, 1.0), 1.0)

    def merged(self, linear: Linear) -> dict[str, Any]:
        """The parameters of the map that does the same."""
        kernel = linear.full_kernel()
        kernel = kernel + low_rank_kernel(*self.factors()).astype(kernel.dtype)
        if self.magnitude is None:
            return {"kernel": kernel}
        gain = self.gain(linear)
        return {"kernel": kernel * gain.reshape((1,) * linear.contracted + gain.shape).astype(kernel.dtype)}


def first(initial: str, key: Array, inputs: tuple[int, ...], rank: int) -> Float[Array, "..."]:
    """A at the start, float32 [inputs, R]."""
    if initial == "gaussian":
        return jax.random.normal(key, (*inputs, rank), jnp.float32) / rank
    limit = 1.0 / math.sqrt(math.prod(inputs))
    return jax.random.uniform(key, (*inputs, rank), jnp.float32, -limit, limit)


def rate_of(path: str, choice: Any) -> float:
    """What the learning rate of the parameter at a dotted path is multiplied by: LoRA+'s ratio for B, one for all else.

    >>> rate_of("layers.attention.query.lora.b", LoRA(rate_ratio=16.0))
    16.0
    """
    return choice.rate_ratio if isinstance(choice, LoRA) and path.endswith(f".{LowRank.word}.b") else 1.0
