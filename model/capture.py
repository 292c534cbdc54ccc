"""Named activations: a tap in the model, and a call that collects what the taps see.

A site is the path of a module and a word: `layers.3.attention.query`. Outside of `captured` a tap returns its input while the
function is traced, so a compiled program holds nothing of it. One wrapper around `nnx.capture`, whose protocol is private to
flax and may move.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from flax import nnx
from jaxtyping import Array

M = TypeVar("M", bound=nnx.Module)
STACKED = "layers"  # what is recorded below this word leads with an axis of layers


def tap(module: nnx.Module, name: str, value: Array) -> Array:
    """Let a capture see `value` as the site `name` of `module`; returns it unchanged."""
    if hasattr(module, "__captures__"):
        # The last value wins: a block that several layers share is called once for each, under a leading axis.
        module.sow(nnx.Intermediate, name, value, reduce_fn=lambda _, last: last, init_fn=lambda: value)
    return value


def captured(model: M, call: Callable[[M], Any]) -> tuple[Any, dict[str, Array]]:
    """Run `call(model)` and collect every site that it passes: (result, {site: value}).

    Sites of stacked layers come apart, `layers.0.mlp.inner`, `layers.1.mlp.inner`, ... May be jitted with the model's parameters
    as arguments. The model itself is left as it was, also when the call raises.
    """
    copy = nnx.merge(*nnx.split(model))  # what a failed capture leaves behind stays on the copy
    result, state = nnx.capture(call, nnx.Intermediate)(copy)
    sites: dict[str, Array] = {}
    for path, leaf in nnx.to_flat_state(state):
        words, value = [str(word) for word in path], leaf.get_value()
        if STACKED in words and not words[words.index(STACKED) + 1].isdecimal():
            at = words.index(STACKED) + 1
            for number in range(jax.tree.leaves(value)[0].shape[0]):
                sites[".".join([*words[:at], str(number), *words[at:]])] = jax.tree.map(lambda x, n=number: x[n], value)
        else:
            sites[".".join(words)] = value
    return result, sites
