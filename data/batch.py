"""The two types that leave this floor: a packed `Row` and a `Batch` of them.

Both are named tuples of numpy arrays, so that they are pytrees for JAX without this floor importing it.
T is the row length, B the rows of a batch. Segment 0 is padding; positions restart in each segment.
"""

from typing import Any, NamedTuple

import numpy as np

from data.errors import DataError

PADDING_ROW = -1  # the example id of a row that only fills up the last batch of an evaluation


class Row(NamedTuple):
    """One packed row: several documents, or several pairs of sentences, one segment each.

    `labels` holds what the packer knows already, such as which pairs follow each other; an objective's host half
    (`data.masking`, for one) takes a row and returns one with its own labels added.
    """

    tokens: np.ndarray  # int32[T]
    positions: np.ndarray  # int32[T], counted from 0 in each segment
    segments: np.ndarray  # int32[T], 0 padding, then 1, 2, ... in order
    token_types: np.ndarray | None  # int32[T], 0 first sentence of a pair, 1 second; None where nothing needs them
    labels: dict[str, np.ndarray]
    source_tokens: np.ndarray | None = None  # int32[S], what an encoder reads; `tokens` are then the decoder's input
    source_positions: np.ndarray | None = None  # int32[S], counted from 0 in each segment
    source_segments: np.ndarray | None = None  # int32[S], numbered like `segments`
    prefix: np.ndarray | None = None  # bool[T], places that are seen from everywhere in their segment


class Batch(NamedTuple):
    """Rows side by side, the way the device wants them.

    `example_ids` number the rows inside (seed, epoch); with `epochs` they are the key of all of a row's randomness,
    and what a report of a bad step names. `labels` belong to the objective, each with its own places and weights.
    """

    tokens: Any  # int32[B, T]
    positions: Any  # int32[B, T]
    segments: Any  # int32[B, T]
    example_ids: Any  # int32[B]
    epochs: Any  # int32[B]
    labels: dict[str, Any]
    token_types: Any = None  # int32[B, T], or None where nothing needs them
    source_tokens: Any = None  # int32[B, S], what an encoder reads; `tokens` are then the decoder's input
    source_positions: Any = None  # int32[B, S]
    source_segments: Any = None  # int32[B, S], numbered like `segments`
    prefix: Any = None  # bool[B, T], places that are seen from everywhere in their segment


def segment_spans(segments: np.ndarray) -> list[tuple[int, int]]:
    """Where each segment of a row begins and ends; padding is none.

    >>> segment_spans(np.array([1, 1, 2, 2, 2, 0]))
    [(0, 2), (2, 5)]
    """
    starts = np.flatnonzero(np.diff(segments, prepend=0) > 0)
    stops = np.append(starts[1:], np.count_nonzero(segments))
    return list(zip(starts.tolist(), stops.tolist(), strict=True)) if len(starts) else []


def stack_rows(rows: list[Row], example_ids: list[int], epochs: list[int]) -> Batch:
    """Put rows under each other.

    >>> row = Row(*np.zeros((3, 4), np.int32), token_types=None, labels={})
    >>> stack_rows([row, row], [7, 8], [0, 0]).tokens.shape
    (2, 4)
    """
    first = rows[0]
    for row in rows:
        if row.labels.keys() != first.labels.keys():
            raise DataError(
                f"rows of one batch carry different labels: {sorted(first.labels)} and {sorted(row.labels)}"
            )

    def stacked(name: str) -> np.ndarray | None:
        return None if getattr(first, name) is None else np.stack([getattr(row, name) for row in rows])

    return Batch(
        **{name: stacked(name) for name in Row._fields if name != "labels"},
        example_ids=np.array(example_ids, np.int32),
        epochs=np.array(epochs, np.int32),
        labels={name: np.stack([row.labels[name] for row in rows]) for name in sorted(first.labels)},  # in one order
    )
