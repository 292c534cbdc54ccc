"""The door to `grain`: planned rows become batches, ahead of the step that wants them.

Grain sees a random-access list of batches: element n is batch n of the stream, a function of its number alone. Worker
processes therefore take whole batches in turn, and neither their number nor that of the hosts changes what a batch
holds. The state of a stream is one number, the batches that were handed out; what lies in buffers is made again.
"""

import atexit
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from data.batch import PADDING_ROW, Batch, Row, stack_rows
from data.config import TextData
from data.documents import Documents
from data.errors import DataError
from data.packing import START, Anchor, PackPlan, PlannedRow
from data.randomness import generator
from data.segments import Packing
from data.workers import Reader, WorkerStart

Corrupt: TypeAlias = Callable[[Row, np.random.Generator], Row]

ENDLESS = 2**40
AHEAD = 4  # batches that each worker, or the reading thread, keeps ready


class BatchSource:
    """Batch n of a stream by its number, for one seed; this host's share of its rows.

    It remembers where it last was, so that going forwards plans each window once. One thread reads it at a time.
    """

    def __init__(
        self,
        documents: Documents,
        data: TextData,
        packing: Packing,
        corrupt: Corrupt,
        *,
        seed: int,
        start: int = 0,
        anchor: Anchor = START,
        stop: int | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ):
        if data.batch_size % process_count:
            raise DataError(f"batch_size={data.batch_size} is not a multiple of the {process_count} processes; use "
                            f"{-(-data.batch_size // process_count) * process_count}")  # fmt: skip
        self.batch_size, self.start, self.anchor = data.batch_size, start, anchor
        self.count = (ENDLESS if stop is None else stop) - start
        self.share = data.batch_size // process_count
        self.first = process_index * self.share
        # Data that is masked once is also packed once: every epoch repeats the rows of the first.
        self.static = bool(getattr(corrupt, "static", False))
        self.plan = PackPlan(
            documents, packing, row_length=data.row_length, window=data.window, seed=seed, repeat=self.static
        )
        self.corrupt, self.seed = corrupt, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Batch, Anchor]:
        """A batch, and the anchor of the window in which it begins."""
        begin = (self.start + index) * self.batch_size
        here = self.anchor = self.plan.seek(begin, self.anchor)
        rows: list[PlannedRow] = []
        ids: list[int] = []
        epochs: list[int] = []
        for row in range(begin + self.first, begin + self.first + self.share):
            here = self.plan.seek(row, here)
            rows.append(self.plan.window(here.epoch, here.window)[row - here.row])
            ids.append(here.epoch_row + row - here.row)
            epochs.append(here.epoch)
        return self._batch(rows, ids, epochs), self.anchor

    def _batch(self, rows: Sequence[PlannedRow], ids: list[int], epochs: list[int]) -> Batch:
        filled = []
        for row, number, epoch in zip(self.plan.fill(rows), ids, epochs, strict=True):
            rng = generator(self.seed, "corrupt", 0 if self.static else epoch, number)
            filled.append(self.corrupt(row, rng))
        return stack_rows(filled, ids, epochs)


class TrainStream:
    """Batches for training, without end unless `stop` names the batch before which it ends.

    `start` and `anchor` are what `position` held, and continue where that stream stood. With `workers` the batches are
    made in that many processes, otherwise on a thread; they are the same. Close it, or use it in a `with` statement.

        stream = TrainStream(prepared.train, data, SentencePairs(), corrupt, seed=0)
        batch = next(stream)
        stream.position    # {"batch": 1, "anchor": [0, 0, 0, 0]}
    """

    def __init__(
        self,
        documents: Documents,
        data: TextData,
        packing: Packing,
        corrupt: Corrupt,
        *,
        seed: int,
        start: int = 0,
        anchor: Sequence[int] | None = None,
        workers: int = 0,
        process_index: int = 0,
        process_count: int = 1,
        stop: int | None = None,
    ):
        anchor = Anchor(*anchor) if anchor else START
        source = BatchSource(
            documents,
            data,
            packing,
            corrupt,
            seed=seed,
            start=start,
            anchor=anchor,
            stop=stop,
            process_index=process_index,
            process_count=process_count,
        )
        self._begin(source, start, anchor, workers)

    @classmethod
    def of(cls, source: Any, start: int = 0, workers: int = 0) -> "TrainStream":
        """The batches of any source that knows them by their number: `source[n]` is batch `start` + n and its anchor."""
        stream = cls.__new__(cls)
        stream._begin(source, start, START, workers)
        return stream

    def _begin(self, source: Any, start: int, anchor: Anchor, workers: int) -> None:
        import grain

        if workers < 0:
            raise DataError(f"workers={workers} is negative; use 0 for a thread, or a number of processes")
        self._workers = workers
        self._next, self._anchor = start, anchor
        reading = grain.ReadOptions(num_threads=0 if workers else 1, prefetch_buffer_size=0 if workers else AHEAD)
        batches = grain.MapDataset.source(source).to_iter_dataset(reading)
        if workers:
            _parse_flags()
            options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=AHEAD)
            batches = batches.mp_prefetch(options, worker_init_fn=WorkerStart(os.getpid()))
        self._reader = Reader(iter(batches))
        # Where nobody closes the stream, it is closed at exit, before multiprocessing waits for its children to end:
        # what was registered last runs first, and `data.workers` has imported multiprocessing.util.
        self._finish = weakref.finalize(self, self._reader.close)
        self._finish.atexit = False
        atexit.register(self._finish)
        if workers:
            self._reader.start(workers)

    @property
    def position(self) -> dict[str, Any]:
        """What to save: the batches handed out so far, and a hint where their window begins. Holds no data."""
        return {"batch": self._next, "anchor": list(self._anchor)}

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch, anchor = self._reader.next()
        if self._workers:
            # What comes from a worker lies in shared memory that lives as long as its arrays: let go of it here.
            batch = _copied(batch)
        self._next, self._anchor = self._next + 1, Anchor(*map(int, anchor))
        return batch

    def close(self) -> None:
        """Stop the thread or the workers; the stream ends here."""
        self._finish()
        atexit.unregister(self._finish)

    def __enter__(self) -> "TrainStream":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def eval_batches(
    documents: Documents,
    data: TextData,
    packing: Packing,
    corrupt: Corrupt,
    *,
    seed: int,
    batch_size: int | None = None,
    limit_rows: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """The rows of one epoch, in batches of equal size: the last is filled up with padding, which weighs nothing.

    Every host gets as many batches as the others. With the same seed the rows and their targets are the same, whatever
    the corruption's mode is.
    """
    size = batch_size or data.batch_size
    if size % process_count:
        raise DataError(f"batch_size={size} is not a multiple of the {process_count} processes")
    share = size // process_count
    plan = PackPlan(documents, packing, row_length=data.row_length, window=data.window, seed=seed)

    def batch(rows: list[tuple[int, PlannedRow]]) -> Batch:
        ids = [number for number, _ in rows] + [PADDING_ROW] * (size - len(rows))
        mine = slice(process_index * share, (process_index + 1) * share)
        filled = plan.fill([segments for _, segments in rows[mine]] + [[]] * (share - len(rows[mine])))
        corrupted = [
            corrupt(row, generator(seed, "corrupt", 0, number)) for row, number in zip(filled, ids[mine], strict=True)
        ]
        return stack_rows(corrupted, ids[mine], [0] * share)

    planned = (row for window in range(plan.windows) for row in plan.window(0, window))
    rows = enumerate(islice(planned, limit_rows))
    taken = list(islice(rows, size))
    if not taken:
        plan.density()  # tells why there are no rows
    while taken:
        yield batch(taken)
        taken = list(islice(rows, size))


def _copied(batch: Batch) -> Batch:
    labels = {name: np.array(values) for name, values in batch.labels.items()}
    arrays = {
        name: np.array(values) for name, values in batch._asdict().items() if name != "labels" and values is not None
    }
    return batch._replace(labels=labels, **arrays)


def _parse_flags() -> None:
    """Grain reads absl flags, which nobody has parsed in a program that is no absl app."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
