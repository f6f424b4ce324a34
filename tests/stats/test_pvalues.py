"""One rule for p and its ties; Benjamini-Hochberg is scipy's on complete arrays, gaps left open, order irrelevant."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, permutation_test

from moodlens.stats.pvalues import (
    benjamini_hochberg,
    fewest_below,
    rank_p,
    sign_flip_p,
    two_sided_sign_flip_p,
    upper_p,
)

_P = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(_P)
def test_equals_scipy_and_never_lies_below_p(p):
    q = benjamini_hochberg(np.array(p))
    np.testing.assert_allclose(q, false_discovery_control(p, method="bh"))
    assert (q >= np.array(p) - 1e-12).all()


@given(_P, st.integers(0, 2**32 - 1))
def test_untested_entries_change_nothing_and_order_is_followed(p, seed):
    rng = np.random.default_rng(seed)
    padded = np.r_[p, np.full(5, np.nan)]
    order = rng.permutation(len(padded))
    q = benjamini_hochberg(padded[order])
    np.testing.assert_allclose(q, np.r_[benjamini_hochberg(np.array(p)), np.full(5, np.nan)][order])


def test_the_promise_is_kept_with_true_effects_among_nulls():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(300):
        p = rng.random(100)
        p[:20] = rng.random(20) * 0.005
        claimed = benjamini_hochberg(p) < 0.1
        shares.append(claimed[20:].sum() / max(claimed.sum(), 1))
    assert np.mean(shares) < 0.1


def test_upper_p_counts_draws_that_reach_the_value_and_adds_one():
    null = np.arange(9.0)
    assert upper_p(7.0, null) == 3 / 10
    assert upper_p(9.0, null) == 1 / 10
    assert upper_p(-1.0, null) == 1.0
    assert upper_p(3.0, np.zeros(0)) == 1.0
    np.testing.assert_array_equal(upper_p(np.array([7.0, 9.0]), np.stack([null, null], axis=1)), [0.3, 0.1])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_draw_that_differs_by_rounding_reaches_the_value(scale):
    null = scale * np.array([0.1, 0.1, 0.3])
    observed = scale * (0.3 + 1e-13)
    assert upper_p(observed, null) == 2 / 4
    assert upper_p(scale * 0.3001, null) == 1 / 4


def test_differences_of_equal_numbers_are_no_signal():
    """Cosines of equal rows differ in the last digit; the scale of what was subtracted says so."""
    null = 1e-16 * np.random.default_rng(0).normal(size=999)
    assert upper_p(5e-16, null) == 1 / 1000
    assert upper_p(5e-16, null, scale=1.0) == 1.0


@given(st.integers(0, 2**32 - 1))
def test_sign_flips_are_scipys_and_exact_for_few_values(seed):
    x = np.random.default_rng(seed).normal(size=7).round(1)
    theirs = permutation_test((x,), np.sum, permutation_type="samples", alternative="greater").pvalue
    assert sign_flip_p(x) == pytest.approx(theirs)
    assert two_sided_sign_flip_p(np.r_[x, np.nan]) == pytest.approx(
        min(1, 2 * min(sign_flip_p(x), sign_flip_p(-x)))
    )
    many = np.random.default_rng(seed).normal(size=200)
    assert 1 / 10_000 <= sign_flip_p(many, seed) <= 1
    assert np.isnan(sign_flip_p(np.zeros(0)))
    assert np.isnan(two_sided_sign_flip_p(np.array([np.nan])))


def test_a_value_is_ranked_among_its_pool_with_ties_against_it():
    pool = np.array([0.5, 0.1 + 0.2, 0.3, -np.inf])
    np.testing.assert_allclose(rank_p(np.array([0.5, 0.3, 0.1 + 0.2, -np.inf]), pool), [0.25, 0.75, 0.75, 1])


@given(st.integers(1, 400), st.integers(1, 2000), st.sampled_from([0.01, 0.05, 0.1, 0.2]))
def test_fewer_effects_than_the_draws_can_show_are_lost_and_as_many_are_found(n_tested, n_draws, q):
    least = 1 / (1 + n_draws)
    fewest = fewest_below(q, least, n_tested)

    def below(n: int) -> bool:
        p = np.r_[np.full(n, least), np.ones(n_tested - n)]
        return bool((benjamini_hochberg(p)[:n] < q).all())

    assert fewest >= 1
    assert fewest > n_tested or below(fewest)
    assert not any(below(n) for n in range(1, min(fewest, n_tested + 1)))
