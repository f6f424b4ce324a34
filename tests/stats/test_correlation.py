"""Correlations from a sparse product are those of the dense columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodlens.stats.correlation import UnitColumns


def _codes(seed: int, n: int, d: int, density: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, d)) < density, 3 * rng.random((n, d)), 0).astype(np.float32)


@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.03, 0.3, 1.0]), st.sampled_from([0.02, 0.5]))
def test_they_are_numpys(seed, density, other_density):
    a, b = _codes(seed, 200, 12, density), _codes(seed + 1, 200, 9, other_density)
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = np.nan_to_num(np.corrcoef(a.T.astype(np.float64), b.T.astype(np.float64))[:12, 12:])
    found = UnitColumns.of(a).correlations(UnitColumns.of(b))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 7.3e4])
def test_a_constant_column_correlates_with_nothing(value):
    codes = _codes(0, 300, 5, 0.02)
    codes[:, 2] = value
    standard = UnitColumns.of(codes)
    assert standard.varies.tolist() == [True, True, False, True, True]
    assert (standard.correlations(standard)[2] == 0).all()


def test_taking_columns_is_the_same_before_and_after():
    codes, which = _codes(3, 150, 20, 0.03), np.array([7, 3, 11])
    one, two = UnitColumns.of(codes).take(which), UnitColumns.of(codes[:, which])
    np.testing.assert_allclose(one.correlations(one), two.correlations(two), atol=1e-6)
