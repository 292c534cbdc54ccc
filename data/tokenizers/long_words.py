"""Long words cut before a vocabulary is trained on them, as SentencePiece cuts its lines; encoding cuts nothing."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

LONGEST = 1_000  # characters of a word that merges are counted in


class Words(NamedTuple):
    """Runs of characters that hold every word of a tokenizer: whole, and half as long as the longest word."""

    run: re.Pattern[str]
    half: re.Pattern[str]

    @staticmethod
    def of(*classes: str) -> "Words":
        return Words(*(re.compile("|".join(one + count for one in classes)) for count in ("++", f"{{{LONGEST // 2}}}")))


# GPT-2's pattern keeps together letters, numbers, white space, and everything else.
GPT2 = Words.of(r"[^\W_]", r"(?:[^\w\s]|_)", r"\s")
# BERT, in text that it has normalised: whatever is neither white space nor punctuation, of which the commonest is named here.
BERT = Words.of(r"[^\s!-/:-@\[-`{-~\u2010-\u2027\u3001-\u3003\u3008-\u3011\u30fb\uff01\uff0c\uff0e\uff1f]")


def cut_long_words(texts: Iterable[str], words: Words) -> Iterator[str]:
    """The texts, each cut behind every thousandth character of a run that a tokenizer may take for one word.

    Merging pairs in a word takes time in the square of its length; a vocabulary learns nothing from how a run of
    base64 or of blanks goes on. Texts without such a run stay as they are.

    >>> [len(piece) for piece in cut_long_words(["a short one", "x" * 2_500], GPT2)]
    [11, 1000, 1000, 500]
    """
    for text in texts:
        start = 0
        for run in words.run.finditer(text) if _may_hold_one(text, words) else ():
            for end in range(run.start() + LONGEST, run.end() + 1, LONGEST):
                yield text[start:end]
                start = end
        if start < len(text) or not text:
            yield text[start:]


def _may_hold_one(text: str, words: Words) -> bool:
    """Whether a long word is possible: it fills one of the half as long pieces at every five hundredth character."""
    half = LONGEST // 2
    return any(words.half.fullmatch(text, at, at + half) for at in range(0, len(text) - half + 1, half))
