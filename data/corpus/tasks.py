"""The documents of synthetic tasks, the same on every machine: they draw the raw words of Philox (SC 2011).

Numbers below n are the words modulo n, whose bias of n / 2^64 nobody will see; no distribution of numpy, which may change
from version to version, is asked for.
"""

from collections.abc import Iterator

import numpy as np

from data.sentences import PAIR
from data.synthetic_tasks import SIGNS, CopyTask, ModularArithmetic, RepeatedBlocks, Task

TOGETHER = 4_096  # documents drawn at once; part of what decides them. A task of fewer begins like one of more


def read(task: Task) -> Iterator[str]:
    """The documents of a task, symbols separated by spaces."""
    match task:
        case ModularArithmetic():
            return _equations(task)
        case RepeatedBlocks():
            return _repeated_blocks(task)
        case CopyTask():
            return _copies(task)
    raise TypeError(f"{task!r} is not a task")


def characters(task: Task) -> int:
    """About how many characters the documents of a task have together."""
    match task:
        case ModularArithmetic():
            return task.prime**2 * (6 + 3 * len(str(task.prime)))
        case RepeatedBlocks():
            return task.documents * task.length * (1 + len(str(task.vocabulary)))
        case CopyTask():
            return task.documents * task.longest * 2 * (1 + len(str(task.vocabulary)))
    raise TypeError(f"{task!r} is not a task")


def _equations(task: ModularArithmetic) -> Iterator[str]:
    p, sign = task.prime, SIGNS[task.operation]
    for a in range(p):
        for b in range(1 if task.operation == "divide" else 0, p):
            c = {"add": a + b, "subtract": a - b, "multiply": a * b, "divide": a * pow(b, p - 2, p)}[task.operation] % p
            yield f"{a} {sign} {b} = {c}"


def _repeated_blocks(task: RepeatedBlocks) -> Iterator[str]:
    names = [str(symbol) for symbol in range(task.vocabulary)]
    for blocks, lengths in _drawn(task):
        places = np.arange(task.length) % lengths[:, None]
        for row in np.take_along_axis(blocks, places, axis=1).tolist():
            yield " ".join([names[symbol] for symbol in row])


def _copies(task: CopyTask) -> Iterator[str]:
    names = [str(symbol) for symbol in range(task.vocabulary)]
    for symbols, lengths in _drawn(task):
        for row, length in zip(symbols.tolist(), lengths.tolist(), strict=True):
            source = row[:length]
            target = {"copy": source, "reverse": source[::-1], "sort": sorted(source)}[task.kind]
            yield " ".join([names[s] for s in source]) + PAIR + " ".join([names[s] for s in target])


def _drawn(task: RepeatedBlocks | CopyTask) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Symbols int64[n, longest] of the next n documents, and how many of them each uses, int64[n]."""
    for number, start in enumerate(range(0, task.documents, TOGETHER)):
        bits = np.random.Philox(key=np.array([task.seed, number], np.uint64))
        lengths = task.shortest + bits.random_raw(TOGETHER) % np.uint64(task.longest - task.shortest + 1)
        symbols = bits.random_raw((TOGETHER, task.longest)) % np.uint64(task.vocabulary)
        count = min(TOGETHER, task.documents - start)
        yield symbols[:count].astype(np.int64), lengths[:count].astype(np.int64)
