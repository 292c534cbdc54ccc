"""Parameters that multiply: a linear map spelled by its axis letters, and a table of embeddings."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, UInt32

from model.initializers import Initializer


def project(
    x: Float[Array, "..."], kernel: Float[Array, "..."], bias: Float[Array, "..."] | None = None, contracted: int = 1
) -> Float[Array, "..."]:
    """Multiply the last `contracted` axes of `x` with the first ones of `kernel`, and add `bias` over the others.

    The axes are folded into one matrix product each way. With the batch axes left apart, XLA on a CPU transposes the
    activations in memory for every weight gradient, which costs a tenth of a training step.

    >>> project(jnp.ones((1, 2, 3)), jnp.ones((3, 4, 5))).shape
    (1, 2, 4, 5)
    """
    inputs, outputs = kernel.shape[:contracted], kernel.shape[contracted:]
    leading = x.shape[: x.ndim - contracted]
    y = x.reshape(-1, math.prod(inputs)) @ kernel.reshape(math.prod(inputs), -1)
    if bias is not None:
        y = y + bias.reshape(1, -1)
    return y.reshape(*leading, *outputs)


class Linear(nnx.Module):
    """y = einsum(equation, x, kernel) + bias, with the axes of both spelled out, as in "BTD,DNH->BTNH".

    `axes` gives the size of each letter of the kernel. The axes that are summed over come last in `x` and first in the
    kernel; the bias spans those that the kernel brings to the output. What model/peft adds to a map hangs on it, under the
    name that `tuned` says, and is then asked instead of it; `dropout_keys` are for that alone.
    """

    tuned: str | None = None

    def __init__(
        self, equation: str, axes: dict[str, int], *, bias: bool = True, initializer: Initializer, rngs: nnx.Rngs
    ):
        inputs, output = equation.split("->")
        source, letters = inputs.split(",")
        summed, new = (letters[: (n := sum(letter not in output for letter in letters))], letters[n:])
        if not source.endswith(summed) or not output.endswith(new) or set(summed) & set(new):
            raise ValueError(f"{equation}: summed axes must come last in x and first in the kernel, new ones last in y")
        self.contracted = len(summed)
        self.kernel = nnx.Param(initializer(rngs.params(), tuple(axes[letter] for letter in letters), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(tuple(axes[letter] for letter in new), jnp.float32)) if bias else None

    def __call__(self, x: Float[Array, "..."], dropout_keys: UInt32[Array, " B"] | None = None) -> Float[Array, "..."]:
        return self.plain(x) if self.tuned is None else getattr(self, self.tuned)(self, x, dropout_keys)

    def plain(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The map itself, whatever is added to it."""
        return project(x, self.kernel[...], None if self.bias is None else self.bias[...], self.contracted)

    def full_kernel(self) -> Float[Array, "..."]:
        """The kernel in floating point."""
        return self.kernel[...]


class Embedding(nnx.Module):
    """One vector a row: looked up by id on the way in, and for tied outputs multiplied on the way out."""

    def __init__(self, rows: int, width: int, *, initializer: Initializer, rngs: nnx.Rngs):
        self.embedding = nnx.Param(initializer(rngs.params(), (rows, width), jnp.float32))

    @property
    def dtype(self) -> Any:
        """The type of the vectors that it gives."""
        return self.embedding.dtype

    def __call__(self, ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        return jnp.take(self.embedding[...], ids, axis=0)

    def attend(self, x: Float[Array, "B K D"], bias: Float[Array, " V"] | None = None) -> Float[Array, "B K V"]:
        """Scores of every row for each vector of `x`, plus `bias`, in float32."""
        rows = x.reshape(-1, x.shape[-1])
        scores = jax.lax.dot_general(
            rows, self.embedding[...], (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
        )
        if bias is None:
            return scores.reshape(*x.shape[:-1], -1)
        # The bias is added as a product with ones, so that its gradient, a sum down the columns of an array as large as
        # the logits, is a product as well: XLA's column sum took a tenth of the time of the whole head.
        ones = jnp.ones((rows.shape[0], 1), jnp.float32)
        scores = scores + jnp.matmul(ones, bias.astype(jnp.float32)[None, :], precision=jax.lax.Precision.HIGHEST)
        return scores.reshape(*x.shape[:-1], -1)
