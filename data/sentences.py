"""Documents to ids, with the places where sentences end: what sentence pairs and packing are planned from.

A document may be a pair of texts, a source and its target with PAIR between them: it ends twice.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from data.errors import DataError
from data.tokenizers import Tokenizer

PAIR = "\x1e"  # the record separator: between the source and the target of a document that is a pair of texts
LONGEST_SENTENCE = 64  # tokens; longer ones are cut, so that two or more fit into a row of 128

_BREAK = re.compile(
    r"""
      [.!?\u2026]+ ["'\u201d\u2019)\]*`]* (?= \s+ [^a-z\s] )          # a sentence ends, and no small letter follows
    | [\u3002\uff01\uff1f]+ [\u201d\u2019\u300d\u300f\uff09]*         # Chinese and Japanese: no white space needed
    | \S (?= [ \t]* \n [ \t]* \n )                                   # a blank line
    | \S (?= [ \t]* \n [ \t]* (?: [-*+\u2022] | \d+[.)] | >>> ) [ ] )  # an item of a list, an example
    """,
    re.VERBOSE,
)
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|etc|Mr|Mrs|Ms|Dr|Prof|St|No|Fig|al|[A-Z]))\.$")


class Encoded(NamedTuple):
    """A document as ids, and the places where its sentences end; the last end is the number of ids.

    A pair of texts is the ids of the source and then those of the target, and ends after each of them.
    """

    ids: np.ndarray  # int32[n]
    ends: np.ndarray  # int32[m], increasing


def split_sentences(text: str) -> list[str]:
    """Cut a text into sentences; joined again they are the text, so the space between two opens the second.

    >>> split_sentences("It works, e.g. Here. And\\nthere!  Does it?\\n\\n- yes\\n- no")
    ['It works, e.g. Here.', ' And\\nthere!', '  Does it?', '\\n\\n- yes', '\\n- no']
    """
    cuts = [0]
    for match in _BREAK.finditer(text):
        start = match.start()
        if text[start] == "." and _ABBREVIATION.search(text, max(0, start - 8), start + 1):
            continue
        cuts.append(match.end())
    if text[cuts[-1] :].strip() or len(cuts) == 1:
        cuts.append(len(text))
    else:
        cuts[-1] = len(text)
    return [text[start:stop] for start, stop in pairwise(cuts) if stop > start]


def split_pair(text: str) -> list[str]:
    """The source and the target of a pair of texts; empty for a document that is none.

    >>> split_pair("eins" + PAIR + "one"), split_pair("one")
    (['eins', 'one'], [])
    """
    if PAIR not in text:
        return []
    sides = text.split(PAIR)
    if len(sides) != 2:
        raise DataError(f"a pair of texts has two sides, not {len(sides)}: {text[:80]!r}")
    return sides


def texts_of(document: str) -> list[str]:
    """What a document says: itself, or the two sides of a pair of texts."""
    return split_pair(document) or [document]


def text_bytes(document: str) -> int:
    """The bytes of the text of a document, UTF-8; what stands between the sides of a pair is not text."""
    return len(document.encode("utf-8", "replace")) - document.count(PAIR)


def encode_documents(texts: Sequence[str], tokenizer: Tokenizer) -> list[Encoded]:
    """Tokenise documents sentence by sentence, all in one call of the tokenizer.

    Sentences past LONGEST_SENTENCE tokens are cut evenly where words start. A document of a single sentence is cut
    in two likewise, so that it can make a pair of sentences that follow each other. The two sides of a pair of texts stay
    whole, and so does a text of symbols, which has no sentences.
    """

    def split(text: str) -> list[str]:
        return split_pair(text) or (split_sentences(text) if tokenizer.prose else [text])

    parts = [split(text) for text in texts]
    flat = tokenizer.encode_batch([part for document in parts for part in document])
    encoded, at = [], 0
    for text, document in zip(texts, parts, strict=True):
        pieces = flat[at : at + len(document)]
        at += len(document)
        ids = np.concatenate(pieces) if pieces else np.zeros(0, np.int32)
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int32)
        if PAIR in text:
            if not all(map(len, pieces)):
                raise DataError(f"the tokenizer leaves nothing of one side of the pair {text[:80]!r}; remove that pair")
        else:
            ends = np.unique(ends[ends > 0])
            ends = _even_out(ids, ends, tokenizer) if tokenizer.prose else ends
        encoded.append(Encoded(ids, ends))
    return encoded


def _even_out(ids: np.ndarray, ends: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    lengths = np.diff(ends, prepend=0)
    pieces = -(-lengths // LONGEST_SENTENCE)
    if len(ends) == 1:
        pieces = np.maximum(pieces, 2)
    if not (pieces > 1).any():
        return ends
    starts = np.flatnonzero(tokenizer.word_starts(ids))
    wanted = [
        begin + length * part // count
        for begin, length, count in zip((ends - lengths).tolist(), lengths.tolist(), pieces.tolist(), strict=True)
        for part in range(1, count)
    ]
    after = np.searchsorted(starts, wanted)
    near = starts[np.minimum(after, len(starts) - 1)]
    before = starts[np.maximum(after - 1, 0)]
    cuts = np.where(np.abs(near - wanted) <= np.abs(before - wanted), near, before)
    return np.unique(np.concatenate([cuts[cuts > 0], ends])).astype(np.int32)
