"""Which tokens of which documents share a row: a plan computed per (seed, epoch, window), never stored.

A window is a few thousand documents in the order of the epoch. From their lengths and sentence ends alone it is cut
into segments (a pair of sentences, or a piece of a document), the segments are packed into rows, and the rows are
shuffled. Rows are numbered through the windows of an epoch; row r of an epoch is the same whoever asks for it, and
whichever rows were asked for before.
"""

import random
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from data.batch import Row
from data.documents import Documents
from data.errors import DataError
from data.randomness import generator, permute
from data.segments import Packer, Packing, Segment

KEPT_PLANS = 2

PlannedRow: TypeAlias = list[Segment]


class Anchor(NamedTuple):
    """Where a window begins: row numbers counted from the start of training and from the start of the epoch.

    A position in the stream is a number of rows; an anchor near it spares planning every window before it.
    """

    row: int
    epoch: int
    window: int
    epoch_row: int


START = Anchor(0, 0, 0, 0)


class DocumentOrder:
    """The order of documents in each epoch: a keyed permutation, evaluated place by place.

    An epoch of one source holds each document once. An epoch of a mixture holds as many tokens as its sources have
    together, shared out by weight: a source that gets more than it has comes round again, one that gets less goes on
    in the next epoch where it stopped.
    """

    def __init__(self, documents: Documents, seed: int):
        self.parts, self.seed = documents.parts, seed
        total, weights = sum(part.tokens for part in self.parts), sum(part.weight for part in self.parts)
        if len(self.parts) == 1:
            counts = [self.parts[0].documents]
        else:
            counts = [
                max(1, round(part.weight / weights * total * part.documents / part.tokens)) if part.tokens else 0
                for part in self.parts
            ]
        self._counts = counts
        self._ends = np.cumsum(counts)
        self._offsets = np.cumsum([0, *(part.documents for part in self.parts)])
        self.length = int(self._ends[-1])  # documents of an epoch

    def documents(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """The documents at these places of an epoch, int64[stop - start]."""
        places = permute(np.arange(start, stop), self.length, self.seed, epoch)
        result = np.empty(len(places), np.int64)
        source = np.searchsorted(self._ends, places, side="right")
        for number, (part, count) in enumerate(zip(self.parts, self._counts, strict=True)):
            here = np.flatnonzero(source == number)
            # The n-th draw from this source since the start of training: its round, and the place in that round.
            draws = epoch * count + places[here] - (self._ends[number] - count)
            rounds, within = draws // part.documents, draws % part.documents
            for turn in np.unique(rounds):
                same = rounds == turn
                chosen = permute(within[same], part.documents, self.seed, int(turn), stream=number + 1)
                result[here[same]] = chosen + self._offsets[number]
        return result


class PackPlan:
    """Rows of documents by number, for one seed. Windows are planned when they are asked for; the last few are kept.

    With `repeat` every epoch has the rows of the first, as data prepared once and for all has.
    """

    def __init__(
        self, documents: Documents, packing: Packing, *, row_length: int, window: int, seed: int, repeat: bool = False
    ):
        self.documents, self.row_length = documents, row_length
        self.seed, self.repeat = seed, repeat
        self.order = DocumentOrder(documents, seed)
        self.windows = max(1, round(self.order.length / window))  # in an epoch, of equal size but for one document
        self._kept: OrderedDict[tuple[int, int], list[PlannedRow]] = OrderedDict()
        self._packer: Packer = packing.packer(documents, row_length)

    def window(self, epoch: int, number: int) -> list[PlannedRow]:
        """Plan the rows of one window, or return them from the last few that were planned."""
        epoch = 0 if self.repeat else epoch
        if (epoch, number) not in self._kept:
            bounds = [self.order.length * edge // self.windows for edge in (number, number + 1)]
            places = self.order.documents(epoch, *bounds)
            self._kept[epoch, number] = self._plan(places, epoch, number)
            while len(self._kept) > KEPT_PLANS:
                self._kept.popitem(last=False)
        self._kept.move_to_end((epoch, number))
        return self._kept[epoch, number]

    def seek(self, row: int, anchor: Anchor = START) -> Anchor:
        """The anchor of the window that holds this row of the stream, walking on from an earlier one."""
        if row < anchor.row:
            anchor = START
        while row >= anchor.row + (rows := len(self.window(anchor.epoch, anchor.window))):
            after = Anchor(anchor.row + rows, anchor.epoch, anchor.window + 1, anchor.epoch_row + rows)
            if after.window == self.windows:
                if after.epoch_row == 0:
                    raise DataError(self._too_small())
                after = Anchor(after.row, anchor.epoch + 1, 0, 0)
            anchor = after
        return anchor

    def fill(self, rows: Sequence[PlannedRow]) -> list[Row]:
        """Rows of tokens from planned rows; all documents are read together."""
        return self._packer.fill(rows)

    def density(self) -> float:
        """The share of a row's places that hold tokens, measured on the first window."""
        rows = self.window(0, 0)
        if not rows:
            raise DataError(self._too_small())
        used = sum(self._packer.used(segment) for row in rows for segment in row)
        return used / (len(rows) * self.row_length)

    def _plan(self, places: np.ndarray, epoch: int, number: int) -> list[PlannedRow]:
        draw = random.Random(int(generator(self.seed, "plan", epoch, number).integers(2**63)))
        segments = self._packer.cut(places.tolist(), epoch, draw)
        rows = pack([self._packer.room(segment) for segment in segments], self.row_length, self._packer.most)
        shuffled = generator(self.seed, "rows", epoch, number).permutation(len(rows))
        return [[segments[i] for i in rows[row]] for row in shuffled]

    def _too_small(self) -> str:
        return (f"the source is too small: its {len(self.documents)} documents do not give {self._packer.need}; "
                "name a larger --data.source")  # fmt: skip


def pack(lengths: Sequence[int], room: int, most: int) -> list[list[int]]:
    """Pack lengths into bins of `room`, at most so many in each: best fit, longest first (Johnson, 1973).

    Bins by the room that they have left, and a bit mask of the rooms that occur, find the tightest bin at once.

    >>> pack([3, 5, 2, 4], room=7, most=9)
    [[1, 2], [3, 0]]
    """
    bins: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(room + 1)]
    occurring = 0
    for item in sorted(range(len(lengths)), key=lambda item: -lengths[item]):
        length = lengths[item]
        fitting = occurring >> length
        if fitting:
            left = length + (fitting & -fitting).bit_length() - 1
            chosen = by_room[left].pop()
            if not by_room[left]:
                occurring ^= 1 << left
        else:
            left, chosen = room, len(bins)
            bins.append([])
        bins[chosen].append(item)
        left -= length
        if left and len(bins[chosen]) < most:
            by_room[left].append(chosen)
            occurring |= 1 << left
    return bins
