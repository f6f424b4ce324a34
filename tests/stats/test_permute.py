"""Permutation p-values are exact, respect groups and hold their level."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, permutation_test

from moodlens.core import BadInput
from moodlens.stats import permute
from moodlens.stats.permute import Labelling, Permutations
from moodlens.stats.pvalues import benjamini_hochberg
from moodlens.stats.ranks import auroc
from moodlens.stats.units import UnitSums, draw_labels, exchangeable_units


def group_permutation_p(codes, labels, groups, emotion, n_emotions, *, n_permutations, seed):
    """p of every feature for its ``emotion`` (d,), -1 for none; rows without a label take no part."""
    known = labels >= 0
    sums = UnitSums.of(codes[known], labels[known], None if groups is None else groups[known])
    labelling, rng = Labelling(sums.units.labels, emotion), np.random.default_rng(seed)
    judge = Permutations(1, n_emotions, n_permutations=n_permutations, rng=rng)
    judge.add(sums, [labelling])
    return judge.results()[0]


def _grouped(rng, n_groups=24, size=(1, 6), d=4, n_emotions=4):
    """Codes that depend on the group alone, groups of unequal size."""
    rows = rng.integers(*size, n_groups)
    groups = np.repeat(np.arange(n_groups), rows)
    labels = np.arange(n_groups)[groups] % n_emotions
    level = np.where(rng.random((n_groups, d)) < 0.5, rng.random((n_groups, d)), 0)
    codes = level[groups] * (rng.random((len(groups), d)) < 0.8)
    return codes.astype(np.float32), labels, groups


def test_unit_sums_give_the_aurocs_and_rates_of_the_rows():
    rng = np.random.default_rng(0)
    codes, labels, groups = _grouped(rng)
    sums = UnitSums.of(codes, labels, groups)
    np.testing.assert_allclose(sums.auroc(sums.units.labels, 4), auroc(codes, labels, 4), atol=1e-12)
    assert sums.scores.sum() == 0
    np.testing.assert_array_equal(sums.fires.sum(axis=0), (codes > 0).sum(axis=0))


def test_p_equals_full_enumeration_for_few_groups():
    """All 8!/(4!4!) = 70 relabellings of eight groups of unequal size, enumerated by hand."""
    rng = np.random.default_rng(5)
    codes, labels, groups = _grouped(rng, n_groups=8, d=6, n_emotions=2)
    emotion = np.array([0, 1, 0, 1, 0, 1])
    observed = auroc(codes, labels, 2)[emotion, np.arange(6)]
    at_least = np.zeros(6)
    for chosen in itertools.combinations(range(8), 4):
        relabelled = np.isin(groups, chosen, invert=True).astype(int)
        at_least += auroc(codes, relabelled, 2)[emotion, np.arange(6)] >= observed - 1e-12
    m = 40_000
    p = group_permutation_p(codes, labels, groups, emotion, 2, n_permutations=m, seed=0).p
    np.testing.assert_allclose(p, at_least / 70, atol=4 * 0.5 / np.sqrt(m))


def test_p_agrees_with_scipy_permutation_test_for_independent_rows():
    rng = np.random.default_rng(7)
    codes = np.where(rng.random((60, 3)) < 0.6, rng.random((60, 3)), 0).astype(np.float32)
    labels = np.arange(60) % 2
    codes[labels == 0, 0] += 0.3

    def statistic(own, other):
        both = np.r_[own, other][:, None]
        return auroc(both, np.r_[np.zeros(len(own), int), np.ones(len(other), int)], 2)[0, 0]

    ours = group_permutation_p(codes, labels, None, np.zeros(3, int), 2, n_permutations=20_000, seed=1).p
    for f in range(3):
        samples = codes[labels == 0, f], codes[labels == 1, f]
        theirs = permutation_test(
            samples, statistic, n_resamples=600, alternative="greater", rng=np.random.default_rng(2)
        ).pvalue
        assert ours[f] == pytest.approx(theirs, abs=0.07)


def test_smallest_p_is_one_over_m_plus_one_and_untested_is_nan():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 50)
    codes = np.c_[(labels == 1) * rng.random(200), rng.random(200)].astype(np.float32)
    answer = group_permutation_p(codes, labels, None, np.array([1, -1]), 4, n_permutations=499, seed=0)
    assert answer.p[0] == answer.p_maxt[0] == 1 / 500
    assert np.isnan(answer.p[1])
    assert np.isnan(answer.p_maxt[1])


@pytest.mark.parametrize("grouped", [True, False])
def test_p_is_uniform_under_the_null(grouped):
    """Group effects are strong and unrelated to the label; p must not notice them."""
    rng = np.random.default_rng(11)
    n_groups, d = 60, 1500
    groups = np.repeat(np.arange(n_groups), rng.integers(3, 12, n_groups))
    labels = rng.permutation(np.arange(n_groups) % 4)[groups]
    level = np.where(rng.random((n_groups, d)) < 0.4, rng.gamma(2, size=(n_groups, d)), 0)
    if grouped:
        codes = level[groups] + (level[groups] > 0) * rng.random((len(groups), d)) * 0.1
    else:
        codes = rng.random((len(groups), d))
    p = group_permutation_p(
        codes.astype(np.float32),
        labels,
        groups if grouped else None,
        rng.integers(0, 4, d),
        4,
        n_permutations=2000,
        seed=3,
    ).p
    assert kstest(p, "uniform").statistic < 1.63 / np.sqrt(d) * 1.3  # 1 % level, features share the labels
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.025)


def test_ignoring_groups_would_claim_too_much():
    """The same null data, rows taken for independent: the check that the group test is needed."""
    rng = np.random.default_rng(12)
    groups = np.repeat(np.arange(40), 10)
    labels = (np.arange(40) % 4)[groups]
    codes = (rng.random((40, 300)) * (rng.random((40, 300)) < 0.5))[groups].astype(np.float32)
    emotion = rng.integers(0, 4, 300)
    naive = group_permutation_p(codes, labels, None, emotion, 4, n_permutations=500, seed=0).p
    honest = group_permutation_p(codes, labels, groups, emotion, 4, n_permutations=500, seed=0).p
    assert (naive <= 0.05).mean() > 0.2
    assert (honest <= 0.05).mean() < 0.09


def test_one_group_is_no_evidence_however_many_rows_it_has():
    groups = np.repeat(np.arange(40), 25)
    labels = groups % 4
    codes = (groups == 8).astype(np.float32)[:, None]  # fires in all rows of one happy word, nowhere else
    answer = group_permutation_p(codes, labels, groups, np.array([0]), 4, n_permutations=2000, seed=0)
    assert 0.2 < answer.p[0] < 0.3  # one group in four would be happy by chance


def test_results_follow_features_and_rows_when_they_are_reordered():
    rng = np.random.default_rng(2)
    codes, labels, groups = _grouped(rng, d=7)
    emotion = rng.integers(0, 4, 7)
    base = group_permutation_p(codes, labels, groups, emotion, 4, n_permutations=300, seed=9)
    rows, columns = rng.permutation(len(codes)), rng.permutation(7)
    moved = group_permutation_p(
        codes[rows][:, columns], labels[rows], groups[rows], emotion[columns], 4, n_permutations=300, seed=9
    )
    np.testing.assert_array_equal(moved.p, base.p[columns])
    np.testing.assert_array_equal(moved.p_maxt, base.p_maxt[columns])


def test_neutral_rows_change_nothing():
    rng = np.random.default_rng(2)
    codes, labels, groups = _grouped(rng)
    emotion = np.arange(4)
    base = group_permutation_p(codes, labels, groups, emotion, 4, n_permutations=300, seed=9)
    more = group_permutation_p(
        np.r_[codes, rng.random((30, 4)).astype(np.float32)],
        np.r_[labels, np.full(30, -1)],
        np.r_[groups, rng.integers(0, 24, 30)],
        emotion,
        4,
        n_permutations=300,
        seed=9,
    )
    np.testing.assert_array_equal(more.p, base.p)


def test_float32_and_float64_paths_agree(monkeypatch):
    rng = np.random.default_rng(4)
    codes, labels, groups = _grouped(rng, n_groups=40, d=30)
    codes = np.ceil(codes * 3)  # many ties with the observed value
    emotion = rng.integers(0, 4, 30)
    single = group_permutation_p(codes, labels, groups, emotion, 4, n_permutations=500, seed=1)
    monkeypatch.setattr("moodlens.stats.permute._EXACT_FLOAT32_ROWS", 0)
    double = group_permutation_p(codes, labels, groups, emotion, 4, n_permutations=500, seed=1)
    np.testing.assert_array_equal(single.p, double.p)
    np.testing.assert_array_equal(single.p_maxt, double.p_maxt)


def test_max_t_is_never_below_p_and_holds_the_family_wise_level():
    rng = np.random.default_rng(8)
    errors = 0
    for seed in range(60):
        groups = np.repeat(np.arange(32), 4)
        labels = (rng.permutation(32) % 4)[groups]
        codes = (rng.random((32, 40)) * (rng.random((32, 40)) < 0.5))[groups].astype(np.float32)
        answer = group_permutation_p(
            codes, labels, groups, rng.integers(0, 4, 40), 4, n_permutations=199, seed=seed
        )
        assert (answer.p_maxt >= answer.p - 1e-12).all()
        errors += bool((answer.p_maxt <= 0.1).any())
    assert errors <= 13  # 10 % of 60 is 6; 13 has probability below 0.5 %


def test_mixed_groups_exchange_labels_within_themselves():
    """Annotators who write about every emotion: the annotator's habits must not pass for an emotion."""
    groups = np.array([0, 0, 0, 1, 1, 1, 2, 3, 3])
    labels = np.array([0, 1, 1, 1, 0, 0, 0, 1, 1])
    units = exchangeable_units(labels, groups)
    assert len(units.labels) == 6 + 2
    assert units.rows.sum() == 9
    drawn = draw_labels(units, 200, np.random.default_rng(0))
    per_row = drawn[:, units.of_row]
    for members in ([0, 1, 2], [3, 4, 5]):
        assert (per_row[:, members].sum(axis=1) == labels[members].sum()).all()
    assert (per_row[:, 7] == per_row[:, 8]).all()
    assert (per_row[:, 6] != per_row[:, 7]).all()
    assert 0.3 < per_row[:, 6].mean() < 0.7


def test_copies_of_a_text_in_a_mixed_group_are_one_unit_under_each_label():
    groups = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    labels = np.array([0, 1, 0, 1, 1, 1, 1, 1])
    copies = np.array([5, 7, 5, 7, 5, 5, 5, 9])
    units = exchangeable_units(labels, groups, copies)
    same = [[0, 2], [1, 3], [4], [5, 6, 7]]
    assert sorted(np.flatnonzero(units.of_row == unit).tolist() for unit in range(4)) == sorted(same)
    assert sorted(units.rows.tolist()) == [1, 2, 2, 3]
    assert len(np.unique(units.strata[units.of_row[:5]])) == 1
    drawn = draw_labels(units, 100, np.random.default_rng(0))[:, units.of_row]
    assert (drawn[:, 0] == drawn[:, 2]).all()


@given(st.integers(0, 2**32 - 1))
def test_permutations_keep_the_labels_of_every_stratum(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    units = exchangeable_units(rng.integers(0, 3, n), rng.integers(0, 6, n))
    for drawn in draw_labels(units, 5, rng):
        for stratum in np.unique(units.strata):
            inside = units.strata == stratum
            np.testing.assert_array_equal(np.sort(drawn[inside]), np.sort(units.labels[inside]))


def test_every_labelling_is_equally_likely():
    units = exchangeable_units(np.array([0, 0, 1, 2]), None)
    drawn = draw_labels(units, 24_000, np.random.default_rng(0))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 12
    assert ((counts - 2000) ** 2 / 2000).sum() < 31.3  # chi-square, 11 degrees of freedom, p = 0.001


@pytest.mark.parametrize("full", [False, True])
def test_parts_meet_the_same_permutations_drawn_once(monkeypatch, full):
    codes, labels, groups = _grouped(np.random.default_rng(3), d=9)
    emotion = np.array([0, 1, 2, 3, -1, -1, -1, 0, 1])
    whole = group_permutation_p(codes, labels, groups, emotion, 4, n_permutations=700, seed=0)
    draws = []
    monkeypatch.setattr(permute, "draw_labels", lambda *some: (draws.append(some[1]), draw_labels(*some))[1])
    if full:
        monkeypatch.setattr(permute, "room", lambda *_: (_ for _ in ()).throw(BadInput("no room")))
    judge = Permutations(1, 4, n_permutations=700, rng=np.random.default_rng(0), n_parts=2)
    for part in (slice(0, 4), slice(4, 7), slice(7, 9)):  # of the second nothing is tested
        sums = UnitSums.of(codes[:, part], labels, groups)
        judge.add(sums, [Labelling(sums.units.labels, emotion[part])])
    np.testing.assert_array_equal(judge.results()[0].p, whole.p)
    np.testing.assert_array_equal(judge.results()[0].p_maxt, whole.p_maxt)
    assert sum(draws) == (1400 if full else 700)


def test_bad_numbers_of_permutations_are_refused():
    with pytest.raises(BadInput, match="at least 1"):
        group_permutation_p(
            np.ones((4, 1)), np.array([0, 0, 1, 1]), None, np.array([0]), 2, n_permutations=0, seed=0
        )


def test_benjamini_hochberg_by_hand_and_with_gaps():
    q = benjamini_hochberg(np.array([0.01, np.nan, 0.04, 0.03]))
    np.testing.assert_allclose(q[[0, 2, 3]], [0.03, 0.04, 0.04])
    assert np.isnan(q[1])
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()
    with pytest.raises(BadInput):
        benjamini_hochberg(np.array([1.2]))
