"""Many blocks of one shape: parameters stacked on a leading layer axis, run by a loop or written out, to the same values."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

M = TypeVar("M", bound=nnx.Module)

RematPolicy = Literal["nothing_saveable", "dots_saveable", "dots_with_no_batch_dims_saveable"]


@dataclasses.dataclass(frozen=True)
class Stack:
    """How a stack of blocks is run. The parameters, their layout and the values are the same for every setting."""

    loop: Literal["scan", "unroll"] = "scan"
    """"scan" compiles one block and loops over it; "unroll" writes all of them out: slower to compile, faster on a CPU."""
    remat: RematPolicy | None = None
    """What the backward pass may keep of a block, by the name of JAX's policy; None keeps all, "nothing_saveable"
    recomputes the block from its input."""

    def __post_init__(self):
        if self.loop not in ("scan", "unroll"):
            raise ValueError(f"loop={self.loop!r} is unknown; use 'scan' or 'unroll'")
        if self.remat is not None and self.remat not in RematPolicy.__args__:
            raise ValueError(f"remat={self.remat!r} is unknown; use None, {', '.join(map(repr, RematPolicy.__args__))}")


def stack_layers(make: Callable[[nnx.Rngs], M], num_layers: int, rngs: nnx.Rngs) -> M:
    """Make `num_layers` modules of one shape, each from a random stream of its own, as one with a leading layer axis."""

    @nnx.split_rngs(splits=num_layers)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make_each(rngs: nnx.Rngs) -> M:
        return make(rngs)

    return make_each(rngs)


def run_layers(
    layers: M | Sequence[M],
    x: Float[Array, "B T D"],
    call: Callable[[M, Any, Array, Any], tuple[Any, Any]],
    num_layers: int,
    choice: Stack = Stack(),
    *,
    shared: bool = False,
    kept: Any = None,
) -> tuple[Float[Array, "B T D"], Any]:
    """Carry `x` through the stacked layers in order: `x, kept[i] = call(layer, x, index, kept[i])`.

    `index` is the layer's number, traced, so that what depends on the layer (its dropout keys) costs no second compilation.
    `kept` is what each layer keeps between calls, a cache, with a leading axis of layers; None where nothing is kept. With
    `shared` all layers are the one layer that `layers` holds. Blocks may not change their structure; in exchange a model may
    be closed over by `jax.grad` and others. A plain sequence of layers, as `apart` makes of a stack, is run one by one, `kept`
    being a tuple.
    """
    if isinstance(layers, (list, tuple, nnx.List)):
        after = []
        for number in range(num_layers):
            one = None if kept is None else kept[number]
            x, one = call(layers[number % len(layers)], x, jnp.uint32(number), one)
            after.append(one)
        return x, None if kept is None else tuple(after)
    if choice.remat is not None:
        # Inside a loop the compiler cannot merge the recomputation with the first pass; barriers would only block fusion.
        policy = getattr(jax.checkpoint_policies, choice.remat)
        call = nnx.remat(call, prevent_cse=choice.loop == "unroll", policy=policy, graph_updates=False)

    @nnx.scan(
        in_axes=(None if shared else 0, nnx.Carry, 0, 0),
        out_axes=(nnx.Carry, 0),
        unroll=choice.loop == "unroll",
        graph_updates=False,
    )
    def run(layer: M, x: Array, index: Array, kept: Any) -> tuple[Array, Any]:
        return call(layer, x, index, kept)

    stacked: Any = jax.tree.map(lambda leaf: leaf[0], layers) if shared else layers
    return run(stacked, x, jnp.arange(num_layers, dtype=jnp.uint32), kept)


def apart(layers: nnx.Module, num_layers: int) -> Any:
    """The layers of a stack as an `nnx.List` of modules, each with its own arrays: what decoding on a CPU wants, where a slice
    of stacked weights would be copied for every token, and what capturing wants, where each layer has a name. A stack of one
    row, shared by all layers, comes apart as that row `num_layers` times."""
    graph, state = nnx.split(layers)
    rows = jax.tree.leaves(state)[0].shape[0]
    return nnx.List(
        [nnx.merge(graph, jax.tree.map(lambda leaf, n=n % rows: leaf[n], state)) for n in range(num_layers)]
    )
