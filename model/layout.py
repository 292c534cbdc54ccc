"""How a published tensor lies, and how ours does: the axes of both in letters, read one way to load and the other to save.

    "F D -> D F"                a matrix of torch, stored (out, in)
    "(N H) D -> D N H"          the same for queries, its rows being heads and their channels
    "D (P N H) -> D N H"        GPT-2's queries, keys and values side by side: P of them, of which one is wanted
    "D C Y X -> (C Y X) D"      a convolution over patches

A letter is an axis, a group in brackets is one axis of the product of its sizes, 1 is an axis of size one. What is only on
the left is P or 1. Nothing is computed, so both ways are exact.
"""

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

PARTS, ONE = "P", "1"
Group = tuple[str, ...]
Letters = dict[str, int]


class Layout(NamedTuple):
    """Axes of a published tensor and of ours, each a group of letters."""

    theirs: tuple[Group, ...]
    ours: tuple[Group, ...]

    def sizes(self, shape: tuple[int, ...], known: Mapping[str, int] = {}) -> Letters:
        """The size of every letter, from the shape of our array and those that are `known` beside it.

        >>> layout("(N H) D -> D N H").sizes((6, 4, 2))
        {'1': 1, 'D': 6, 'N': 4, 'H': 2}
        """
        sizes: Letters = {ONE: 1}
        for group, size in zip(self.ours, shape, strict=True):
            if len(group) == 1 and group[0] != ONE:
                sizes[group[0]] = size
        for letter in {letter for group in self.theirs for letter in group} - set(sizes):
            sizes[letter] = known[letter]
        if self._shape(self.ours, sizes) != tuple(shape):
            raise ValueError(f"{self}: our shape {tuple(shape)} does not fit the sizes {sizes}")
        return sizes

    def published_shape(self, sizes: Letters) -> tuple[int, ...]:
        """The shape of the published tensor.

        >>> layout("D (P N H) -> D N H").published_shape({"D": 6, "N": 4, "H": 2, "P": 3})
        (6, 24)
        """
        return self._shape(self.theirs, sizes)

    def lead(self, sizes: Letters) -> str:
        """The slowest axis of the published tensor: parts of it along this axis lie together in the file."""
        letters = [letter for group in self.theirs for letter in group if letter not in (PARTS, ONE)]
        return next((letter for letter in letters if sizes[letter] > 1), letters[0] if letters else ONE)

    def pieces(self, sizes: Letters, most: int, part: int = 0) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """Cut into pieces of about `most` elements along the slowest axis: where each lies in the published tensor, and
        where in our array.

        >>> layout("F D -> D F").pieces({"F": 4, "D": 5}, most=12)[0]
        ((slice(0, 2, None), slice(0, 5, None)), (slice(0, 5, None), slice(0, 2, None)))
        """
        lead = self.lead(sizes)
        rest = math.prod(sizes[letter] for group in self.ours for letter in group if letter != lead)
        step = max(1, most // max(rest, 1))
        return [
            (
                tuple(self._extent(group, sizes, lead, low, high, part) for group in self.theirs),
                tuple(self._extent(group, sizes, lead, low, high, part) for group in self.ours),
            )
            for low in range(0, sizes[lead], step)
            for high in (min(low + step, sizes[lead]),)
        ]

    def read(self, piece: np.ndarray, sizes: Letters) -> np.ndarray:
        """A piece of the published tensor as the piece of our array, a view of it where that is possible."""
        sizes = self._of_piece(sizes, piece.size)
        left = [letter for group in self.theirs for letter in group if letter not in (PARTS, ONE)]
        right = [letter for group in self.ours for letter in group if letter != ONE]
        parted = piece.reshape([sizes[letter] for letter in left])
        return parted.transpose([left.index(letter) for letter in right]).reshape(self._shape(self.ours, sizes))

    def write(self, array: np.ndarray, sizes: Letters) -> np.ndarray:
        """Our array as the published tensor; one part of it where there are several."""
        left = [letter for group in self.theirs for letter in group if letter not in (PARTS, ONE)]
        right = [letter for group in self.ours for letter in group if letter != ONE]
        parted = array.reshape([sizes[letter] for letter in right])
        moved = parted.transpose([right.index(letter) for letter in left])
        return moved.reshape(self._shape(self.theirs, {**sizes, PARTS: 1}))

    def parts_axis(self) -> int | None:
        """The axis of the published tensor along which parts lie side by side."""
        return next((axis for axis, group in enumerate(self.theirs) if PARTS in group), None)

    def _extent(self, group: Group, sizes: Letters, lead: str, low: int, high: int, part: int) -> slice:
        start = 0
        if group[0] == PARTS:
            group = group[1:]
            start = part * math.prod(sizes[letter] for letter in group)
        if group and group[0] == lead:
            rest = math.prod(sizes[letter] for letter in group[1:])
            return slice(start + low * rest, start + high * rest)
        return slice(start, start + math.prod(sizes[letter] for letter in group))

    def _of_piece(self, sizes: Letters, size: int) -> Letters:
        lead = self.lead(sizes)
        rest = math.prod(sizes[letter] for group in self.ours for letter in group if letter != lead)
        return {**sizes, PARTS: 1, lead: size // max(rest, 1)}

    @staticmethod
    def _shape(groups: tuple[Group, ...], sizes: Letters) -> tuple[int, ...]:
        return tuple(math.prod(sizes[letter] for letter in group) for group in groups)


@cache
def layout(text: str) -> Layout:
    """Read a layout from its one line.

    >>> layout("(N H) D -> D N H")
    Layout(theirs=(('N', 'H'), ('D',)), ours=(('D',), ('N',), ('H',)))
    """
    sides = []
    for side in text.split("->"):
        groups = re.findall(r"\(([^)]*)\)|(\S)", side)
        sides.append(tuple(tuple(group.split()) if group else (letter,) for group, letter in groups))
    theirs, ours = sides
    left, right = ({letter for group in side for letter in group} for side in sides)
    if left - {PARTS, ONE} != right - {ONE}:
        raise ValueError(f"{text}: the letters of both sides must be the same but for {PARTS} and {ONE}")
    return Layout(theirs, ours)
