"""Where words start, told by a table over the vocabulary, alike for every kind of tokenizer.

A word is what BERT's basic tokenizer calls one: a run of characters without white space, in which each punctuation
mark and each Chinese character is a word by itself. Whether a token starts a word depends on its own first character
and on the last character of the token before it, so two small codes a token decide it:

    first:  BEGINS     white space comes before it, so it starts a word whatever was there before
            ALONE      it opens with punctuation or a Chinese character: starts a word too
            LETTER     it opens inside a run: starts a word only where the run was broken before it
            CONTINUES  it carries on the token before it (WordPiece's ##, the later bytes of a character)
    last:   OPEN       the run goes on after it
            CLOSED     the next token starts a word
            SAME       as the token before it: it carries on a character and ends with it

Byte-level vocabularies cut characters apart. Such a token has the code SPLIT, and its character is put together from
the tokens that follow before it is judged.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

BEGINS, ALONE, LETTER, CONTINUES, SPLIT = range(5)
OPEN, CLOSED, SAME = range(3)


@dataclass(frozen=True, eq=False)
class WordTable:
    """The two codes of each id; `starts` reads them. Small arrays, so that loader workers get them cheaply."""

    first: np.ndarray  # int8[V]
    last: np.ndarray  # int8[V]
    cut: dict[int, bytes]  # the bytes of the ids that begin or end inside a character

    @staticmethod
    def of(codes: Sequence[tuple[int, int]], surfaces: Sequence[bytes]) -> "WordTable":
        """The table of a vocabulary, from the codes and the bytes of each id."""
        first, last = np.array(codes, np.int8).reshape(-1, 2).T
        ends_inside = (last == SPLIT).tolist()
        cut = {i: s for i, s in enumerate(surfaces) if s and (ends_inside[i] or _carries_on(s[0]))}
        return WordTable(first.copy(), last.copy(), cut)

    def starts(self, ids: np.ndarray) -> np.ndarray:
        """True where a word starts. ids int[n], result bool[n]; the first token of a text always starts one."""
        if not len(ids):
            return np.zeros(0, bool)
        first, last = self.first[ids], self.last[ids]
        for place in np.flatnonzero(last == SPLIT).tolist():
            alone = _alone(self._character(ids, place))
            last[place] = CLOSED if alone else OPEN
            if first[place] == SPLIT:
                first[place] = ALONE if alone else LETTER
        # A token that only carries on a character leaves things as the nearest token before it did.
        known = np.maximum.accumulate(np.where(last != SAME, np.arange(len(ids)), 0))
        closed = last[known] == CLOSED
        starts = (first == BEGINS) | (first == ALONE)
        starts[1:] |= (first[1:] == LETTER) & closed[:-1]
        starts[0] = True
        return starts

    def _character(self, ids: np.ndarray, place: int) -> bytes:
        """The character that begins in the token at `place` and ends in a later one."""
        character = _tail(self.cut[int(ids[place])]) or b""
        for index in ids[place + 1 :].tolist():
            more = self.cut.get(index, b"")
            needed = _length(character[0]) - len(character)
            if not needed or not more or not _carries_on(more[0]):
                break
            character += more[:needed]
        return character


@lru_cache(maxsize=65_536)
def stands_alone(character: str) -> bool:
    """Whether BERT makes a word of this character by itself: punctuation or a CJK ideograph.

    >>> [stands_alone(character) for character in "a1-世é"]
    [False, False, True, True, False]
    """
    code = ord(character)
    if code < 128:
        return not (character.isalnum() or character.isspace() or code < 33 or code == 127)
    ideographs = (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0xF900, 0xFAFF), (0x20000, 0x2CEAF), (0x2F800, 0x2FA1F)
    return any(low <= code <= high for low, high in ideographs) or unicodedata.category(character).startswith("P")


def code_text(surface: bytes) -> tuple[int, int]:
    """The codes of a token that stands for these bytes of text, its leading space included.

    >>> code_text(b" the") == (BEGINS, OPEN), code_text(b"the") == (LETTER, OPEN), code_text(b",") == (ALONE, CLOSED)
    (True, True, True)
    """
    tail = _tail(surface)
    if tail is None:
        return (CONTINUES if surface else LETTER), SAME
    split = len(tail) < _length(tail[0])
    if surface[0] in b" \t\n\r\v\f":
        first = BEGINS
    elif _carries_on(surface[0]):
        first = CONTINUES
    elif split and tail == surface:
        first = SPLIT
    else:
        first = ALONE if _alone(surface[: _length(surface[0])]) else LETTER
    if split:
        return first, SPLIT
    # A space by itself belongs to the word after it, as it does in " the"; any other white space is a word.
    blank = tail.isspace() and tail != b" "
    return first, CLOSED if blank or _alone(tail) else OPEN


def _alone(character: bytes) -> bool:
    try:
        return stands_alone(character.decode("utf-8"))
    except (UnicodeDecodeError, TypeError):  # cut off at the end of a row
        return False


def _carries_on(byte: int) -> bool:
    return 0x80 <= byte < 0xC0


def _length(lead: int) -> int:
    """Bytes of the UTF-8 character that begins with this one."""
    return 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


def _tail(surface: bytes) -> bytes | None:
    """The bytes of the last character, from its first byte on; None where that lies in an earlier token."""
    for back in range(1, min(4, len(surface)) + 1):
        if not _carries_on(surface[-back]):
            return surface[-back:]
    return None
