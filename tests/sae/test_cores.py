"""Pipelines from the rows to a core: sizes follow from the rows, seeds are shared by no two, scale is nothing."""

import itertools

import numpy as np
import pytest

from helpers.sae_loop import planted_data
from moodlens.sae import cores
from moodlens.settings.sae import CoreSettings, SAESettings

QUICK = CoreSettings(members=4, d_sae=64, epochs=30)


@pytest.fixture(scope="module")
def rows():
    x, dictionary = planted_data(1400, d_in=24, n_features=30)
    return x[:1200], x[1200:], dictionary


def seeds(n=2):
    return {f"p{i}": tuple(cores.derived(0, cores.MEMBER, i, m) for m in range(4)) for i in range(n)}


def test_sizes_follow_from_the_rows():
    settings = CoreSettings()
    assert cores.plan_core(settings, 11_600, 384).d_sae == 1024
    assert cores.plan_core(settings, 10**6, 384).d_sae == 4 * 384
    few = cores.plan_core(settings, 290, 768)
    assert few.d_sae == 0
    assert "290 training rows are too few" in str(few.remark)
    assert cores.plan_core(CoreSettings(d_sae=20), 290, 768) == cores.Plan(20)


def test_no_two_pipelines_share_a_seed():
    made = [
        cores.derived(seed, purpose, pipeline, member)
        for seed, purpose, pipeline, member in itertools.product(
            range(4), range(3), (0, 1, 2, 1000), range(8)
        )
    ]
    assert len(set(made)) == len(made)
    assert max(made) < 2**53


def test_a_bootstrap_draws_whole_groups():
    groups = np.array([3, 3, 7, 7, 7, 1, 9, 9])
    drawn = cores.bootstrap(groups, 0)
    times = np.bincount(drawn, minlength=8)
    for group in np.unique(groups):
        assert len(set(times[groups == group])) == 1
    share = np.mean([len(np.unique(cores.bootstrap(np.arange(200), seed))) / 200 for seed in range(20)])
    assert share == pytest.approx(0.632, abs=0.02)


def test_planted_directions_come_back_in_another_pipeline_and_scale_is_nothing(rows):
    train, val, dictionary = rows
    found = cores.find_cores(train, val, seeds(), QUICK, 64)
    first, second = (one.sae.W_dec.detach().numpy() for one in found.values())
    assert len(first) >= 20
    assert np.median((first @ second.T).max(1)) > 0.95
    assert np.mean((dictionary @ first.T).max(1) > 0.9) > 0.6
    small = cores.find_cores(train / 1000, val / 1000, seeds(1), QUICK, 64)["p0"].sae
    assert abs(small.d_sae - len(first)) <= 2
    assert (first @ small.W_dec.detach().numpy().T).max(1).min() > 0.98


def test_pipelines_that_learned_nothing_have_the_sparsity_of_one_that_did(rows):
    train, val, _ = rows
    found = cores.find_cores(train, val, seeds(1), QUICK, 64, control="random")["p0"]
    learned = cores.find_cores(train, val, seeds(1), QUICK, 64)["p0"]
    active = [cores.active_features(one.members[0], train) for one in (found, learned)]
    assert active[0] == pytest.approx(active[1], rel=0.05)
    assert found.first is None
    assert found.sae.d_sae < learned.sae.d_sae / 4
    rest = cores.untrained_rest("rows", train, SAESettings(d_sae=96, k=5), 0)
    assert cores.active_features(rest, train) == pytest.approx(5, rel=0.05)


def test_too_few_rows_leave_no_core(rows):
    train, val, _ = rows
    found = cores.find_cores(train, val, seeds(), QUICK, 0)
    assert {one.sae.d_sae for one in found.values()} == {0}
    facts = cores.describe(found, cores.plan_core(CoreSettings(), 100, 24), CoreSettings(), train, val)
    assert facts.atoms == 0
    assert "too few" in facts.remark


def test_the_effective_rank_counts_equal_variances():
    rng = np.random.default_rng(0)
    x = (
        np.linalg.qr(rng.standard_normal((400, 10)))[0] * 5 @ np.linalg.qr(rng.standard_normal((30, 10)))[0].T
        + 2
    )
    assert cores.effective_rank(x) == pytest.approx(10, rel=0.05)
    assert cores.effective_rank(x[:8]) <= 7
    assert cores.effective_rank(x / 1000) == pytest.approx(cores.effective_rank(x))


def test_more_of_the_rest_is_active_than_of_an_sae_alone():
    assert cores.rest_settings(SAESettings(d_sae=400), 8).k == round(0.0235 * 400) == 9
    assert cores.rest_settings(SAESettings(d_sae=400, k=3), 8).k == 3
    l1 = SAESettings(architecture="l1", d_sae=400)
    assert cores.rest_settings(l1, 8) == l1


@pytest.mark.parametrize(("n", "compared"), [(100, 100), (9000, 3000), (30_000, 10_000), (63_000, 12_000)])
def test_members_are_compared_on_some_rows_of_many(n, compared):
    rows = cores.compared_rows(np.arange(n)[:, None])
    assert len(rows) == compared
    for turn in (4, 5, 7):  # a table that goes through its labels in turn
        labels = cores.compared_rows((np.arange(12_000 * turn + 1) % turn)[:, None])
        assert np.bincount(labels[:, 0]).min() > 0.8 * len(labels) / turn
