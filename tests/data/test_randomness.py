"""Keyed randomness: a permutation is one, and a key is all there is to a stream."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.randomness import PURPOSES, generator, permute


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 700), seed=st.integers(-(2**63), 2**64), epoch=st.integers(0, 2**31), stream=st.integers(0, 9)
)
def test_permute_hits_every_place_once(count, seed, epoch, stream):
    moved = permute(np.arange(count), count, seed, epoch, stream)
    assert sorted(moved.tolist()) == list(range(count))


def test_permute_answers_for_one_place_as_for_all():
    whole = permute(np.arange(5_000), 5_000, seed=3, epoch=1)
    some = np.array([4_999, 0, 17])
    assert np.array_equal(permute(some, 5_000, seed=3, epoch=1), whole[some])


@pytest.mark.parametrize("other", [{"seed": 4}, {"epoch": 2}, {"stream": 1}])
def test_permutations_of_other_keys_are_unrelated(other):
    count = 2_000
    key = {"seed": 3, "epoch": 1, "stream": 0}
    one, two = (permute(np.arange(count), count, **k) for k in (key, key | other))
    assert (one == two).mean() < 0.01
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1
    assert abs(np.corrcoef(one, np.arange(count))[0, 1]) < 0.1


def test_a_huge_corpus_is_permuted_without_being_listed():
    count = 10**12
    moved = permute(np.arange(1_000), count, seed=0, epoch=0)
    assert len(set(moved.tolist())) == 1_000
    assert moved.min() >= 0
    assert moved.max() < count
    assert moved.mean() == pytest.approx(count / 2, rel=0.1)


def test_every_part_of_a_key_matters():
    keys = [(seed, purpose, epoch, n) for seed in (0, 1) for purpose in PURPOSES for epoch in (0, 1) for n in (0, 1)]
    draws = {generator(*key).random() for key in keys}
    assert len(draws) == len(keys)
    assert {generator(*key).random() for key in keys} == draws
