"""What a tokenizer puts around one text or two, and where each token lies in the text that it stands for."""

import unicodedata
from typing import NamedTuple

import numpy as np


class Frame(NamedTuple):
    """Ids before the first text, between the texts, and behind the last, with token types: of one text or two.

    >>> frame = Frame((np.array([2]), np.array([3])), (np.array([0]), np.array([0])), (0,))
    >>> frame.size, frame.fill(np.array([7, 8])).ids.tolist()
    (2, [2, 7, 8, 3])
    """

    around: tuple[np.ndarray, ...]  # int32 each, one more than there are texts
    types_around: tuple[np.ndarray, ...]
    types: tuple[int, ...]  # of each text

    @property
    def size(self) -> int:
        """Tokens that are not of a text."""
        return sum(map(len, self.around))

    def fill(self, *texts: np.ndarray) -> "Framed":
        """The texts with what belongs around them."""
        ids, types, starts = [self.around[0]], [self.types_around[0]], []
        for number, text in enumerate(texts):
            starts.append(sum(map(len, ids)))
            ids += [text, self.around[number + 1]]
            types += [np.full(len(text), self.types[number]), self.types_around[number + 1]]
        return Framed(np.concatenate(ids).astype(np.int32), np.concatenate(types).astype(np.int32), tuple(starts))


class Framed(NamedTuple):
    """Texts with special tokens around them: ids and token types, int32[n], and the place of each text's first token."""

    ids: np.ndarray
    types: np.ndarray
    starts: tuple[int, ...]


class Located(NamedTuple):
    """Ids of a text, int32[n], and the characters that each stands for: `text[starts[i]:stops[i]]`.

    White space around is not counted, except where a token is nothing else. Several tokens of one character all have it;
    a token of characters that the text does not have (a space that a tokenizer opens each text with) has none, and stands
    where they would be.
    """

    ids: np.ndarray
    starts: np.ndarray
    stops: np.ndarray


def located(text: str, ids: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> Located:
    """Tokens with their characters, white space around them taken away."""
    starts, stops = starts.astype(np.int32), stops.astype(np.int32)
    blank = np.array([character.isspace() for character in text], bool)
    if blank.any():
        # For each place the next one that is not blank, and the one behind the last before it that is not.
        size = len(text)
        places = np.arange(size)
        ahead = np.minimum.accumulate(np.where(blank, size, places)[::-1])[::-1]
        behind = np.maximum.accumulate(np.where(blank, -1, places)) + 1
        first = np.append(ahead, size)[starts]
        last = np.append(0, behind)[stops]
        inside = first < last
        starts, stops = np.where(inside, first, starts), np.where(inside, last, stops)
    return Located(ids.astype(np.int32), starts.astype(np.int32), stops.astype(np.int32))


def whole_characters(text: str, starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places moved outwards so that no combining mark is parted from its letter.

    For tokenizers that normalise the two together: the library then cannot tell which came from which.

    >>> [places.tolist() for places in whole_characters("e\u0301a", np.array([0, 1, 2]), np.array([1, 2, 3]))]
    [[0, 0, 2], [2, 2, 3]]
    """
    marks = np.array([unicodedata.combining(character) > 0 for character in text] + [False], bool)
    if not marks.any():
        return starts, stops
    places = np.arange(len(marks))
    back = np.maximum.accumulate(np.where(marks, 0, places))
    ahead = np.minimum.accumulate(np.where(marks, len(text), places)[::-1])[::-1]
    return back[starts], np.where(stops > starts, ahead[stops], stops)
