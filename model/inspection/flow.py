"""How much of each input token reaches each place, through all layers: attention rollout, and attention flow.

Both treat a layer as a graph from places to places, attention and the residual stream sharing the weight:

    A'_l = (1 - r) mean over heads of A_l + r I,   each row brought to one,   r = 1/2

Rollout multiplies these (the share of a random walk), flow asks how much could pass at most (maximum flow, the weights being
capacities). Neither knows of values, MLPs or norms: they say where information could have come from.
Reference: Abnar and Zuidema, arXiv:2005.00928.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

CAPACITY = 1 << 24  # an edge of weight one; whole numbers are what the solver takes, and sums stay far below 2^31

Weights = Float[np.ndarray, "*batch L N T S"]  # S is T


def with_residual(weights: Weights, residual: float = 0.5) -> Float[np.ndarray, "*batch L T T"]:
    """Heads averaged, the residual stream added, each row brought to one; a row of padding looks at itself.

    ValueError for maps that are not self attention of layers and heads, or a share that is none.

    >>> with_residual(np.array([[[[1.0, 0.0], [1.0, 0.0]]]]))[0]
    array([[1. , 0. ],
           [0.5, 0.5]])
    """
    if not 0 <= residual < 1:
        raise ValueError(f"residual={residual} must lie in [0, 1); 0.5 is the paper's")
    shape = np.shape(weights)
    if len(shape) < 4 or shape[-1] != shape[-2]:
        raise ValueError(
            f"weights of shape {shape} are no self attention [... layers heads T T]; cross attention has no paths"
        )
    heads = np.asarray(weights, np.float64).mean(-3)
    eye = np.eye(heads.shape[-1])
    mixed = (1 - residual) * heads + residual * eye
    total = mixed.sum(-1, keepdims=True)
    return np.where(total > 0, mixed / np.where(total > 0, total, 1.0), eye)


def attention_rollout(weights: Weights, residual: float = 0.5) -> Float[np.ndarray, "*batch L T T"]:
    """The share of each input token in each place after each layer; rows sum to one.

        R_1 = A'_1,   R_l = A'_l R_{l-1}

    Of a batch, each text by itself; padding reaches nothing but itself.

    >>> attention_rollout(np.array([[[[1.0, 0.0], [1.0, 0.0]]]] * 2))[-1]
    array([[1.  , 0.  ],
           [0.75, 0.25]])
    """
    layers = with_residual(weights, residual)
    found = [layers[..., 0, :, :]]
    for number in range(1, layers.shape[-3]):
        found.append(layers[..., number, :, :] @ found[-1])
    return np.stack(found, -3)


def attention_flow(
    weights: Weights, residual: float = 0.5, *, queries: Sequence[int] | None = None
) -> Float[np.ndarray, "Q T"]:
    """The most that could flow from each input token to places after the last layer, weights being capacities.

    Row q is place `queries[q]`, or place q where they are None. As in the paper each pair is a problem of its own, so a row
    does not sum to one; divide by its sum to compare it with rollout. It is the slow one: Q T maximum flows through L T^2 edges.
    One query in 12 layers takes hundredths of a second at 64 tokens and most of one at 128, so ask for few places.
    Weights are rounded to 2^-24. ValueError for several texts, and for a place that is not there.

    >>> attention_flow(np.array([[[[1.0, 0.0], [1.0, 0.0]]]] * 2)).round(3)
    array([[1. , 0. ],
           [1. , 0.5]])
    """
    if np.ndim(weights) > 4:
        raise ValueError(
            f"flow is of one text, [layers heads T T], and these are {np.shape(weights)}; pass one, weights[i]"
        )
    layers = with_residual(weights, residual)
    depth, length, _ = layers.shape
    wanted = range(length) if queries is None else queries
    if strange := [place for place in wanted if not 0 <= place < length]:
        raise ValueError(f"there is no place {strange[0]} in a text of {length} tokens")
    graph = _graph(layers)
    found = np.zeros((len(wanted), length))
    for row, place in enumerate(wanted):
        for token in range(length):
            found[row, token] = maximum_flow(graph, depth * length + place, token).flow_value
    return found / CAPACITY


def _graph(layers: np.ndarray) -> csr_array:
    """Node l T + t is place t after l layers; edges lead from a place to those of the layer below that it looks at."""
    layer, query, key = np.nonzero(layers)
    length = layers.shape[-1]
    capacity = np.rint(layers[layer, query, key] * CAPACITY).astype(np.int32)
    nodes = (len(layers) + 1) * length
    ends = ((layer + 1) * length + query, layer * length + key)
    return csr_array((capacity, ends), shape=(nodes, nodes))
