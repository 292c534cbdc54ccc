"""Batches of about as many tokens each: short rows share larger ones, so that a step of them does as much work as any other.

As Ott et al. train translators (arXiv:1806.00187), and Vaswani et al. before them (arXiv:1706.03762, section 5.1). A row then
counts by its length: where fragments and sentences are mixed, each token weighs alike in an epoch and not each row.
"""

import numpy as np

from data.batch import PADDING_ROW
from data.randomness import generator
from data.tasks.config import TaskData
from data.tasks.plans import EpochPlan


class TokenPlan(EpochPlan):
    """Rows of like length, as many as the budget of tokens holds: batches of one text a row."""

    def __init__(self, lengths: np.ndarray, data: TaskData, seed: int):
        assert data.batch_tokens is not None
        most = max(data.row_length, int(lengths.max()))
        super().__init__(np.minimum(-(-lengths // data.bucket) * data.bucket, most), seed)
        self.budget, self.unit = data.batch_tokens, data.batch_size
        self.window = max(self.unit, data.grouped * self.budget // max(1, round(float(self.lengths.mean()))))

    def cut(self, order: np.ndarray, epoch: int) -> list[np.ndarray]:
        rng = generator(self.seed, "rows", epoch, 0)
        cut = cut_by_tokens(order, self.lengths, self.budget, self.unit, self.window, rng)
        return [rows[:, None] for rows in cut]


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
