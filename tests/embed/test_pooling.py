"""One score of many: between the mean and the largest, whatever the order and the blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from moodlens.core import BadInput
from moodlens.embed.pooling import Pool, pool_shares, pooled

VALUES = arrays(np.float64, st.tuples(st.integers(1, 30), st.just(2)), elements=st.floats(-50, 50))
HOWS = ["log-mean-exp", "max", "mean"]


@given(VALUES)
def test_log_mean_exp_lies_between_the_mean_and_the_largest(values):
    one = np.zeros(len(values), dtype=int)
    low, middle, high = (pooled(values, one, 1, how)[0] for how in ("mean", "log-mean-exp", "max"))
    assert (low <= middle + 1e-9).all()
    assert (middle <= high + 1e-9).all()
    np.testing.assert_allclose(low, values.mean(axis=0))
    np.testing.assert_array_equal(high, values.max(axis=0))
    np.testing.assert_allclose(middle, np.log(np.exp(values - high).mean(axis=0)) + high, atol=1e-9)


@given(VALUES, st.integers(0, 2**32 - 1), st.sampled_from(HOWS))
def test_the_order_of_tokens_and_the_blocks_they_come_in_change_nothing(values, seed, how):
    rng = np.random.default_rng(seed)
    owner = np.sort(np.concatenate([np.arange(3), rng.integers(0, 3, len(values))]))
    values = np.concatenate([values, rng.normal(size=(3, 2))])
    whole = pooled(values, owner, 3, how)
    shuffled = rng.permutation(len(values))
    np.testing.assert_allclose(pooled(values[shuffled], owner[shuffled], 3, how), whole, atol=1e-9)
    pool = Pool(how, 3, 2)
    for part in np.array_split(np.arange(len(values)), int(rng.integers(1, 6))):
        pool.add(values[part], owner[part])
    np.testing.assert_allclose(pool.result(), whole, atol=1e-9)


@given(VALUES, st.sampled_from(HOWS))
def test_shares_are_what_a_pooled_score_follows(values, how):
    shares = pool_shares(values, how)
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    assert (shares >= 0).all()
    one = np.zeros(len(values), dtype=int)
    step = 1e-6
    if how != "max":
        moved = values.copy()
        moved[0] += step
        change = (pooled(moved, one, 1, how) - pooled(values, one, 1, how))[0] / step
        np.testing.assert_allclose(change, shares[0], atol=1e-4)


@given(VALUES, st.sampled_from(HOWS), st.integers(0, 2**32 - 1))
def test_a_part_has_the_shares_of_its_tokens(values, how, seed):
    rng = np.random.default_rng(seed)
    part = rng.random(len(values)) < 0.4
    pool = Pool(how, 1, 2)
    for some in np.array_split(np.arange(len(values)), 3):
        pool.add(values[some], np.zeros(len(some), dtype=int), part[some])
    wanted = pool_shares(values, how)[part].sum(axis=0)
    if how == "max":  # a part that holds one of several largest has it
        wanted = (values[part].max(axis=0, initial=-np.inf) == values.max(axis=0)).astype(float)
    np.testing.assert_allclose(pool.part()[0], wanted, atol=1e-9)


def test_what_is_unknown_stays_unknown_and_an_empty_text_is_named():
    values = np.array([[1.0, np.nan], [2.0, np.nan]])
    for how in HOWS:
        out = pooled(values, np.zeros(2, dtype=int), 1, how)
        assert np.isfinite(out[0, 0])
        assert np.isnan(out[0, 1])
    with pytest.raises(BadInput, match="text 1 has nothing to read"):
        pooled(values, np.array([0, 2]), 3, "mean")
