"""Seeded nonsense with the shape of prose: words by Zipf's law, sentences, documents of uneven length.

Each document keeps to a handful of topic words, so that context says something about a hidden word. It draws with
`random.Random`, whose stream Python promises to keep.
"""

import random
from collections.abc import Iterator
from itertools import accumulate

from data.sources import Synthetic

DOCUMENT_BYTES = 430  # of a document, about
_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "st", "tr", "kl")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou")


def read(source: Synthetic) -> Iterator[str]:
    """The documents of a synthetic source, the same on every machine."""
    words = _words(random.Random(source.seed), 2_000)
    weights = list(accumulate(1.0 / (rank + 3) for rank in range(len(words))))
    for number in range(source.documents):
        draw = random.Random(f"{source.seed}/{number}")
        topic = draw.choices(words, k=12)
        sentences = []
        for _ in range(draw.randint(2, 4 + int(8 * draw.random() ** 3 * 4))):
            length = draw.randint(4, 16)
            chosen = draw.choices(words, cum_weights=weights, k=length)
            chosen = [draw.choice(topic) if draw.random() < 0.4 else word for word in chosen]
            sentences.append(" ".join(chosen).capitalize() + ".")
        yield " ".join(sentences)


def _words(draw: random.Random, count: int) -> list[str]:
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(draw.choice(_ONSETS) + draw.choice(_VOWELS) for _ in range(draw.randint(1, 3)))] = None
    return list(words)
