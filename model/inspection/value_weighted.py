"""Attention weighed by what is read: a place that is looked at much may hand over little.

    f_n(s) = v_n(s) W_n,      attention's output at t  =  sum over n and s of a_nts f_n(s)  +  bias

v_n(s) is the value of place s for head n (its bias included), W_n that head's rows of the output kernel. The norm of each
term is what the place contributed, the weight alone is not: heads park weight on places whose values are small.
Reference: Kobayashi et al., arXiv:2004.10102.
"""

import numpy as np
from jaxtyping import Float

Weights = Float[np.ndarray, "*batch N T S"]
Values = Float[np.ndarray, "*batch S K H"]
Kernel = Float[np.ndarray, "N H D"]


def transformed_values(values: Values, kernel: Kernel) -> Float[np.ndarray, "*batch N S D"]:
    """f_n(s): what each place hands to the residual stream, if a head looks at nothing else.

    Grouped heads share a value: head n reads value head n // (N / K). ValueError where N is no multiple of K.

    >>> transformed_values(np.array([[[1.0, 2.0]]]), np.ones((2, 2, 1))).shape
    (2, 1, 1)
    """
    values, kernel = np.asarray(values), np.asarray(kernel)
    heads, shared = kernel.shape[0], values.shape[-2]
    if heads % shared:
        raise ValueError(f"{heads} heads cannot share {shared} value heads; are values [S K H] and the kernel [N H D]?")
    return np.einsum("...SNH,NHD->...NSD", np.repeat(values, heads // shared, axis=-2), kernel)


def value_weighted_norms(weights: Weights, values: Values, kernel: Kernel) -> Float[np.ndarray, "*batch N T S"]:
    """|a_nts f_n(s)|: what each head takes from each place, as a length. Put it into maps in the place of the weights.

    >>> value_weighted_norms(np.ones((1, 1, 1)), np.array([[[3.0, 4.0]]]), np.eye(2)[None])
    array([[[5.]]])
    """
    lengths = np.linalg.norm(transformed_values(values, kernel), axis=-1)
    return np.asarray(weights) * lengths[..., None, :]


def value_weighted_vectors(weights: Weights, values: Values, kernel: Kernel) -> Float[np.ndarray, "*batch T S D"]:
    """sum over n of a_nts f_n(s): what place t takes from place s, all heads together. Its sum over s is attention's output
    without the bias. T S D numbers: for long texts see `value_weighted_norms_together`, which holds one row at a time.

    >>> value_weighted_vectors(np.ones((2, 1, 1)), np.array([[[3.0, 4.0]]]), np.stack([np.eye(2)] * 2))[0, 0]
    array([6., 8.])
    """
    return np.einsum("...NTS,...NSD->...TSD", np.asarray(weights), transformed_values(values, kernel))


def value_weighted_norms_together(weights: Weights, values: Values, kernel: Kernel) -> Float[np.ndarray, "*batch T S"]:
    """|sum over n of a_nts f_n(s)|: the length of what t takes from s, all heads together; heads may cancel.

    >>> opposed = np.stack([np.eye(2), -np.eye(2)])
    >>> value_weighted_norms_together(np.ones((2, 1, 1)), np.array([[[3.0, 4.0]]]), opposed)
    array([[0.]])
    """
    weights, handed = np.asarray(weights), transformed_values(values, kernel)
    rows = [
        np.linalg.norm(np.einsum("...NS,...NSD->...SD", weights[..., place, :], handed), axis=-1)
        for place in range(weights.shape[-2])
    ]
    return np.stack(rows, axis=-2)
