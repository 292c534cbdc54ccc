"""Where words start, told by a table over the vocabulary, alike for every kind of tokenizer.

A word is what BERT's basic tokenizer calls one: a run of characters without white space, in which each punctuation
mark and each Chinese character is a word by itself. Whether a token starts a word depends on its own first character
and on the last character of the token before it, so two small codes a token decide it:

    first:  BEGINS     white space comes before it, so it starts a word whatever was there before
            ALONE      it opens with punctuation or a Chinese character: starts a word too
            LETTER     it opens inside a run: starts a word only where the run was broken before it
            CONTINUES  it carries on the token before it (WordPiece's ##, the later bytes of a character)
    last:   OPEN       the run goes on after it            CLOSED     the next token starts a word
            SAME       as the token before it (it ends inside a character, which only that token can classify)
"""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

BEGINS, ALONE, LETTER, CONTINUES = range(4)
OPEN, CLOSED, SAME = range(3)


@dataclass(frozen=True, eq=False)
class WordTable:
    """The two codes of each id; `starts` reads them. Small arrays, so that loader workers get them cheaply."""

    first: np.ndarray  # int8[V]
    last: np.ndarray  # int8[V]

    def starts(self, ids: np.ndarray) -> np.ndarray:
        """True where a word starts. ids int[n], result bool[n]; the first token of a text always starts one."""
        if not len(ids):
            return np.zeros(0, bool)
        first, last = self.first[ids], self.last[ids]
        # A token that ends inside a character has the state of the nearest token before it that knows its own.
        known = np.maximum.accumulate(np.where(last != SAME, np.arange(len(ids)), 0))
        closed = last[known] == CLOSED
        starts = (first == BEGINS) | (first == ALONE)
        starts[1:] |= (first[1:] == LETTER) & closed[:-1]
        starts[0] = True
        return starts


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
    if not surface:
        return LETTER, SAME
    head, tail = _whole_character(surface), _last_character(surface)
    if surface[0] in b" \t\n\r\v\f":
        first = BEGINS
    elif 0x80 <= surface[0] < 0xC0:
        first = CONTINUES
    else:
        first = ALONE if _alone(head) else LETTER
    if tail is None:
        return first, SAME
    # A space by itself belongs to the word after it, as it does in " the"; any other white space is a word.
    blank = surface[-1:].isspace() and surface[-1:] != b" "
    return first, CLOSED if blank or _alone(tail) else OPEN


def _alone(character: bytes) -> bool:
    try:
        return stands_alone(character.decode("utf-8"))
    except UnicodeDecodeError:  # the first bytes of a character: 0xE4 to 0xE9 hold all common Chinese ideographs
        return 0xE4 <= character[0] <= 0xE9


def _whole_character(surface: bytes) -> bytes:
    lead = surface[0]
    length = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    return surface[:length]


def _last_character(surface: bytes) -> bytes | None:
    """The bytes of the last character, from its lead byte on; None where that lies in an earlier token."""
    for back in range(1, min(4, len(surface)) + 1):
        if not 0x80 <= surface[-back] < 0xC0:
            return surface[-back:]
    return None
