"""The logit lens as something to read: what each layer would say at each place."""

from dataclasses import dataclass
from html import escape

import numpy as np

from model.inspection.lens import LogitLens


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

    def _repr_html_(self) -> str:
        rows = []
        for name, guesses, chances in [*zip(self.lens.names, self.guesses, self.probabilities, strict=True)][::-1]:
            cells = "".join(
                f'<td title="{chance:.3f}" style="background:rgba(40,121,184,{0.75 * chance:.2f})">{escape(guess)}</td>'
                for guess, chance in zip(guesses, chances, strict=True)
            )
            rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
        head = "".join(f"<th>{escape(word)}</th>" for word in self.words)
        return f'<div style="overflow-x:auto"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'
