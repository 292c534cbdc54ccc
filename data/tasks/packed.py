"""Several short texts in a row, one segment each: batches in a wholly random order of which little is padding.

Texts of a segment see only themselves, so that each has the states, the scores and the loss that it has in a row of its own.
Krell et al. (arXiv:2107.02027) pack pre-training so; here a batch holds the next texts of the order, as many as its rows have
room for, so that its texts are those of no particular length.
"""

from collections.abc import Sequence

import numpy as np

from data.batch import PADDING_ROW, Row
from data.tasks.config import TaskData
from data.tasks.plans import EpochPlan
from data.tasks.rows import ROW_LABELS


class PackedPlan(EpochPlan):
    """The next texts in the `batch_size` rows of a batch, each in the fullest row that has room for it."""

    def __init__(self, lengths: np.ndarray, data: TaskData, seed: int):
        super().__init__(lengths, seed)
        self.rows, self.row_length = data.batch_size, data.row_length
        self.most = most_texts(lengths, data.row_length)

    def cut(self, order: np.ndarray, epoch: int) -> list[np.ndarray]:
        filled = fill_rows(order, self.lengths, self.rows, self.row_length)
        batches = np.full((len(filled), self.rows, self.most), PADDING_ROW, np.int64)
        for batch, rows in zip(batches, filled, strict=True):
            for row, texts in zip(batch, rows, strict=True):
                row[: len(texts)] = texts
        return list(batches)


def most_texts(lengths: np.ndarray, row_length: int) -> int:
    """The most texts that any row can hold, whichever they are.

    >>> most_texts(np.array([3, 9, 4]), 12), most_texts(np.array([3, 9, 4]), 8)
    (2, 2)
    """
    return max(1, int(np.searchsorted(np.cumsum(np.sort(lengths)), row_length, side="right")))


def fill_rows(order: np.ndarray, lengths: np.ndarray, rows: int, row_length: int) -> list[list[list[int]]]:
    """Batches of so many rows, and the texts of each row: a batch ends before the first text that none of its rows has room for.

    >>> fill_rows(np.arange(6), np.array([5, 3, 4, 2, 4, 8]), 2, 8)
    [[[0, 1], [2, 3]], [[4], [5]]]
    """
    batches: list[list[list[int]]] = []
    filled: list[list[int]] = []
    room: list[int] = []
    for text, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        fitting = [(left, row) for row, left in enumerate(room) if left >= length]
        if not fitting:
            filled, room = [[] for _ in range(rows)], [row_length] * rows
            batches.append(filled)
            fitting = [(row_length, 0)]
        row = min(fitting)[1]
        filled[row].append(text)
        room[row] -= length
    return batches


def joined(rows: Sequence[Row], most: int) -> Row:
    """Rows of one text each as segments 1, 2, ... of one, their labels under each other and filled up to `most` texts.

    A label of a place stays with its token; the others get the shape [most, ...], and what is filled up weighs nothing.
    """

    def together(name: str) -> np.ndarray | None:
        return None if getattr(rows[0], name) is None else np.concatenate([getattr(row, name) for row in rows])

    labels = {}
    for name in rows[0].labels:
        found = np.concatenate([row.labels[name] for row in rows])
        if name not in ROW_LABELS:
            whole = np.zeros((most, *found.shape[1:]), found.dtype)
            whole[: len(found)] = found
            found = whole
        labels[name] = found
    return rows[0]._replace(
        tokens=together("tokens"),
        positions=together("positions"),
        segments=np.repeat(np.arange(1, len(rows) + 1, dtype=np.int32), [len(row.tokens) for row in rows]),
        token_types=together("token_types"),
        labels=labels,
    )
