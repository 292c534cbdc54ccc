"""What objectives share: scoring tokens without holding all logits at once, and reading the sums."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from data.batch import Batch
from data.errors import DataError
from kernels.cross_entropy import cross_entropy, cross_entropy_and_log_sum, is_highest, regularised
from train.objectives.interface import HeldOut, Means, Measured, Objective, Pair
from train.sharding import batch_ways

MOST_LOGITS = 2**26  # float32 numbers, 256 MiB, that one device holds at once


def gather(hidden: Float[Array, "B T D"], places: Array) -> Float[Array, "B K D"]:
    """The vectors at `places` int32 [B, K]: `hidden[b, places[b, k]]`."""
    return jnp.take_along_axis(hidden, places[:, :, None], axis=1, mode="clip")


def score(logits: Float[Array, "B K C"], labels: dict[str, Array], name: str) -> tuple[Pair, Pair]:
    """(sum, count) of the negative log-likelihood in nats, and of correct guesses, over the weighted places of a term."""
    targets, weights = labels[f"{name}_targets"], labels[f"{name}_weights"]
    loss = cross_entropy(logits, targets)
    correct = is_highest(logits, targets).astype(jnp.float32)
    count = weights.sum()
    return ((loss * weights).sum(), count), ((correct * weights).sum(), count)


def score_tokens(
    model: Any,
    hidden: Float[Array, "B K D"],
    labels: dict[str, Array],
    name: str,
    *,
    accuracy: str = "accuracy",
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
    most_logits: int = MOST_LOGITS,
) -> Measured:
    """Term `name` over the tokens that `model.predict_tokens` predicts from `hidden`, with `labels` [B, K].

    The term is what is minimised, z-loss and label smoothing included. With either, metric `NAME_nll` is the plain negative
    log-likelihood, and with the first, metric `z_loss` what it adds. Where B K V logits are more than one device should
    hold, places are scored a part at a time, and again in the backward pass: V is then never multiplied by all of K.
    """

    def part(hidden: Array, targets: Array, weights: Array) -> dict[str, Array]:
        logits = model.predict_tokens(hidden)
        loss, log_sum = cross_entropy_and_log_sum(logits, targets)
        sums = {
            name: regularised(loss, log_sum, logits, z_loss=z_loss, label_smoothing=label_smoothing),
            accuracy: is_highest(logits, targets).astype(jnp.float32),
        }
        if z_loss or label_smoothing:
            sums[f"{name}_nll"] = loss
        if z_loss:
            sums["z_loss"] = z_loss * log_sum**2
        return {key: (values * weights).sum() for key, values in sums.items()}

    arrays = hidden, labels[f"{name}_targets"], labels[f"{name}_weights"]
    rows, places = arrays[1].shape
    vocabulary = jax.eval_shape(lambda one: model.predict_tokens(one), hidden[:, :1]).shape[-1]
    parts = min(-(-rows * places * vocabulary // (most_logits * batch_ways())), places)
    if parts == 1:
        sums = part(*arrays)
    else:

        def add(total: dict[str, Array], piece: tuple[Array, Array, Array]):
            return jax.tree.map(jnp.add, total, jax.checkpoint(part)(*piece)), None

        pieces = jax.tree.map(lambda array: in_parts(array, parts), arrays)
        shapes = jax.eval_shape(part, *arrays)
        sums = jax.lax.scan(add, jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes), pieces)[0]
    count = arrays[2].sum()
    return Measured({name: (sums.pop(name), count)}, {key: (total, count) for key, total in sums.items()})


def in_parts(array: Array, parts: int) -> Array:
    """Cut the places of [B, K, ...] into parts, padded with zeros to be equal: [parts, B, ceil(K / parts), ...]."""
    rows, places, *rest = array.shape
    size = -(-places // parts)
    array = jnp.pad(array, [(0, 0), (0, parts * size - places)] + [(0, 0)] * len(rest))
    return jnp.moveaxis(array.reshape(rows, parts, size, *rest), 1, 0)


def likeliest(
    objective: Objective, count: int, model: Any, batch: Batch, places: Array
) -> tuple[Float[Array, "B K C"], Int[Array, "B K C"]]:
    """Probabilities and ids of the `count` likeliest tokens at each of `places` int32 [B, K]."""
    logits = model.predict_tokens(gather(objective.hidden(model, batch, None), places))
    return jax.lax.top_k(jax.nn.softmax(logits, axis=-1), count)


def plain_loss(means: Means, name: str) -> float:
    """The mean negative log-likelihood of a term, without what regularises it; DataError if nothing was asked for."""
    if name not in means:
        raise DataError(
            "the held-out rows hold nothing that the objective asks for; name a larger --data.source, or hold out more of "
            "it with --data.valid_fraction"
        )
    return means.get(f"{name}_nll", means[name])


def next_token_scores(means: Means, held_out: HeldOut | None) -> Means:
    """Scores of one mode that every objective with the term `next` has."""
    loss = plain_loss(means, "next")
    scores = {"valid_loss": loss, "perplexity": math.exp(min(loss, 700.0)), "accuracy": means["accuracy"]}
    if held_out is not None:
        scores["unigram_entropy"] = unigram_entropy(held_out.target_counts)
    return scores


def unigram_entropy(counts) -> float:
    """Entropy in nats of the distribution given by counts [V]: what the best constant guess scores on those very tokens.

    >>> round(unigram_entropy([1, 1, 2, 0]), 4)
    1.0397
    """
    total = float(sum(counts))
    return -sum(count / total * math.log(count / total) for count in map(float, counts) if count)


def check_options(z_loss: float, label_smoothing: float) -> None:
    """ValueError for weights that are no weights."""
    if not 0.0 <= z_loss < math.inf:
        raise ValueError(f"z_loss={z_loss} must be 0 or more, such as 1e-4")
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing={label_smoothing} must lie in [0, 1), such as 0.1")


def spread(places: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the places, evenly spread."""
    return places[np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int))]
