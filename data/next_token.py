"""The host half of objectives that predict the next token: which targets weigh, and what is a prefix.

Rows come from `data.passages.Continuations`, with `next_targets` and `next_weights` [T] beside the tokens.
"""

import numpy as np

from data.batch import Row, segment_spans
from data.errors import DataError
from data.modes import Mode, check_mode, shuffle
from data.tokenizers.interface import Tokenizer


class NextTokens:
    """Chooses the targets that weigh: `NextTokens(tokenizer, answer_after="=")(row, rng)`.

    With `answer_after`, a token by its name, only what follows its last occurrence in each segment weighs. In mode
    `second_half` only the second half of each segment weighs; in mode `shuffled` that too, and the ordinary tokens of the
    first half change places: no target that weighs is among them.
    """

    modes = ("train", "as_trained", "second_half", "shuffled")

    def __init__(self, tokenizer: Tokenizer, answer_after: str | None = None, mode: Mode = "train"):
        check_mode(mode, self.modes)
        self.mode = mode
        self.answer_after = None if answer_after is None else token_named(answer_after, tokenizer)
        self.ordinary = np.isin(np.arange(tokenizer.vocab_size), tokenizer.ordinary)  # [V]

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """The row with its weights, 0 for a target that is not asked for."""
        if self.answer_after is None and self.mode in ("train", "as_trained"):
            return row
        tokens, weights = row.tokens.copy(), row.labels["next_weights"].copy()
        for start, stop in segment_spans(row.segments):
            if self.answer_after is not None:
                found = np.flatnonzero(row.tokens[start:stop] == self.answer_after)
                weights[start : start + found[-1] if len(found) else stop] = 0.0
            if self.mode in ("second_half", "shuffled"):
                half = start + (stop - start + 1) // 2
                weights[start:half] = 0.0
                if self.mode == "shuffled":
                    shuffle(tokens, start + np.flatnonzero(self.ordinary[tokens[start:half]]), rng)
        return row._replace(tokens=tokens, labels=row.labels | {"next_weights": weights})


class Prefixes:
    """Makes the beginning of each segment a prefix, which is seen from everywhere in it; what follows is predicted.

    Of the n tokens of a segment, its last target included, the first k are the prefix, k uniform in 1 ... n - 1. In mode
    `shuffled` the ordinary tokens of each prefix change places.
    """

    modes = ("train", "as_trained", "shuffled")

    def __init__(self, tokenizer: Tokenizer, mode: Mode = "train"):
        check_mode(mode, self.modes)
        self.mode = mode
        self.ordinary = np.isin(np.arange(tokenizer.vocab_size), tokenizer.ordinary)  # [V]

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """The row with `prefix` bool[T], and weights of 0 for targets that lie in the prefix."""
        tokens, weights = row.tokens.copy(), row.labels["next_weights"].copy()
        prefix = np.zeros(len(tokens), bool)
        spans = segment_spans(row.segments)
        lengths = rng.integers(1, [stop - start + 1 for start, stop in spans]) if spans else []
        for (start, _), length in zip(spans, lengths, strict=True):
            prefix[start : start + length] = True
            weights[start : start + length - 1] = 0.0
            if self.mode == "shuffled":
                shuffle(tokens, start + np.flatnonzero(self.ordinary[tokens[start : start + length]]), rng)
        return row._replace(tokens=tokens, labels=row.labels | {"next_weights": weights}, prefix=prefix)


def token_named(name: str, tokenizer: Tokenizer) -> int:
    """The id of a token by its name, with or without the mark of a leading space; DataError if there is none."""
    for piece in (name, f"\u2581{name}", f"\u0120{name}"):
        if piece in tokenizer.pieces:
            return tokenizer.pieces.index(piece)
    raise DataError(f"the vocabulary has no token {name!r} to answer after; name one of its tokens, such as "
                    f"{', '.join(repr(tokenizer.token(i)) for i in tokenizer.ordinary[:3])}")  # fmt: skip
