"""Randomness as a function of its key: no stream is ever advanced, so nothing needs to be saved or replayed.

A key is (seed, purpose, epoch, number). Order of documents, plan of a window and masks of a row each have their own
purpose, so that they never share a stream.
"""

from typing import Literal, TypeAlias

import numpy as np

Purpose: TypeAlias = Literal["order", "plan", "rows", "corrupt"]
PURPOSES: dict[str, int] = {"order": 1, "plan": 2, "rows": 3, "corrupt": 4}

_WORD = 2**64 - 1


def generator(seed: int, purpose: Purpose, epoch: int, number: int) -> np.random.Generator:
    """Philox (Salmon et al., SC 2011), whose key is our key; the purpose sits in the counter's top word.

    >>> bool(generator(0, "corrupt", 3, 14).random() == generator(0, "corrupt", 3, 14).random())
    True
    """
    key = np.array([seed & _WORD, ((epoch & 0xFFFFFFFF) << 32) | (number & 0xFFFFFFFF)], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, PURPOSES[purpose]], np.uint64)))


def permute(places: np.ndarray, count: int, seed: int, epoch: int, stream: int = 0) -> np.ndarray:
    """Where each of `places` goes in a keyed permutation of range(count), without writing that permutation down.

    A Feistel network over the next power of four, walked until it falls inside the range; six rounds of a 64-bit mixer.
    `stream` separates permutations of one seed and epoch. places, result: int64[n].

    >>> sorted(permute(np.arange(10), 10, seed=0, epoch=0).tolist()) == list(range(10))
    True
    """
    if count <= 1:
        return np.zeros_like(places, dtype=np.int64)
    half = np.uint64(((count - 1).bit_length() + 1) // 2)
    low = np.uint64((1 << int(half)) - 1)
    root = mix(mix(np.uint64(seed & _WORD)) ^ np.uint64(((epoch & 0xFFFFFFFF) << 32) | (stream & 0xFFFFFFFF)))
    keys = [mix(root ^ np.uint64(number + 1)) for number in range(6)]

    def network(value: np.ndarray) -> np.ndarray:
        left, right = value >> half, value & low
        for key in keys:
            left, right = right, left ^ (mix(right ^ key) & low)
        return (left << half) | right

    result = network(places.astype(np.uint64))
    outside = np.flatnonzero(result >= np.uint64(count))
    while outside.size:
        result[outside] = network(result[outside])
        outside = outside[result[outside] >= np.uint64(count)]
    return result.astype(np.int64)


def mix(value):
    """Scramble 64-bit words: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        value = np.uint64(0x9E3779B97F4A7C15) + value
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))
