"""How alike two sets of activations are, whatever basis they are written in: linear CKA.

    CKA(X, Y) = |Yc' Xc|^2 / (|Xc' Xc| |Yc' Yc|),      Xc, Yc with their column means removed, |.| the Frobenius norm

X [n D] and Y [n E] hold n tokens seen twice: by two layers, two runs, two checkpoints. One for the same up to rotation,
reflection and scale. With few tokens and many columns independent activations look alike (the estimate is biased, 1 in the
limit), so take more tokens than columns, or the debiased form, which is near 0 for them at any size.
References: Kornblith et al., arXiv:1905.00414; debiased: Song et al. 2012 (JMLR 13), Nguyen et al., arXiv:2010.15327.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Num

from model.inspection.kept import real_places
from model.inspection.named import NamedArray

LEAST = 4  # the debiased estimate divides by n - 3


def linear_cka(x: Float[np.ndarray, "n D"], y: Float[np.ndarray, "m E"], *, debiased: bool = False) -> float:
    """Linear CKA of two sets of activations of the same n tokens; NaN where one of them does not vary.

    Debiased it may be a little below zero. ValueError where the tokens are not as many, or too few.

    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -2.0], [3.0, 1.0]])
    >>> round(linear_cka(x, 5 * x[:, ::-1]), 6)
    1.0
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} tokens beside {len(y)}; CKA compares activations of the same tokens")
    _check(len(x), debiased)
    x, y = _centred(x), _centred(y)
    return _ratio(_alike(x, y, debiased), _alike(x, x, debiased), _alike(y, y, debiased))


def cka_matrix(
    first: Mapping[str, Num[np.ndarray, "... _"]],
    second: Mapping[str, Num[np.ndarray, "... _"]] | None = None,
    *,
    keep: Bool[np.ndarray, "..."] | None = None,
    debiased: bool = True,
) -> NamedArray:
    """CKA of every site of one capture with every site of another, [first second]; of one with itself where it is alone.

    Args:
        first: activations by name, [... D] each, all of the same tokens; the widths may differ. A `Seen` knows its padding, which
            never counts.
        second: the same tokens seen by another layer, run or checkpoint.
        keep: which of the [...] tokens count; leave padding out.
        debiased: see above; with a few hundred tokens it matters.
    """
    left = _centred_tokens(first, keep)
    right = left if second is None else _centred_tokens(second, keep)
    counts = {len(values) for values in (*left.values(), *right.values())}
    if len(counts) > 1:
        raise ValueError(f"activations of {sorted(counts)} tokens; CKA compares activations of the same tokens")
    for count in counts:
        _check(count, debiased)
    own_left = [_alike(x, x, debiased) for x in left.values()]
    own_right = own_left if second is None else [_alike(y, y, debiased) for y in right.values()]
    found = np.zeros((len(left), len(right)))
    for i, x in enumerate(left.values()):
        for j, y in enumerate(right.values()):
            if second is None and j <= i:  # symmetric, and known on the diagonal
                found[i, j] = found[j, i] if j < i else _ratio(own_left[i], own_left[i], own_left[i])
            else:
                found[i, j] = _ratio(_alike(x, y, debiased), own_left[i], own_right[j])
    return NamedArray(found, ("first", "second"))


def _alike(x: np.ndarray, y: np.ndarray, debiased: bool) -> float:
    """The Hilbert-Schmidt independence criterion of centred activations, without its constant factor.

    Biased: |Y' X|^2. Unbiased, with K and L the products X X' and Y Y' whose diagonals are set to zero (Song et al., eq. 5):

        sum(K * L) + sum(K) sum(L) / ((n - 1)(n - 2)) - 2 / (n - 2) * (K 1) (L 1)

    each of which is had from X' Y and row sums, so that nothing of size n by n is held.
    """
    cross = float(np.square(y.T @ x).sum())
    if not debiased:
        return cross
    n = len(x)
    squares_x, squares_y = np.square(x).sum(1), np.square(y).sum(1)
    rows_x, rows_y = x @ x.sum(0) - squares_x, y @ y.sum(0) - squares_y
    whole = rows_x.sum() * rows_y.sum() / ((n - 1) * (n - 2))
    return float(cross - squares_x @ squares_y + whole - 2 / (n - 2) * (rows_x @ rows_y))


def _ratio(both: float, first: float, second: float) -> float:
    return both / float(np.sqrt(first * second)) if first > 0 and second > 0 else float("nan")


def _centred(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x - x.mean(0, keepdims=True)


def _centred_tokens(activations: Mapping[str, np.ndarray], keep: np.ndarray | None) -> dict[str, np.ndarray]:
    """The tokens that count, as rows, by name; all that are no padding where `keep` does not say."""
    if keep is not None:
        return {name: _centred(_flat(name, values, keep)) for name, values in activations.items()}
    known = getattr(activations, "raw", activations)  # a Seen as what it kept
    return {name: _centred(_flat(name, values, real_places(known, name))) for name, values in known.items()}


def _flat(name: str, values: np.ndarray, keep: np.ndarray | None) -> np.ndarray:
    values = np.asarray(values)
    if keep is not None and values.shape[:-1] != keep.shape:
        raise ValueError(f"{name} is {values.shape}, keep {keep.shape}; keep has one flag a token")
    return values.reshape(-1, values.shape[-1]) if keep is None else values[np.asarray(keep)]


def _check(tokens: int, debiased: bool) -> None:
    least = LEAST if debiased else 2
    if tokens < least:
        raise ValueError(f"{tokens} tokens are too few; {'debiased ' if debiased else ''}CKA needs {least} or more")
