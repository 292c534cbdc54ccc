"""The two sides of a row for models with an encoder and a decoder, filled segment by segment."""

import numpy as np

from data.batch import Row


class Side:
    """One side of a row that is being filled: tokens, positions and segments, int32[length] each."""

    def __init__(self, length: int, pad: int):
        self.tokens = np.full(length, pad, np.int32)
        self.positions, self.segments = np.zeros(length, np.int32), np.zeros(length, np.int32)
        self.at = self.count = 0

    def append(self, ids: np.ndarray) -> None:
        """Put the next segment behind the last one."""
        self.count += 1
        here = slice(self.at, self.at + len(ids))
        self.tokens[here], self.positions[here], self.segments[here] = ids, np.arange(len(ids)), self.count
        self.at += len(ids)


def from_sides(source: Side, target: Side, *, start: int, labels: dict[str, np.ndarray]) -> Row:
    """The row in which a decoder reads each target behind a start token and is asked for all of it."""
    used = target.segments > 0
    inputs = np.roll(target.tokens, 1)
    inputs[(target.positions == 0) & used] = start
    inputs[~used] = target.tokens[~used]
    return Row(
        tokens=inputs,
        positions=target.positions,
        segments=target.segments,
        token_types=None,
        labels=labels | {"next_targets": target.tokens, "next_weights": used.astype(np.float32)},
        source_tokens=source.tokens,
        source_positions=source.positions,
        source_segments=source.segments,
    )
