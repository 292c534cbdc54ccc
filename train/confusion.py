"""A confusion matrix as a picture: an inline SVG of tinted squares, rows what is right, columns what was said.

A square is tinted by the root of its share of its row, so that rare mistakes are seen too, right ones in one tone and wrong ones
in another, and holds the count while classes are few. Nothing rests on colour alone: the diagonal is what is right, every
square has its words, and the commonest mistakes are written out beneath.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from markupsafe import Markup

from train.page import fill

MOST_NUMBERS, MOST_NAMES = 16, 40  # classes with counts in the squares, and with names beside them
STRONGEST = 0.5  # of a tint: the text on it keeps its contrast, light and dark
LONGEST = 18  # letters of a name


def draw_confusion(ident: str, counts: Int[np.ndarray, "C C"], labels: Sequence[str]) -> Markup:
    """The figure of a matrix of counts [right, said]."""
    classes = len(labels)
    size = 76 if classes <= 4 else 46 if classes <= MOST_NUMBERS else 20 if classes <= MOST_NAMES else 8
    named = classes <= MOST_NAMES
    names = [shortened(label) for label in labels]
    side = 16 + 7.2 * max(map(len, names)) if named else 16
    tilted = named and max(map(len, names)) * 7.2 > size - 4
    top = 18 + (0.72 * side if tilted else 22 if named else 4)
    right = 0.72 * side if tilted else 8
    width, height = side + classes * size + right, top + classes * size + 8
    totals = np.maximum(counts.sum(axis=1), 1)
    whole = {"x": f"{side:.0f}", "y": f"{top:.0f}", "size": classes * size}
    squares = []
    for row in range(classes):
        for column in range(classes):
            if classes > MOST_NUMBERS and not counts[row, column]:
                continue  # of hundreds of classes nearly all squares are empty
            count, share = int(counts[row, column]), counts[row, column] / totals[row]
            x, y = side + column * size, top + row * size
            told = f"{labels[row]} taken for {labels[column]}" if row != column else f"{labels[row]} found"
            squares.append(
                {
                    "told": f"{told}: {count:,}, {share:.0%} of {int(counts[row].sum()):,}",
                    "kind": "right" if row == column else "wrong",
                    "x": f"{x:.0f}",
                    "y": f"{y:.0f}",
                    "size": size - 1,
                    "opacity": f"{STRONGEST * share**0.5:.3f}",
                    "middle": f"{x + size / 2 - 0.5:.1f}",
                    "base": f"{y + size / 2 + 4:.1f}",
                    "count": brief(count) if classes <= MOST_NUMBERS else "",
                }
            )
    beside = []
    for at, name in enumerate(names if named else ()):
        middle = at * size + size / 2
        beside.append(written(name, side - 8, top + middle + 4, "end", places=0))
        x, y = side + middle, top - 8
        beside.append(written(name, x, y, "start" if tilted else "middle", tilted=tilted))
    axes = {"said": f"{side if named else side + 48:.0f}", "right": f"{top - 8:.0f}"}
    size_of = (f"{width:.0f}", f"{height:.0f}")
    return fill(
        "tasks",
        "confusion",
        ident,
        *size_of,
        spoken(counts, labels),
        whole,
        squares,
        beside,
        axes,
        mistakes(counts, labels),
    )


def written(text: str, x: float, y: float, anchor: str, *, places: int = 1, tilted: bool = False) -> dict[str, str]:
    """A name beside the squares."""
    turn = f"rotate(-42 {x:.1f} {y:.1f})" if tilted else ""
    return {"text": text, "x": f"{x:.{places}f}", "y": f"{y:.1f}", "anchor": anchor, "turn": turn}


def commonest(counts: Int[np.ndarray, "C C"], most: int = 5) -> list[tuple[int, int, int]]:
    """(right, said, count) of the commonest mistakes.

    >>> commonest(np.array([[5, 2], [3, 9]]))
    [(1, 0, 3), (0, 1, 2)]
    """
    wrong = [(int(r), int(c), int(counts[r, c])) for r, c in np.argwhere(counts > 0) if r != c]
    return sorted(wrong, key=lambda found: -found[2])[:most]


def mistakes(counts: Int[np.ndarray, "C C"], labels: Sequence[str]) -> str:
    """The commonest mistakes in words."""
    found = commonest(counts)
    if not found:
        return "Not one mistake."
    return "Most often: " + "; ".join(f"{labels[r]} taken for {labels[c]}, {count:,}" for r, c, count in found) + "."


def spoken(counts: Int[np.ndarray, "C C"], labels: Sequence[str]) -> str:
    """What the figure shows, for those who do not see it."""
    right, total = int(np.trace(counts)), int(counts.sum())
    told = "; ".join(f"{labels[r]} taken for {labels[c]} {count:,} times" for r, c, count in commonest(counts))
    return f"Confusion matrix of {len(labels)} classes: {right:,} of {total:,} right" + (f"; {told}." if told else ".")


def shortened(name: str) -> str:
    """A name that fits beside a row.

    >>> shortened("a name that is far too long")
    'a name that is fa\\u2026'
    """
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "\u2026"


def brief(count: int) -> str:
    """A count that fits into a square.

    >>> brief(0), brief(9_999), brief(12_345)
    ('0', '9999', '12k')
    """
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"
