"""Rank correlations with ratings against SciPy, and their p-values against what can be counted by hand."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import kstest, spearmanr

from moodlens.core import BadInput
from moodlens.stats.rated import RatedLabelling, RatedSums, rating_p


def _codes(rng, n, d=6):
    return np.where(rng.random((n, d)) < 0.4, rng.random((n, d)), 0.0)


def test_the_correlation_is_spearmans_with_ties_and_groups():
    rng = np.random.default_rng(0)
    codes = _codes(rng, 90)
    codes[:, 5] = 0.5  # never varies
    group = np.repeat(np.arange(30), 3)
    for ratings, groups in (
        (np.round(rng.normal(size=90), 1), None),
        (np.round(rng.normal(size=30), 1)[group], group),
        (np.round(rng.normal(size=90), 1), group),
    ):
        sums = RatedSums.of(codes, ratings, groups)
        found = sums.correlations(sums.units.labels[None])[0]
        wanted = [spearmanr(codes[:, f], ratings).statistic for f in range(5)]
        np.testing.assert_allclose(found, [*wanted, 0.0], atol=1e-12)


def test_a_group_with_one_rating_moves_whole_and_one_with_several_is_a_stratum():
    group = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    ratings = np.array([5.0, 5, 5, 2, 2, 1, 3, 3])
    units = RatedSums.of(np.eye(8), ratings, group).units
    assert sorted(zip(units.strata.tolist(), units.rows.tolist(), strict=True)) == [
        (0, 2),
        (0, 3),
        (3, 1),
        (3, 1),
        (3, 1),
    ]
    copies = np.array([0, 1, 2, 3, 4, 5, 6, 6])
    assert len(RatedSums.of(np.eye(8), ratings, group, copies).units.labels) == 4  # the last two are one text


def test_p_is_the_share_of_dealings_that_reach_it_ties_included():
    rng = np.random.default_rng(1)
    ratings = np.array([1.0, 2, 2, 4, 5, 6])
    codes = np.array([[0.0, 3], [0, 1], [1, 1], [1, 0], [2, 0], [2, 0]])
    sums = RatedSums.of(codes, ratings, None)
    own = sums.correlations(sums.units.labels[None])[0]
    every = np.array(
        [
            [spearmanr(codes[:, f], ratings[list(order)]).statistic for f in range(2)]
            for order in permutations(range(6))
        ]
    )
    wanted = [(every[:, 0] >= own[0] - 1e-9).mean(), (every[:, 1] <= own[1] + 1e-9).mean()]
    (found,) = rating_p(
        sums, [RatedLabelling(sums.units.labels, np.array([1, -1]))], n_permutations=20_000, rng=rng
    )
    np.testing.assert_allclose(found.p, wanted, atol=0.004)
    (other,) = rating_p(
        sums, [RatedLabelling(sums.units.labels, np.array([-1, 1]))], n_permutations=500, rng=rng
    )
    assert (other.p > 0.9).all()


def test_under_no_effect_p_is_uniform_and_what_is_not_tested_has_none():
    rng = np.random.default_rng(2)
    codes = _codes(rng, 120, d=300)
    sums = RatedSums.of(codes, rng.normal(size=120), None)
    sign = np.sign(rng.normal(size=300)).astype(int)
    sign[0] = 0
    (found,) = rating_p(sums, [RatedLabelling(sums.units.labels, sign)], n_permutations=999, rng=rng)
    assert np.isnan(found.p[0])
    assert np.isnan(found.p_maxt[0])
    assert kstest(found.p[1:], "uniform").pvalue > 0.001
    assert (found.p_maxt[1:] >= found.p[1:]).all()
    assert found.p_maxt[1:].min() > 0.001


def test_rows_of_a_group_are_one_observation():
    """A feature of one group of many rows is no evidence; the same rows as if independent would be."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(10), 20)
    ratings = rng.permutation(10.0 + np.arange(10))[group]
    codes = (group == group[ratings.argmax()]).astype(float)[:, None]
    p = []
    for groups in (group, None):
        sums = RatedSums.of(codes, ratings, groups)
        (found,) = rating_p(
            sums, [RatedLabelling(sums.units.labels, np.array([1]))], n_permutations=999, rng=rng
        )
        p.append(found.p[0])
    assert p[0] > 0.05
    assert p[1] < 0.01


def test_shuffled_labellings_are_judged_as_the_observed_one():
    rng = np.random.default_rng(4)
    ratings = rng.normal(size=60)
    codes = np.maximum(ratings + 0.5 * rng.normal(size=60), 0)[:, None]
    sums = RatedSums.of(codes, ratings, None)
    shuffled = rng.permutation(sums.units.labels)
    true, other = rating_p(
        sums,
        [RatedLabelling(sums.units.labels, np.array([1])), RatedLabelling(shuffled, np.array([1]))],
        n_permutations=999,
        rng=rng,
    )
    assert true.p[0] == pytest.approx(0.001)
    assert other.p[0] > 0.01
    with pytest.raises(BadInput, match="n_permutations"):
        rating_p(sums, [], n_permutations=0, rng=rng)
