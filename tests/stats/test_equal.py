"""Rows equal to rounding: found at any scale, however many, and nothing else joined."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodlens.stats.equal import equal_rows, nearly_constant


def rows(n, d=32, seed=0, mean=1.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + mean).astype(np.float32)


def noisy(x, seed, size=1e-7):
    noise = np.random.default_rng(seed).normal(size=x.shape) * size
    return (x * (1 + noise)).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_copies_are_found_at_any_scale(scale, mean):
    x = rows(50, mean=mean) * np.float32(scale)
    copies = np.concatenate([x, noisy(x, 1), noisy(x, 2)])
    order = np.random.default_rng(3).permutation(150)
    codes = equal_rows(copies[order])
    source = order % 50
    assert len(np.unique(codes)) == 50
    assert len({(s, c) for s, c in zip(source, codes, strict=True)}) == 50
    first = [int(np.flatnonzero(codes == code)[0]) for code in range(50)]
    assert first == sorted(first), "codes are numbered by first appearance"


def test_rows_that_differ_stay_apart():
    x = rows(400, mean=5.0)
    np.testing.assert_array_equal(equal_rows(x), np.arange(400))
    near = np.concatenate([x, noisy(x, 1, size=1e-4)])  # ten times the tolerance
    np.testing.assert_array_equal(equal_rows(near), np.arange(800))


def test_a_row_and_its_multiple_are_two():
    x = rows(1)
    assert equal_rows(np.concatenate([x, 2 * x, -x, 0 * x, 0 * x])).tolist() == [0, 1, 2, 3, 3]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 9))
def test_codes_are_those_of_the_source(source, seed):
    x = noisy(rows(6)[source], seed)
    _, first, wanted = np.unique(source, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(equal_rows(x), np.argsort(np.argsort(first))[wanted])


def test_many_copies_cost_no_more_than_many_rows():
    """Pairs would be 4.5 billion."""
    x = noisy(rows(1, d=8)[np.zeros(95_000, int)], 1)
    begin = time.process_time()
    codes = equal_rows(np.concatenate([x, rows(5000, d=8, seed=2)]))
    assert time.process_time() - begin < 20
    assert len(np.unique(codes)) == 5001


def test_what_is_constant_to_rounding():
    x = rows(1)[np.zeros(160, int)]
    for scale in (1e-6, 1.0, 1e6):
        assert nearly_constant(noisy(x, 1, size=2e-7) * np.float32(scale))
        assert not nearly_constant(rows(160) * np.float32(scale))
    assert nearly_constant(np.zeros((3, 4)))
    assert not nearly_constant(x[:1])
    one_differs = x.copy()
    one_differs[7] += 0.1
    assert not nearly_constant(one_differs)
