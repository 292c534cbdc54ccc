"""One result for each of several texts, with their mean and spread where they have the same shape."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from model.inspection.markup import pages
from model.inspection.named import NamedArray

FOLDER = Path(__file__).parent / "viewer"


class PerText(tuple):
    """Results of several texts, in their order: `found.of(1)` or `found[1]` is that of the second.

    Attributes:
        texts: what each is called.
    """

    texts: tuple[str, ...]

    def __new__(cls, results: Sequence[Any], texts: Sequence[str]) -> "PerText":
        """Results and texts, one each."""
        found = super().__new__(cls, results)
        found.texts = tuple(texts)
        return found

    def of(self, number: int) -> Any:
        """The result of one text; ValueError where there is none of this number."""
        return self[numbered(number, len(self))]

    def mean(self, of: Callable[[Any], Any] = np.asarray) -> np.ndarray:
        """The mean over texts, each counting alike, of what `of` takes from a result; ValueError where shapes differ."""
        return self._over_texts(np.mean, of)

    def spread(self, of: Callable[[Any], Any] = np.asarray) -> np.ndarray:
        """The standard deviation over texts of the same."""
        return self._over_texts(np.std, of)

    def _over_texts(self, measure: Callable[..., Any], of: Callable[[Any], Any]) -> np.ndarray:
        arrays = [of(one) for one in self]
        if len(shapes := {np.shape(array) for array in arrays}) > 1:
            raise ValueError(
                f"results of shapes {', '.join(map(str, sorted(shapes)))} have no mean; texts differ in length, take .of(i)"
            )
        axes = getattr(self[0], "axes", None)
        found = measure([np.asarray(array) for array in arrays], axis=0)
        return found if axes is None or len(axes) != found.ndim else NamedArray(found, axes)

    def __repr__(self) -> str:
        return "\n\n".join(f"{text!r}\n{one!r}" for text, one in zip(self.texts, self, strict=True))

    def _repr_html_(self) -> Markup:
        shown = ((one._repr_html_(), False) if hasattr(one, "_repr_html_") else (repr(one), True) for one in self)
        return pages(FOLDER)("tables", "texts", [(text, *one) for text, one in zip(self.texts, shown, strict=True)])


def how_many(count: Any) -> int:
    """A count of what is shown; ValueError for one that is none.

    >>> how_many(3)
    3
    """
    if not isinstance(count, int | np.integer) or isinstance(count, bool) or count < 0:
        raise ValueError(f"count={count!r} is no number of entries; give a whole number, 0 or more")
    return int(count)


def numbered(number: int, count: int) -> int:
    """The place of a text, negative ones counted from the end; ValueError for one that is not there.

    >>> numbered(-1, 3)
    2
    """
    if not -count <= number < count:
        raise ValueError(f"there is no text {number}; there are {count}, 0 to {count - 1}")
    return number % count
