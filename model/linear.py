"""Parameters that multiply: a linear map spelled by its axis letters, and a table of embeddings."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

Initializer = Callable[..., Array]


def truncated_normal(standard_deviation: float) -> Initializer:
    """A normal cut at two standard deviations, as BERT's: the deviation of what remains is 0.88 of the one named."""
    return jax.nn.initializers.truncated_normal(standard_deviation)


class Linear(nnx.Module):
    """y = einsum(equation, x, kernel) + bias, with the axes of both spelled out, as in "BTD,DNH->BTNH".

    `axes` gives the size of each letter of the kernel. The bias spans the letters that the kernel brings to the output.
    """

    def __init__(
        self, equation: str, axes: dict[str, int], *, bias: bool = True, initializer: Initializer, rngs: nnx.Rngs
    ):
        self.equation = equation
        inputs, output = equation.split("->")
        _, letters = inputs.split(",")
        self.kernel = nnx.Param(initializer(rngs.params(), tuple(axes[letter] for letter in letters), jnp.float32))
        new = tuple(axes[letter] for letter in output if letter in letters)
        self.bias = nnx.Param(jnp.zeros(new, jnp.float32)) if bias else None

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        y = jnp.einsum(self.equation, x, self.kernel[...])
        if self.bias is None:
            return y
        bias = self.bias[...]
        return y + bias.reshape((1,) * (y.ndim - bias.ndim) + bias.shape)


class Embedding(nnx.Module):
    """One vector a row: looked up by id on the way in, and for tied outputs multiplied on the way out."""

    def __init__(self, rows: int, width: int, *, initializer: Initializer, rngs: nnx.Rngs):
        self.embedding = nnx.Param(initializer(rngs.params(), (rows, width), jnp.float32))

    def __call__(self, ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        return jnp.take(self.embedding[...], ids, axis=0)

    def attend(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Scores of every row for each vector of `x`, in float32."""
        return jnp.einsum("BTD,VD->BTV", x, self.embedding[...], preferred_element_type=jnp.float32)
