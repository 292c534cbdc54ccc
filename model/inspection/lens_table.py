"""The logit lens as something to read: what each layer would say at each place."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from model.inspection.lens import LogitLens
from model.inspection.markup import pages


@dataclass(frozen=True, eq=False)
class LensTable:
    """The likeliest token after the embeddings and each layer, at each place of one text.

    Attributes:
        lens: all logits; `lens.rank(...)` and `lens.probability(...)` ask for other tokens.
        words: what stands at each place.
        guesses: the likeliest tokens as words, [E T].
        probabilities: theirs, [E T].
    """

    lens: LogitLens
    words: tuple[str, ...]
    guesses: tuple[tuple[str, ...], ...]
    probabilities: np.ndarray

    def __repr__(self) -> str:
        width = min(max(len(word) for row in (self.words, *self.guesses) for word in row), 12)
        shown = slice(0, 14)  # a line of a terminal

        def line(name: str, row: tuple[str, ...]) -> str:
            return f"{name:>10}  " + " ".join(word[:width].ljust(width) for word in row[shown])

        more = [] if len(self.words) <= 14 else [f"{'':>10}  and {len(self.words) - 14} more places"]
        layers = [line(name, row) for name, row in zip(self.lens.names, self.guesses, strict=True)]
        return "\n".join([line("text", self.words), *layers[::-1], *more])

    def _repr_html_(self) -> Markup:
        layers = [*zip(self.lens.names, self.guesses, self.probabilities, strict=True)][::-1]
        rows = [
            (
                name,
                [
                    (guess, f"{chance:.3f}", f"{0.75 * chance:.2f}")
                    for guess, chance in zip(guesses, chances, strict=True)
                ],
            )
            for name, guesses, chances in layers
        ]
        return pages(Path(__file__).parent / "viewer")("tables", "lens", self.words, rows)
