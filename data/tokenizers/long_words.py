"""Long words cut before a vocabulary is trained on them, as SentencePiece cuts its lines; encoding cuts nothing."""

import re
from collections.abc import Iterable, Iterator

LONGEST = 1_000  # characters of a word that merges are counted in
# What GPT-2's pattern keeps together: letters, digits, other marks, white space.
_LONG, _HALF = (
    re.compile(rf"[^\W\d_]{{{count}}}|\d{{{count}}}|(?:[^\w\s]|_){{{count}}}|\s{{{count}}}")
    for count in (LONGEST, LONGEST // 2)
)


def cut_long_words(texts: Iterable[str]) -> Iterator[str]:
    """The texts, each cut behind every thousandth character of a run that a tokenizer takes for one word.

    Merging pairs in a word takes time in the square of its length; a vocabulary learns nothing from how a run of
    base64 or of blanks goes on. Texts without such a run stay as they are.

    >>> [len(piece) for piece in cut_long_words(["a short one", "x" * 2_500])]
    [11, 1000, 1000, 500]
    """
    for text in texts:
        start = 0
        for found in _LONG.finditer(text) if _may_hold_one(text) else ():
            yield text[start : found.end()]
            start = found.end()
        if start < len(text) or not text:
            yield text[start:]


def _may_hold_one(text: str) -> bool:
    """Whether a long word is possible: it fills one of the half as long pieces at every five hundredth character."""
    half = LONGEST // 2
    return any(_HALF.fullmatch(text, at, at + half) for at in range(0, len(text) - half + 1, half))
