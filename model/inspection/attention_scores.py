"""What the heads of a model do, as numbers: how sharply they look, how far, and for what.

Every score is the mean of a measure over the rows (queries) that count, one number a head. Weights have any leading axes:
`[T S]` of one head, `[N T S]`, `[L N T S]`, or a batch `[B N T S]` beside tokens `[B 1 T]`. A row without any weight is padding
and never counts. Where `allowed` is given (True may attend, as in the model) it says what a head could have looked at; None
is everything.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from model.inspection.head_table import HeadScores
from model.inspection.maps import AttentionMaps

Weights = Float[np.ndarray, "*heads T S"]
Allowed = Bool[np.ndarray, "*#heads T S"]
Scores = Float[np.ndarray, "*heads"]


def entropy(weights: Weights, allowed: Allowed | None = None, *, normalised: bool = False) -> Scores:
    """Mean entropy of the rows, in nats: 0 looks at one place, the logarithm of their number at all alike.

        H_t = -sum_s a_ts log a_ts,      normalised: H_t / log(how many places t may look at)

    Where a head has a sink of its own, rows sum to less than one; the entropy is that of what remains, brought to one. A
    row that may look at one place only has no normalised entropy and does not count there. Of a padded batch normalised
    entropy needs `allowed`, without which padding counts as places.
    Reference: Clark et al., arXiv:1906.04341.

    >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]]))
    array(0.34657359)
    """
    weights = _wide(weights)
    total = weights.sum(-1, keepdims=True)
    share = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    surprise = -share * np.log(share, out=np.zeros_like(share), where=share > 0)
    value, counts = surprise.sum(-1), total[..., 0] > 0
    if normalised:
        places = np.full(weights.shape[-2], weights.shape[-1]) if allowed is None else np.asarray(allowed).sum(-1)
        most = np.log(np.maximum(places, 1))
        value = np.divide(value, most, out=np.zeros_like(value), where=np.broadcast_to(most > 0, value.shape))
        counts = counts & (most > 0)
    return _mean(value, counts)


def attention_distance(weights: Weights) -> Scores:
    """Mean number of places between who looks and what is looked at.

        d_t = sum_s a_ts |t - s|

    Reference: Vig and Belinkov, arXiv:1906.04284.

    >>> attention_distance(np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.0, 0.5]]))
    array(0.66666667)
    """
    weights = _wide(weights)
    queries, keys = np.arange(weights.shape[-2]), np.arange(weights.shape[-1])
    apart = np.abs(queries[:, None] - keys[None, :])
    return _mean((weights * apart).sum(-1), weights.sum(-1) > 0)


def sink_mass(weights: Weights, sinks: Bool[np.ndarray, "*#heads S"]) -> Scores:
    """Mean weight on places that many heads look at when they look for nothing, the first token or special tokens.

        m_t = sum over s in sinks of a_ts  +  (1 - sum_s a_ts)

    What a head's own learned sink took, by which a row sums to less than one, counts too.
    Reference: Xiao et al., arXiv:2309.17453.

    >>> sink_mass(np.array([[1.0, 0.0], [0.25, 0.5]]), np.array([True, False]))
    array(0.75)
    """
    weights = _wide(weights)
    total = weights.sum(-1)
    on_sinks = np.where(np.asarray(sinks)[..., None, :], weights, 0.0).sum(-1)
    return _mean(on_sinks + np.maximum(1.0 - total, 0.0), total > 0)


def confidence(weights: Weights) -> Scores:
    """Mean of the largest weight of each row: 1 always looks at one place.

    Reference: Voita et al., arXiv:1905.09418.

    >>> confidence(np.array([[1.0, 0.0], [0.5, 0.5]]))
    array(0.75)
    """
    weights = _wide(weights)
    return _mean(weights.max(-1), weights.sum(-1) > 0)


def weight_on(weights: Weights, places: Allowed, allowed: Allowed | None = None) -> Scores:
    """Mean weight on the places marked for each row; rows for which none is marked, or may be seen, do not count.

        mean over t of sum over s in places_t of a_ts

    The scores below differ only in what they mark. NaN where no row counts.

    >>> weight_on(np.array([[1.0, 0.0], [0.2, 0.8]]), np.array([[False, False], [True, False]]))
    array(0.2)
    """
    weights, places = _wide(weights), np.asarray(places)
    if allowed is not None:
        places = places & np.asarray(allowed)
    value = np.where(places, weights, 0.0).sum(-1)
    return _mean(value, places.any(-1) & (weights.sum(-1) > 0))


def previous_token_score(weights: Weights, allowed: Allowed | None = None) -> Scores:
    """Mean weight on the place before; the first place has none.

    Reference: Olsson et al., arXiv:2209.11895.

    >>> previous_token_score(np.array([[1.0, 0.0], [0.9, 0.1]]))
    array(0.9)
    """
    return weight_on(weights, _beside(np.shape(weights), -1), allowed)


def next_token_score(weights: Weights, allowed: Allowed | None = None) -> Scores:
    """Mean weight on the place after; the last has none. Causal heads see none: NaN, if `allowed` says so.

    Reference: Clark et al., arXiv:1906.04341.

    >>> next_token_score(np.array([[0.3, 0.7], [0.5, 0.5]]))
    array(0.7)
    """
    there = np.flip(
        np.logical_or.accumulate(np.flip(_wide(weights).sum(-1) > 0, -1), -1), -1
    )  # up to the last real row
    return weight_on(weights, _beside(np.shape(weights), 1) & there[..., None, :], allowed)


def duplicate_token_score(
    weights: Weights, tokens: Int[np.ndarray, "*#heads T"], allowed: Allowed | None = None
) -> Scores:
    """Mean weight on earlier places that hold the present token.

    Reference: Wang et al., arXiv:2211.00593.

    >>> duplicate_token_score(np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.6, 0.3, 0.1]]), np.array([7, 8, 7]))
    array(0.6)
    """
    return weight_on(weights, duplicate_places(tokens), allowed)


def induction_score(weights: Weights, tokens: Int[np.ndarray, "*#heads T"], allowed: Allowed | None = None) -> Scores:
    """Mean weight on the places just after earlier occurrences of the present token, all of them together.

    A head that scores near one looks up how a text went on the last times: it completes A B ... A with B.
    Reference: Olsson et al., arXiv:2209.11895, "prefix matching".

    >>> induction_score(np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.7, 0.1]]), np.array([7, 8, 7]))
    array(0.7)
    """
    return weight_on(weights, induction_places(tokens, allowed), allowed)


def duplicate_places(tokens: Int[np.ndarray, "*batch T"]) -> Bool[np.ndarray, "*batch T T"]:
    """Which earlier places s < t hold the token of place t.

    >>> duplicate_places(np.array([7, 8, 7])).astype(int)
    array([[0, 0, 0],
           [0, 0, 0],
           [1, 0, 0]])
    """
    tokens = np.asarray(tokens)
    return np.tril(tokens[..., :, None] == tokens[..., None, :], -1)


def induction_places(
    tokens: Int[np.ndarray, "*#heads T"], allowed: Allowed | None = None
) -> Bool[np.ndarray, "*heads T T"]:
    """Which places s <= t follow an earlier occurrence, at s - 1, of the token of place t, where t may look at it: the last
    token of one packed document does not lead to the first of the next.

    >>> induction_places(np.array([7, 8, 7])).astype(int)
    array([[0, 0, 0],
           [0, 0, 0],
           [0, 1, 0]])
    """
    earlier = duplicate_places(tokens)
    if allowed is not None:
        earlier = earlier & np.asarray(allowed)
    return np.concatenate([np.zeros_like(earlier[..., :1]), earlier[..., :-1]], -1)


def head_scores(
    maps: AttentionMaps,
    tokens: Int[np.ndarray, " T"] | None = None,
    *,
    allowed: Bool[np.ndarray, "T S"] | None = None,
    sinks: Bool[np.ndarray, " S"] | None = None,
) -> HeadScores:
    """Every score of every head in one text, as a table.

    Args:
        maps: the attention.
        tokens: the ids of the text; without them nothing is said of duplicates and induction.
        allowed: who could attend to whom. None: in a decoder everything up to the place itself, else everything that
            anybody looked at, so that padding does not count as a place.
        sinks: which keys take what is looked at for nothing; None: the first.

    Cross attention has no distance and no neighbours, and tokens say nothing of it: those columns are left out, as is the
    next token of a decoder. ValueError for tokens that are not as many as the words.
    """
    weights = np.asarray(maps.weights)
    queries, keys = weights.shape[-2:]
    own = maps.kind != "cross"
    if own and queries != keys:
        raise ValueError(f"self attention of {queries} words to {keys}; say kind='cross' if these are two texts")
    if tokens is not None and len(tokens) != queries:
        raise ValueError(f"{len(tokens)} tokens for maps of {queries} words; give the ids that the maps were made from")
    if allowed is None:
        seen = (weights > 0).any(axis=tuple(range(weights.ndim - 1)))
        allowed = np.broadcast_to(seen, (queries, keys))
        allowed = np.tril(allowed) if maps.kind == "decoder" else allowed
    allowed = np.asarray(allowed)
    first = np.arange(keys) == (int(np.argmax(allowed.any(0))) if sinks is None else -1)
    found: dict[str, Any] = {
        "entropy": entropy(weights),
        "normalised_entropy": entropy(weights, allowed, normalised=True),
        "confidence": confidence(weights),
        "sink_mass": sink_mass(weights, first if sinks is None else np.asarray(sinks)),
    }
    if own:
        found["distance"] = attention_distance(weights)
        found["previous_token"] = previous_token_score(weights, allowed)
        if maps.kind != "decoder":
            found["next_token"] = next_token_score(weights, allowed)
        if tokens is not None:
            found["duplicate_token"] = duplicate_token_score(weights, np.asarray(tokens), allowed)
            found["induction"] = induction_score(weights, np.asarray(tokens), allowed)
    return HeadScores(found, maps.layers, maps.heads, maps.title)


def _wide(weights: Weights) -> np.ndarray:
    """As plain float64: sums over long rows are exact enough, and words for axes do not get in the way."""
    return np.asarray(weights, np.float64)


def _beside(shape: tuple[int, ...], step: int) -> np.ndarray:
    """The place `step` after each row, [T S]."""
    return np.eye(shape[-2], shape[-1], k=step, dtype=bool)


def _mean(value: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean over rows that count, NaN where none does."""
    counts = np.broadcast_to(counts, value.shape)
    rows = counts.sum(-1)
    total = np.where(counts, value, 0.0).sum(-1)
    return np.asarray(np.divide(total, rows, out=np.full(np.shape(total), np.nan), where=rows > 0))
