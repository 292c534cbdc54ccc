"""Batches of about as many tokens each: short rows share larger ones, so that a step of them does as much work as any other.

As Ott et al. train translators (arXiv:1806.00187), and Vaswani et al. before them (arXiv:1706.03762, section 5.1). A row then
counts by its length: where fragments and sentences are mixed, each token weighs alike in an epoch and not each row.
"""

import math

import numpy as np

from data.batch import PADDING_ROW
from data.randomness import generator, permute
from data.tasks.config import TaskData


class TokenPlan:
    """Which rows share batch n, as a function of n: every epoch in an order of its own, its last batch filled up.

    `lengths` int[rows] are the tokens of each row. Of the batches of an epoch every row is in one.
    """

    def __init__(self, lengths: np.ndarray, data: TaskData, seed: int):
        assert data.batch_tokens is not None
        most = max(data.row_length, int(lengths.max()))
        self.lengths = np.minimum(-(-lengths // data.bucket) * data.bucket, most)
        self.budget, self.unit, self.seed = data.batch_tokens, data.batch_size, seed
        self.window = max(self.unit, data.grouped * self.budget // max(1, round(float(self.lengths.mean()))))
        self._epochs: dict[int, list[np.ndarray]] = {}
        self._ends: list[int] = []  # of each epoch from the first on, in batches

    def epoch(self, number: int) -> list[np.ndarray]:
        """The batches of an epoch, int64[B] each, PADDING_ROW where the last is filled up; the last two asked for are kept."""
        if number not in self._epochs:
            order = permute(np.arange(len(self.lengths)), len(self.lengths), self.seed, number)
            rng = generator(self.seed, "rows", number, 0)
            cut = cut_by_tokens(order, self.lengths, self.budget, self.unit, self.window, rng)
            self._epochs = {kept: self._epochs[kept] for kept in list(self._epochs)[-1:]} | {number: cut}
        return self._epochs[number]

    def locate(self, number: int) -> tuple[int, int]:
        """The epoch of batch n, and its place in that."""
        while not self._ends or number >= self._ends[-1]:
            self._ends.append((self._ends[-1] if self._ends else 0) + len(self.epoch(len(self._ends))))
        epoch = int(np.searchsorted(self._ends, number, side="right"))
        return epoch, number - (self._ends[epoch - 1] if epoch else 0)

    def steps(self, epochs: float) -> int:
        """Batches of so many epochs, the last of them perhaps a part."""
        whole = math.floor(epochs)
        rest = math.ceil((epochs - whole) * len(self.epoch(whole))) if epochs > whole else 0
        return sum(len(self.epoch(number)) for number in range(whole)) + rest


def cut_by_tokens(
    order: np.ndarray, lengths: np.ndarray, budget: int, unit: int, window: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Rows in batches of at most `budget` places, padding included: multiples of `unit` rows, and one unit at least.

    Each window of rows is put in order of length and cut from the longest on; what is left over joins the next window, the
    batches of a window are shuffled. PADDING_ROW fills up the last batch.

    >>> cut = cut_by_tokens(np.arange(5), np.array([8, 2, 8, 2, 2]), 8, 1, 9, np.random.default_rng(0))
    >>> sorted(sorted(batch.tolist()) for batch in cut)
    [[0], [1, 3, 4], [2]]
    """
    batches: list[np.ndarray] = []
    pool = order[:0]
    for start in range(0, len(order), window):
        pool = np.concatenate([pool, order[start : start + window]])
        pool = pool[np.argsort(-lengths[pool], kind="stable")]
        found = []
        while len(pool):
            rows = max(budget // int(lengths[pool[0]]) // unit, 1) * unit
            if rows > len(pool):
                break
            found.append(pool[:rows])
            pool = pool[rows:]
        batches += [found[place] for place in rng.permutation(len(found))]
    if len(pool):
        batches.append(np.concatenate([pool, np.full(-len(pool) % unit, PADDING_ROW, pool.dtype)]))
    return batches
