"""Ways of showing a row to a model: one to train on, the others to score held-out rows by.

    train         as the objective says
    as_trained    the same, under the name that a report gives it; at the share that scores hide, where that is another
    all_masked    masked rows: every target becomes [MASK], so that none can be copied from the input
    second_half   next-token rows: as they are, but only the second half of each segment is scored
    shuffled      the tokens that a model may use as context change places: what their order is worth

For one generator the targets are the same in every mode that scores, and in training too where it hides the same share.
"""

from typing import Literal, TypeAlias

import numpy as np

Mode: TypeAlias = Literal["train", "as_trained", "all_masked", "second_half", "shuffled"]


def check_mode(mode: str, known: tuple[str, ...]) -> None:
    """ValueError unless a host half knows this mode."""
    if mode not in known:
        raise ValueError(f"mode={mode!r} is not one of {', '.join(known)}")


def shuffle(tokens: np.ndarray, places: np.ndarray, rng: np.random.Generator) -> None:
    """Let the tokens at these places change places with each other. tokens int[T], changed; places int[n]."""
    tokens[places] = tokens[rng.permutation(places)]
