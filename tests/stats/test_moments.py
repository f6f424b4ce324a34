"""Sums over blocks of rows are sums over rows."""

import numpy as np
import pytest

from moodlens.core import maps
from moodlens.stats.moments import mean_row, products, scatter, wide_blocks


@pytest.fixture(params=[1, 700, 2**26])
def block_bytes(request, monkeypatch):
    monkeypatch.setattr(maps, "BLOCK", request.param)


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("some", [False, True])
def test_moments_are_those_of_all_rows_at_once(block_bytes, some, weighed):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 1, (57, 5)).astype(np.float32)
    rows = np.flatnonzero(rng.random(57) < 0.6) if some else None
    own = x.astype(np.float64) if rows is None else x[rows].astype(np.float64)
    weights = rng.random(len(own)) if weighed else None
    mean = np.average(own, axis=0, weights=weights)
    np.testing.assert_allclose(mean_row(x, rows, weights), mean, rtol=1e-12)
    w = np.ones(len(own)) if weights is None else weights
    centred = own - mean
    np.testing.assert_allclose(
        scatter(x, mean, rows, weights), (centred * w[:, None]).T @ centred, atol=1e-10
    )
    vectors = rng.normal(size=(3, 5))
    np.testing.assert_allclose(products(x, vectors, mean, rows), centred @ vectors.T, atol=1e-12)
    np.testing.assert_allclose(products(x, vectors[0], rows=rows), own @ vectors[0], atol=1e-12)


def test_blocks_know_their_places(block_bytes):
    x, rows = np.arange(40, dtype=np.float32).reshape(20, 2), np.array([1, 4, 5, 19])
    for part, block in wide_blocks(x, rows):
        assert block.dtype == np.float64
        np.testing.assert_array_equal(block, x[rows[part]])


def test_of_no_rows_there_are_no_products(block_bytes):
    x, none = np.ones((4, 3), np.float32), np.zeros(0, dtype=np.int64)
    assert products(x, np.ones((2, 3)), rows=none).shape == (0, 2)
    assert products(x, np.ones(3), rows=none).shape == (0,)
    assert not scatter(x, np.zeros(3), none).any()
