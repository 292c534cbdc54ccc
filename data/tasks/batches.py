"""Rows of a task as batches: batch n is a function of n, so that a run that was cut off goes on with the same ones."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from data.batch import PADDING_ROW, Batch, Row, stack_rows
from data.errors import DataError
from data.packing import Anchor
from data.randomness import generator, permute
from data.tasks.by_tokens import TokenPlan
from data.tasks.config import TaskData
from data.tasks.opened import TaskSet
from data.tasks.packed import PackedPlan, joined
from data.tasks.plans import EpochPlan
from data.tasks.rows import ROW_LABELS

ENDLESS = 2**40


class TaskBatches:
    """Batch n of an endless stream by its number: every epoch in an order of its own, the next begun when it is out.

    With `data.grouped` rows of like length share a batch: the shuffled rows of so many batches are put in order of length,
    cut into batches, and these are shuffled. The last rows of an epoch share a batch with the first of the next. With
    `data.batch_tokens` batches differ in their rows (data/tasks/by_tokens.py), with `data.packed` rows in their texts
    (data/tasks/packed.py); then the last batch of an epoch is filled up. `example_ids` are the places of rows, or of their first
    texts, in `task_set.rows`, and with `epochs` the key of their dropout.
    """

    def __init__(
        self,
        task_set: TaskSet,
        data: TaskData,
        *,
        seed: int,
        start: int = 0,
        stop: int | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ):
        if data.batch_size % process_count:
            raise DataError(f"batch_size={data.batch_size} is not a multiple of the {process_count} processes; use "
                            f"{-(-data.batch_size // process_count) * process_count}")  # fmt: skip
        if not task_set.rows:
            raise DataError("there are no rows to train on; name a source with examples")
        self.rows, self.pad = task_set.rows, task_set.pad
        self.size, self.bucket, self.row_length = data.batch_size, data.bucket, data.row_length
        self.seed, self.start, self.grouped = seed, start, data.grouped
        self.lengths = np.array([len(row.tokens) + len(() if row.source_tokens is None else row.source_tokens)
                                 for row in self.rows])  # fmt: skip
        self.packed = data.packed
        self.plan: EpochPlan | None = None
        if data.packed:
            self.plan = PackedPlan(self.lengths, data, seed)
        elif data.batch_tokens is not None:
            self.plan = TokenPlan(self.lengths, data, seed)
        self._orders: dict[int, np.ndarray] = {}
        self.count = (ENDLESS if stop is None else stop) - start
        self.process_index, self.process_count = process_index, process_count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Batch, Anchor]:
        """A batch, and where it begins: the row counted from the start, its epoch, and its place in that."""
        texts, epochs, anchor = self.texts_of(self.start + index)
        rows = [self.row(row) for row in texts]
        lengths = (self.row_length, 0) if self.packed else lengths_of(rows, self.bucket, self.row_length)
        share = len(rows) // self.process_count  # lengths are those of the whole batch, on every host
        mine = slice(self.process_index * share, (self.process_index + 1) * share)
        padded = [padded_row(row, lengths, self.pad) for row in rows[mine]]
        return stack_rows(padded, texts[mine, 0].tolist(), epochs[mine].tolist()), anchor

    def row(self, texts: np.ndarray) -> Row:
        """The row of these texts, int64[K]; PADDING_ROW is none."""
        found = [self.rows[number] for number in texts if number != PADDING_ROW]
        if self.packed:
            return joined(found or [empty_row(self.rows[0])], len(texts))
        return found[0] if found else empty_row(self.rows[0])

    def texts_of(self, number: int) -> tuple[np.ndarray, np.ndarray, Anchor]:
        """The texts of each row of a batch, int64[B, K], the epoch of each row, int64[B], and where the batch begins."""
        total = len(self.rows)
        if self.plan is not None:
            epoch, place = self.plan.locate(number)
            texts, before = self.plan.epoch(epoch)[place]
            return texts, np.full(len(texts), epoch), Anchor(epoch * total + before, epoch, 0, before)
        begin = number * self.size
        epochs, places = np.divmod(np.arange(begin, begin + self.size), total)
        ids = np.concatenate([
            self.order(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)
        ])  # fmt: skip
        return ids[:, None], epochs, Anchor(begin, int(epochs[0]), 0, int(places[0]))

    def steps(self, epochs: float) -> int:
        """Batches of so many epochs, at least one."""
        if self.plan is not None:
            return max(1, self.plan.steps(epochs))
        return max(1, math.ceil(epochs * len(self.rows) / self.size))

    def order(self, epoch: int) -> np.ndarray:
        """The rows of an epoch in the order in which they are seen, int64[rows]; the last two that were asked for are kept."""
        if epoch not in self._orders:
            order = permute(np.arange(len(self.rows)), len(self.rows), self.seed, epoch)
            if self.grouped > 1:
                first = -epoch * len(self.rows) % self.size  # rows that fill up the last batch of the epoch before
                rng = generator(self.seed, "rows", epoch, 0)
                order = np.concatenate(
                    [order[:first], grouped(order[first:], self.lengths, self.size, self.grouped, rng)]
                )
            self._orders = {kept: self._orders[kept] for kept in list(self._orders)[-1:]} | {epoch: order}
        return self._orders[epoch]


def eval_task_batches(
    task_set: TaskSet,
    data: TaskData,
    *,
    batch_size: int | None = None,
    limit_rows: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """All rows once, those of like length together; the last batch is filled up with rows of id PADDING_ROW and weight 0.

    `example_ids` say which row is which, so that predictions are put back into their order. Rows hold one text each; where
    training packs them, a batch here has as many as have room in those of a step.
    """
    size = batch_size or data.batch_size * fitting(task_set.rows, data)
    if size % process_count:
        raise DataError(f"batch_size={size} is not a multiple of the {process_count} processes")
    share = size // process_count
    mine = slice(process_index * share, (process_index + 1) * share)
    shown = task_set.rows if limit_rows is None else task_set.rows[:limit_rows]
    order = np.argsort([-len(row.tokens) for row in shown], kind="stable").tolist()
    for start in range(0, len(order), size):
        ids = order[start : start + size]
        rows = [shown[number] for number in ids]
        lengths = lengths_of(rows, data.bucket, data.row_length)
        rows += [empty_row(rows[0])] * (size - len(rows))
        ids = ids + [PADDING_ROW] * (size - len(ids))
        yield stack_rows([padded_row(row, lengths, task_set.pad) for row in rows[mine]], ids[mine], [0] * share)


def fitting(rows: Sequence[Row], data: TaskData) -> int:
    """How many of the longest of these have room in a row of training, at least one."""
    longest, _ = lengths_of(rows, data.bucket, data.row_length)
    return max(1, data.row_length // longest) if data.packed else 1


def grouped(order: np.ndarray, lengths: np.ndarray, size: int, batches: int, rng: np.random.Generator) -> np.ndarray:
    """Rows in order of length within each window of so many batches of `size`, the batches of a window then shuffled.

    A batch that is not full stays the last.

    >>> lengths = np.array([5, 1, 4, 2, 3])
    >>> sorted(map(tuple, grouped(np.arange(5), lengths, 2, 9, np.random.default_rng(0))[:4].reshape(2, 2).tolist()))
    [(1, 3), (4, 2)]
    """
    found = []
    for start in range(0, len(order), size * batches):
        window = order[start : start + size * batches]
        window = window[np.argsort(lengths[window], kind="stable")]
        whole = len(window) // size * size
        found += [*window[:whole].reshape(-1, size)[rng.permutation(whole // size)], window[whole:]]
    return np.concatenate(found) if found else order


def lengths_of(rows: Sequence[Row], bucket: int, most: int) -> tuple[int, int]:
    """Places T and S that a batch of these rows needs: its longest, rounded up to a bucket, but no longer than a row may be.

    S is 0 where there is no source side.
    """

    def rounded(longest: int) -> int:
        return max(longest, min(-(-longest // bucket) * bucket, most))

    source = max((0 if row.source_tokens is None else len(row.source_tokens)) for row in rows)
    return rounded(max(len(row.tokens) for row in rows)), rounded(source) if source else 0


def padded_row(row: Row, lengths: tuple[int, int], pad: int) -> Row:
    """A row with padding behind it: segment 0, position 0, weight 0."""
    target, source = lengths

    def fill(values: np.ndarray | None, length: int, value: int = 0) -> np.ndarray | None:
        if values is None:
            return None
        padded = np.full(length, value, values.dtype)
        padded[: len(values)] = values
        return padded

    arrays = {name: fill(getattr(row, name), target) for name in ("positions", "segments", "token_types", "prefix")}
    arrays |= {name: fill(getattr(row, name), source) for name in ("source_positions", "source_segments")}
    return row._replace(
        tokens=fill(row.tokens, target, pad),
        source_tokens=fill(row.source_tokens, source, pad),
        labels={n: fill(values, target) if n in ROW_LABELS else values for n, values in row.labels.items()},
        **arrays,
    )


def empty_row(like: Row) -> Row:
    """A row without tokens, whose labels have the shapes of another's and weigh nothing."""

    labels = {n: values[:0] if n in ROW_LABELS else np.zeros_like(values) for n, values in like.labels.items()}
    arrays = {n: getattr(like, n) for n in Row._fields if n != "labels"}
    return like._replace(labels=labels, **{n: values[:0] for n, values in arrays.items() if values is not None})
