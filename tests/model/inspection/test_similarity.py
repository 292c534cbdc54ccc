"""Linear CKA: what it may not see, what it must see, and the debiased estimate against its definition."""

import numpy as np
import pytest

from model.inspection.similarity import cka_matrix, linear_cka

DRAW = np.random.default_rng(0)


def by_definition(x, y):
    """The unbiased estimate of Song et al., equation 5, with the n by n products written out."""

    def criterion(a, b):
        n = len(a)
        k, l = (z @ z.T * (1 - np.eye(n)) for z in (a, b))  # noqa: E741
        whole = k.sum() * l.sum() / ((n - 1) * (n - 2))
        return np.trace(k @ l) + whole - 2 / (n - 2) * (k @ l).sum()

    return criterion(x, y) / np.sqrt(criterion(x, x) * criterion(y, y))


@pytest.mark.parametrize("debiased", (False, True))
def test_one_for_the_same_in_another_basis_at_another_scale(debiased):
    x = DRAW.normal(size=(60, 8)) * np.arange(1, 9)
    turn, _ = np.linalg.qr(DRAW.normal(size=(8, 8)))
    assert linear_cka(x, -3.0 * x @ turn + 5.0, debiased=debiased) == pytest.approx(1.0, abs=1e-9)
    y = x[:, :3] ** 2 + DRAW.normal(size=(60, 3))
    assert linear_cka(x, y, debiased=debiased) == pytest.approx(
        linear_cka(x @ turn, 2 * y, debiased=debiased), abs=1e-9
    )
    assert linear_cka(x, y, debiased=debiased) == pytest.approx(linear_cka(y, x, debiased=debiased), abs=1e-12)


def test_an_invertible_map_that_is_no_rotation_is_seen():
    x = DRAW.normal(size=(2_000, 4))
    squeezed = x * np.array([10.0, 1.0, 1.0, 1.0])
    assert linear_cka(x, squeezed) == pytest.approx(103 / np.sqrt(4 * (1e4 + 3)), abs=0.02)  # trace over norms of C


def test_independent_activations_are_near_zero_without_bias_and_far_from_it_with():
    values = [
        (linear_cka(x, y, debiased=True), linear_cka(x, y))
        for x, y in ((DRAW.normal(size=(40, 60)), DRAW.normal(size=(40, 60))) for _ in range(50))
    ]
    unbiased, biased = np.mean(values, axis=0)
    assert abs(unbiased) < 0.02 and biased > 0.5


def test_the_debiased_estimate_is_its_definition():
    x, y = DRAW.normal(size=(12, 5)) + 2.0, DRAW.normal(size=(12, 7))
    y[:, :5] += x
    assert linear_cka(x, y, debiased=True) == pytest.approx(by_definition(x, y), abs=1e-10)


def test_the_matrix_of_two_captures():
    first = {f"layers.{n}.residual": DRAW.normal(size=(3, 20, 6)) for n in range(2)}
    second = {"layers.0.residual": first["layers.1.residual"] * 2.0, "other": DRAW.normal(size=(3, 20, 9))}
    found = cka_matrix(first, second)
    assert found.axes == ("first", "second") and found.shape == (2, 2)
    assert found[1, 0] == pytest.approx(1.0)
    own = np.asarray(cka_matrix(first))
    np.testing.assert_allclose(np.diag(own), 1.0)
    np.testing.assert_allclose(own, own.T)
    assert own[0, 1] == pytest.approx(linear_cka(*(v.reshape(60, 6) for v in first.values()), debiased=True))


def test_padding_is_left_out():
    values, keep = DRAW.normal(size=(2, 10, 4)), np.ones((2, 10), bool)
    keep[1, 6:] = False
    other = values + DRAW.normal(size=values.shape)
    spoilt = np.where(keep[..., None], values, 1e6)
    found = cka_matrix({"a": spoilt}, {"b": other}, keep=keep, debiased=False)
    assert found[0, 0] == pytest.approx(linear_cka(values[keep], other[keep]))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="3 tokens beside 4"):
        linear_cka(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(ValueError, match="3 tokens are too few; debiased CKA needs 4"):
        linear_cka(np.ones((3, 2)), np.ones((3, 2)), debiased=True)
    with pytest.raises(ValueError, match="keep has one flag a token"):
        cka_matrix({"a": np.ones((2, 5, 3))}, keep=np.ones(5, bool))
    assert np.isnan(linear_cka(np.ones((5, 2)), DRAW.normal(size=(5, 2))))
