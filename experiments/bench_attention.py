"""Attention on this machine, forward and backward: ours whole, ours by chunks of a batch, and `jax.nn.dot_product_attention`.

16 examples, 12 heads of 32, float32, at several lengths: the shapes of MiniLM. Without dropout, which the library's function
does not have, all three are compared; with dropout of 0.1 on the weights, ours with ours. All take turns in one process, and
medians are compared; their gradients are compared too.
"""

import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.contest import seconds_of
from kernels.attention import attention
from train.memory import keep_freed_memory

ROWS, HEADS, SIZE = 16, 12, 32
LENGTHS = (128, 256, 384)
DROPOUT = 0.1
LIBRARY = "jax_nn"


def bench_attention(rounds: int = 5, steps: int = 5) -> dict[str, Any]:
    """By length: ratios of time, milliseconds, and the largest difference between any two gradients."""
    keep_freed_memory()  # as in training: pages that are given back and taken again cost as much as the products
    found: dict[str, Any] = {}
    for length in LENGTHS:
        for key, value in compare(length, rounds, steps).items():
            found[f"{key}_at_{length}"] = value
            print(f"{key}_at_{length:<12} {value}", flush=True)
    return found | {"rows": ROWS, "heads": HEADS, "head_size": SIZE, "rounds": rounds, "steps_a_turn": steps}


def compare(length: int, rounds: int, steps: int) -> dict[str, Any]:
    """The figures of one length."""
    draw = np.random.default_rng(length)
    arrays = [jnp.asarray(draw.standard_normal((ROWS, length, HEADS, SIZE)), jnp.float32) for _ in range(4)]
    keys = jnp.asarray(draw.integers(0, 2**32, ROWS, dtype=np.uint32))
    takers = {name: taker(function, *arrays) for name, function in contestants(keys).items()}
    first = {name: take() for name, take in takers.items()}  # compiled, and compared
    seconds: dict[str, list[float]] = {name: [] for name in takers}
    for _ in range(rounds):
        for name, take in takers.items():
            seconds[name] += [seconds_of(take) for _ in range(steps)]
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    found: dict[str, Any] = {
        "library_over_chunked": round(medians[LIBRARY] / medians["chunked"], 3),
        "whole_over_chunked": round(medians["whole"] / medians["chunked"], 3),
        "whole_over_chunked_with_dropout": round(medians["whole_dropout"] / medians["chunked_dropout"], 3),
    }
    pairs = [("whole", LIBRARY), ("chunked", LIBRARY), ("chunked_dropout", "whole_dropout")]
    found["largest_difference"] = max(apart(first[one], first[other]) for one, other in pairs)
    return found | {f"{name}_ms": round(1e3 * median, 2) for name, median in medians.items()}


def contestants(keys: Any) -> dict[str, Callable[..., Any]]:
    """Functions of query, key and value, by name."""
    dropped = {"dropout_rate": DROPOUT, "dropout_keys": keys}
    return {
        LIBRARY: lambda query, key, value: jax.nn.dot_product_attention(query, key, value),
        "whole": lambda query, key, value: attention(query, key, value, implementation="xla"),
        "chunked": lambda query, key, value: attention(query, key, value, implementation="chunked"),
        "whole_dropout": lambda query, key, value: attention(query, key, value, implementation="xla", **dropped),
        "chunked_dropout": lambda query, key, value: attention(query, key, value, implementation="chunked", **dropped),
    }


def taker(function: Callable[..., Any], query: Any, key: Any, value: Any, weight: Any) -> Callable[[], Any]:
    """A call that waits for the three gradients of a weighted sum of the result."""
    gradient = jax.jit(jax.grad(lambda *given: (function(*given) * weight).sum(), argnums=(0, 1, 2)))
    return lambda: jax.block_until_ready(gradient(query, key, value))


def apart(ones: Any, others: Any) -> float:
    """The largest difference of any two elements, to two digits."""
    largest = max(float(jnp.abs(one - other).max()) for one, other in zip(ones, others, strict=True))
    return float(f"{largest:.1e}")
