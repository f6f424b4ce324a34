"""Rates, selectivity and AUROC are exactly what scipy and scikit-learn say, and do not care about order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, rankdata
from sklearn.metrics import roc_auc_score

from moodlens.stats.ranks import activity, auroc, firing_rates, rank_scores, run_starts, selectivity


def _codes(rng, n, d, density=0.3, levels=None, signed=False):
    x = rng.random((n, d)).round(4) + 0.01
    if levels:  # few distinct values, so many ties
        x = np.ceil(x * levels) / levels
    if signed:
        x = x - 0.5
    return np.where(rng.random((n, d)) < density, x, 0.0).astype(np.float32)


@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("levels", [None, 3])
def test_auroc_equals_scipy_and_sklearn(density, levels):
    rng = np.random.default_rng(3)
    codes = _codes(rng, 200, 12, density, levels)
    labels = rng.integers(0, 4, 200)
    ours = auroc(codes, labels, 4)
    for c in range(4):
        own = labels == c
        u = mannwhitneyu(codes[own], codes[~own], axis=0).statistic
        np.testing.assert_allclose(ours[c], u / (own.sum() * (~own).sum()), atol=1e-12)
        for f in range(12):
            assert ours[c, f] == pytest.approx(roc_auc_score(own, codes[:, f]), abs=1e-12)


def test_auroc_of_signed_columns_equals_sklearn():
    rng = np.random.default_rng(4)
    codes = _codes(rng, 150, 6, 0.6, 5, signed=True)
    labels = rng.integers(0, 2, 150)
    for f in range(6):
        assert auroc(codes, labels, 2)[1, f] == pytest.approx(roc_auc_score(labels, codes[:, f]), abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5))
def test_rank_scores_are_doubled_centred_midranks(seed, n, d):
    rng = np.random.default_rng(seed)
    codes = _codes(rng, n, d, rng.random(), 4, signed=bool(rng.integers(2)))
    scores = rank_scores(codes)
    dense = scores.excess.toarray() + scores.zero
    np.testing.assert_array_equal(dense, 2 * rankdata(codes, axis=0) - (n + 1))


@given(st.integers(0, 2**32 - 1))
def test_auroc_is_invariant_to_monotone_maps_and_row_order_and_mirrors(seed):
    rng = np.random.default_rng(seed)
    codes, labels = _codes(rng, 60, 5, 0.5, 6), rng.integers(0, 3, 60)
    labels[:3] = [0, 1, 2]
    base = auroc(codes, labels, 3)
    np.testing.assert_array_equal(auroc(codes**3 * 7, labels, 3), base)
    order = rng.permutation(60)
    np.testing.assert_array_equal(auroc(codes[order], labels[order], 3), base)
    np.testing.assert_allclose(auroc(-codes, labels, 3), 1 - base, atol=1e-12)
    columns = rng.permutation(5)
    np.testing.assert_array_equal(auroc(codes[:, columns], labels, 3), base[:, columns])


def test_auroc_of_two_emotions_sums_to_one_and_constant_columns_give_a_half():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 40)
    codes = np.c_[rng.random(40), np.zeros(40), np.ones(40)].astype(np.float32)
    areas = auroc(codes, labels, 2)
    np.testing.assert_allclose(areas.sum(axis=0), 1)
    np.testing.assert_array_equal(areas[:, 1:], 0.5)


def test_neutral_rows_are_left_out_or_count_as_negatives():
    codes = np.array([[3.0], [0.0], [5.0]], dtype=np.float32)
    labels = np.array([0, 1, -1])
    assert auroc(codes, labels, 2)[0, 0] == 1.0
    assert auroc(codes, labels, 2, neutral_as_negative=True)[0, 0] == 0.5


def test_auroc_of_an_absent_emotion_is_nan():
    areas = auroc(np.ones((4, 2), np.float32), np.array([0, 0, 1, 1]), 3)
    assert np.isnan(areas[2]).all()
    assert not np.isnan(areas[:2]).any()


def test_firing_rates_are_smoothed_shares():
    codes = np.array([[1, 0], [0, 0], [2, 0], [9, 9]], dtype=np.float32)
    rates = firing_rates(codes, np.array([0, 0, 1, -1]), 2)
    np.testing.assert_allclose(rates, [[1.5 / 3, 0.5 / 3], [1.5 / 2, 0.5 / 2]])


def test_selectivity_is_the_rate_over_the_mean_of_the_others():
    rates = np.array([[0.6], [0.1], [0.2], [0.3]])
    np.testing.assert_allclose(
        selectivity(rates)[:, 0], [0.6 / 0.2, 0.1 / (1.1 / 3), 0.2 / (1 / 3), 0.3 / 0.3]
    )


def test_a_feature_that_never_fires_has_no_selectivity():
    rates = firing_rates(np.zeros((40, 1), np.float32), np.arange(40) % 4, 4)
    np.testing.assert_allclose(selectivity(rates), 1.0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("levels", [1, 3])
def test_values_that_differ_by_rounding_tie(scale, levels):
    """Equal texts come out of an encoder equal to a few float32 digits, in an order that is no evidence."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    exact = rng.integers(1, levels + 1, size=(300, 5)).astype(np.float64)
    exact[rng.random((300, 5)) < 0.3] = 0
    order = 1 + 2e-7 * labels[:, None]  # rounding that happens to go with the labels
    ours = auroc((scale * exact * order).astype(np.float32), labels, 3)
    np.testing.assert_array_equal(ours, auroc(exact, labels, 3))


def test_a_dense_continuum_does_not_run_together():
    dense = np.sort(np.random.default_rng(0).random(3_000_000))
    assert run_starts(dense).mean() > 0.95
    signed = np.array([-1.0, -1e-9, 1e-9, 1.0, 1.0])
    np.testing.assert_array_equal(run_starts(signed), [True, True, True, True, False])
    assert run_starts(np.zeros(0)).shape == (0,)


def test_activity_is_the_share_of_firings_and_their_mean():
    codes = np.array([[0, 2, 0], [4, 0, 0], [0, 6, 0], [0, 1, 0]], dtype=np.float32)
    density, size = activity(codes)
    np.testing.assert_array_equal(density, [0.25, 0.75, 0])
    np.testing.assert_array_equal(size, [4, 3, 0])
    assert [part.shape for part in activity(codes[:0])] == [(3,), (3,)]
