"""NumPy arrays that know what their axes mean."""

from typing import Any

import numpy as np


class NamedArray(np.ndarray):
    """An array with a word for each axis: `weights.axes == ("example", "head", "query", "key")`.

    It is a NumPy array in every other way. What an operation returns keeps the words only where the number of axes is the
    same; `at` picks along named axes and keeps the others' words.

    >>> weights = NamedArray(np.ones((1, 4, 3, 3)), ("example", "head", "query", "key"))
    >>> weights.at(example=0, head=2).axes
    ('query', 'key')
    """

    axes: tuple[str, ...] | None

    def __new__(cls, values: Any, axes: tuple[str, ...]) -> "NamedArray":
        """`values` under these words; ValueError if their number is not that of the axes."""
        array = np.asarray(values).view(cls)
        if array.ndim != len(axes):
            raise ValueError(f"{len(axes)} words {axes} for an array of {array.ndim} axes")
        array.axes = axes
        return array

    def __array_finalize__(self, source: Any) -> None:
        axes = getattr(source, "axes", None)
        self.axes = axes if axes is not None and len(axes) == self.ndim else None

    def at(self, **places: int | slice) -> "NamedArray":
        """A part: an integer takes an axis away, a slice keeps it. ValueError for a word that is none of the axes."""
        axes = self.axes or ()
        if strange := sorted(set(places) - set(axes)):
            raise ValueError(f"there is no axis {strange[0]}; the axes are {', '.join(axes)}")
        index = tuple(places.get(axis, slice(None)) for axis in axes)
        kept = tuple(axis for axis in axes if not isinstance(places.get(axis, slice(None)), int))
        return NamedArray(np.asarray(self)[index], kept)

    def show(self, **options: Any) -> Any:
        """The array as treescope draws it in a notebook, its axes named, sliders for what is more than two; `options` go to
        `treescope.render_array`."""
        from treescope import render_array

        axes = self.axes or tuple(f"axis {number}" for number in range(self.ndim))
        places = range(self.ndim)
        chosen: dict[str, Any] = {"rows": places[-2:-1], "columns": places[-1:], "sliders": places[:-2]}
        chosen |= {"axis_labels": dict(enumerate(axes)), **options}
        return render_array(np.asarray(self), **chosen)
