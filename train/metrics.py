"""Metrics as (sum, count) pairs: exact across batches, devices and padding, and divided only to be read."""

from collections.abc import Iterable

import jax

from train.objectives import Means, Measured


def add_up(measured: Iterable[Measured]) -> dict[str, tuple[float, float]]:
    """Sums and counts over batches, in float64 on the host."""
    totals: dict[str, tuple[float, float]] = {}
    for seen in measured:
        for name, (total, count) in jax.device_get({**seen.terms, **seen.metrics}).items():
            before = totals.get(name, (0.0, 0.0))
            totals[name] = (before[0] + float(total), before[1] + float(count))
    return totals


def divide(totals: dict[str, tuple[float, float]]) -> Means:
    """The mean of each metric; those that counted nothing are left out.

    >>> divide({"masked": (6.0, 3.0), "next_sentence": (0.0, 0.0)})
    {'masked': 2.0}
    """
    return {name: total / count for name, (total, count) in totals.items() if count}
