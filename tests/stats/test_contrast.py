"""Differences of means and principal components are what they are by definition."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from moodlens.core import BadInput
from moodlens.core.labels import NEUTRAL, UNKNOWN
from moodlens.stats.contrast import difference_in_means, principal_components, unit_rows


def _rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 5)) + 3, np.arange(60) % 4 + UNKNOWN


def test_neutral_rows_are_among_the_others_and_unknown_ones_are_not():
    x, labels = _rows()
    assert {NEUTRAL, UNKNOWN} < set(labels.tolist())
    known = labels != UNKNOWN
    other = known & (labels != 1)
    means = difference_in_means(x, labels, 2)
    np.testing.assert_allclose(means[1], x[labels == 1].mean(axis=0) - x[other].mean(axis=0))
    x[~known] = 1e9
    np.testing.assert_array_equal(difference_in_means(x, labels, 2), means)


@pytest.mark.parametrize("labels", [[0, 0, UNKNOWN, UNKNOWN], [NEUTRAL, NEUTRAL, UNKNOWN, UNKNOWN]])
def test_a_difference_needs_two_sides(labels):
    with pytest.raises(BadInput, match="rows with and without emotion 0"):
        difference_in_means(np.eye(4), np.array(labels), 1)


def test_principal_components_are_sklearns_with_a_fixed_sign():
    x = _rows()[0]
    axes, shares = principal_components(x)
    pca = PCA().fit(x)
    np.testing.assert_allclose(np.abs(axes), np.abs(pca.components_), atol=1e-9)
    np.testing.assert_allclose(shares, pca.explained_variance_ratio_, atol=1e-12)
    assert (axes[np.arange(5), np.abs(axes).argmax(axis=1)] > 0).all()
    assert not principal_components(np.ones((9, 3)))[1].any()


def test_a_row_of_zeros_has_no_direction():
    np.testing.assert_allclose(unit_rows(np.array([[0.0, 0.0], [3e-20, 4e-20]])), [[0, 0], [0.6, 0.8]])
