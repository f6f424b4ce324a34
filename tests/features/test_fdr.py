"""Benjamini-Hochberg: scipy's on complete arrays, gaps left open, order irrelevant."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from moodlens.stats.fdr import benjamini_hochberg

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
