"""Which texts share batch n, where batches differ in how many they hold: an epoch is cut as a whole, in an order of its own."""

import math
from abc import ABC, abstractmethod
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from data.batch import PADDING_ROW
from data.randomness import permute


class Planned(NamedTuple):
    """A batch of an epoch."""

    texts: np.ndarray  # int64[B, K], the texts of each row, PADDING_ROW behind them
    begin: int  # texts of the epoch before it


class EpochPlan(ABC):
    """Batch n as a function of n. Every epoch holds every text once and ends with a batch that is filled up."""

    def __init__(self, lengths: np.ndarray, seed: int):
        self.lengths, self.seed = lengths, seed  # int[texts], tokens of each
        self._epochs: dict[int, list[Planned]] = {}
        self._ends: list[int] = []  # of each epoch from the first on, in batches

    @abstractmethod
    def cut(self, order: np.ndarray, epoch: int) -> list[np.ndarray]:
        """The batches, int64[B, K] each, of texts that were put in the order of an epoch, int64[texts]."""

    def epoch(self, number: int) -> list[Planned]:
        """The batches of an epoch; the last two epochs that were asked for are kept."""
        if number not in self._epochs:
            cut = self.cut(permute(np.arange(len(self.lengths)), len(self.lengths), self.seed, number), number)
            begins = accumulate((int((texts != PADDING_ROW).sum()) for texts in cut[:-1]), initial=0)
            planned = [Planned(texts, begin) for texts, begin in zip(cut, begins, strict=True)]
            self._epochs = {kept: self._epochs[kept] for kept in list(self._epochs)[-1:]} | {number: planned}
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
