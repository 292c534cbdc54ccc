"""The frozen base in fewer bits, and maps in full again."""

import string
from typing import Any, Literal

import jax
from flax import nnx
from jaxtyping import Array, Float

from model.capture import LAYERS
from model.linear import Linear
from model.peft.nf4 import NF4Linear
from model.peft.sites import at, candidates, stack_at
from model.quantized import QuantizedLinear

Base = Literal["float32", "int8", "nf4"]
COMPACT = (QuantizedLinear, NF4Linear)


def quantize_base(model: nnx.Module, base: Base) -> None:
    """Bring the kernels of all linear maps inside layers to fewer bits, in place; heads and embeddings stay as they are.

    "int8" has a scale for each output, "nf4" one for 64 weights. Biases and norms stay in floating point. Reference: Dettmers
    et al., arXiv:2305.14314, section 3.
    """
    if base == "float32":
        return
    compact = QuantizedLinear if base == "int8" else NF4Linear
    for path, module, _ in candidates(model, Linear):
        if LAYERS in path and not isinstance(module, COMPACT):
            make: Any = nnx.vmap(compact) if stack_at(model, path) is not None else compact
            setattr(at(model, path[:-1]), str(path[-1]), make(module))


def dequantize(model: nnx.Module) -> None:
    """Bring all quantised kernels of a model on which nothing hangs to float32, in place: the inverse but for the rounding."""
    for path, module, _ in candidates(model, COMPACT):
        if module.tuned is not None:
            continue
        stacked = stack_at(model, path) is not None
        graph, state = nnx.split(module)
        kernel_of: Any = lambda state, graph=graph: nnx.merge(graph, state).full_kernel()  # noqa: E731
        kernel = (jax.vmap(kernel_of) if stacked else kernel_of)(state)
        bias = None if module.bias is None else module.bias[...]
        full = full_linear(kernel, bias, module.contracted, stacked)
        setattr(at(model, path[:-1]), str(path[-1]), full)


def full_linear(kernel: Float[Array, "..."], bias: Array | None, contracted: int, stacked: bool) -> Linear:
    """A plain Linear of these weights, which lead with an axis of layers where they are stacked."""
    shape = kernel.shape[1:] if stacked else kernel.shape
    letters = string.ascii_lowercase[: len(shape)]
    equation = f"B{letters[:contracted]},{letters}->B{letters[contracted:]}"
    zeros = jax.nn.initializers.zeros
    linear = nnx.eval_shape(
        lambda: Linear(equation, dict(zip(letters, shape, strict=True)), initializer=zeros, rngs=nnx.Rngs(0))
    )
    linear.kernel, linear.bias = nnx.Param(kernel), None if bias is None else nnx.Param(bias)
    return linear
