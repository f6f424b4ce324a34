"""The fast kernels say what moving the embedding and reading it again says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodlens.stats.logistic import log_odds
from moodlens.stats.resample import GroupMeans, GroupResamples
from moodlens.study.rows import Rows
from moodlens.validate.interventions import (
    Bank,
    centroid_means,
    constant_effects,
    member_effects,
    probe_means,
)
from moodlens.validate.readouts import Fold, Panel, Readout

EMOTIONS = ("a", "b", "c")


def _read(readout, x, target):
    """Both readouts of raw embeddings, straight from their definitions."""
    centred = x.astype(np.float64) - readout.mean
    k = readout.n_classes
    probe = log_odds(centred @ readout.vectors[:k].T.astype(np.float64) + readout.bias, target)
    return probe, centred @ readout.vectors[k + target] / np.linalg.norm(centred, axis=1)


def _world(seed, n=60, d=10, folds=1):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4 - 1
    x = (rng.normal(size=(n, d)) + 3 * rng.normal(size=d)).astype(np.float32)
    x[labels >= 0] += np.eye(d)[labels[labels >= 0]] * 2
    groups = np.arange(n) // 4
    study = Rows.of(labels, emotions=EMOTIONS, group=groups)
    readouts = [Readout.fit(x + 0.1 * i, study, 0) for i in range(folds)]
    rows = np.array_split(rng.permutation(n), folds)
    panel = Panel(tuple(Fold.of(x, r, readout) for r, readout in zip(rows, readouts, strict=True)), "")
    return rng, x, panel


@pytest.mark.parametrize("folds", [1, 2])
@given(seed=st.integers(0, 2**31), target=st.integers(0, 2), size=st.floats(0, 5))
def test_constant_moves_equal_reading_moved_embeddings(folds, seed, target, size):
    _, x, panel = _world(seed % 7, folds=folds)
    directions = np.random.default_rng(seed).normal(size=(5, x.shape[1])).astype(np.float32)
    bank, which = Bank.of(panel, directions), np.array([3, 0, 4])
    amounts = np.array([size, -size, 0.5])
    probe, centroid = constant_effects(panel, bank, which, amounts, target)
    for j, (f, amount) in enumerate(zip(which, amounts, strict=True)):
        parts = []
        for fold in panel.folds:
            moved = x[fold.rows] + (amount * directions[f])
            parts.append(
                np.array(_read(fold.readout, moved, target)) - _read(fold.readout, x[fold.rows], target)
            )
        expected = np.concatenate(parts, axis=1)
        np.testing.assert_allclose(probe[j], expected[0], atol=2e-3, rtol=2e-3)
        np.testing.assert_allclose(centroid[j], expected[1], atol=2e-4)
    np.testing.assert_allclose(
        probe_means(panel, bank, which, amounts, target), probe.mean(axis=1), atol=1e-3, rtol=1e-4
    )
    np.testing.assert_allclose(
        centroid_means(panel, bank, which, amounts, target), centroid.mean(axis=1), atol=1e-4
    )


@given(seed=st.integers(0, 2**31), target=st.integers(0, 2), take=st.booleans())
def test_row_by_row_moves_equal_reading_moved_embeddings(seed, target, take):
    _, x, panel = _world(seed % 5)
    rng, fold = np.random.default_rng(seed), panel.folds[0]
    W = rng.normal(size=(12, x.shape[1])).astype(np.float32)
    picks = np.stack([rng.choice(12, 3, replace=False) for _ in range(4)])
    amounts = rng.normal(size=(4, len(fold.rows), 3)).astype(np.float32)
    removed = rng.normal(size=(len(fold.rows), x.shape[1])).astype(np.float32) if take else None
    probe, centroid = member_effects(fold, Bank.of(panel, W), 0, picks, amounts, target, removed=removed)
    for j in range(4):
        moved = x[fold.rows] + amounts[j] @ W[picks[j]] - (removed if take else 0)
        expected = np.array(_read(fold.readout, moved, target)) - _read(fold.readout, x[fold.rows], target)
        np.testing.assert_allclose(probe[j], expected[0], atol=5e-3, rtol=5e-3)
        np.testing.assert_allclose(centroid[j], expected[1], atol=5e-4)


def test_moves_can_be_scaled_to_one_norm():
    rng, x, panel = _world(1)
    fold = panel.folds[0]
    W = rng.normal(size=(6, x.shape[1])).astype(np.float32)
    heights = rng.uniform(1, 2, (1, len(fold.rows), 1)).astype(np.float32)
    norm = rng.uniform(1, 2, len(fold.rows)).astype(np.float32)
    picks = np.arange(6)[:, None]
    probe, _ = member_effects(fold, Bank.of(panel, W), 0, picks, heights, 0, norm=norm)
    for f in range(6):
        moved = x[fold.rows] + norm[:, None] * W[f] / np.linalg.norm(W[f])
        expected = _read(fold.readout, moved, 0)[0] - _read(fold.readout, x[fold.rows], 0)[0]
        np.testing.assert_allclose(probe[f], expected, atol=2e-3)


def test_interval_is_the_bootstrap_of_the_mean_over_groups():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 5)
    values = (rng.normal(size=40)[group] + 0.1 * rng.normal(size=200))[None].astype(np.float32)
    means = GroupMeans.of(group, 2000, 0)
    mean, low, high = means.interval(*means.sums(np.arange(200), values))
    assert mean[0] == pytest.approx(values.mean(), abs=1e-6)
    # The spread of 40 group means, not of 200 rows.
    width = 2 * 1.96 * values.reshape(40, 5).mean(axis=1).std() / np.sqrt(40)
    assert high[0] - low[0] == pytest.approx(width, rel=0.1)


@given(st.integers(2, 6), st.integers(0, 200))
def test_groups_that_were_not_judged_make_no_interval_narrower(k, seed):
    values = np.random.default_rng(seed).normal(size=(1, k)).astype(np.float32)
    alone, among = (GroupMeans.of(np.arange(n), 500, 0) for n in (k, k + 300))
    few = alone.interval(*alone.sums(np.arange(k), values))
    many = among.interval(*among.sums(np.arange(7, 7 + k), values))
    np.testing.assert_allclose(few, many, rtol=1e-6)
    assert values.min() - 1e-6 <= few[1][0] <= few[0][0] + 1e-6 <= few[2][0] + 2e-6 <= values.max() + 3e-6


def test_one_judged_group_has_no_interval():
    means = GroupMeans.of(np.arange(300), 100, 0)
    mean, low, high = means.interval(*means.sums(np.array([5]), np.ones((2, 1), dtype=np.float32)))
    assert mean.tolist() == [1, 1]
    assert np.isnan([low, high]).all()
    assert not (low > 0).any()


def test_rows_of_different_groups_have_intervals_of_their_own():
    means = GroupMeans.of(np.arange(9), 400, 0)
    sums = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    counts = np.array([[1] * 9, [1] * 4 + [0] * 5, [0] * 8 + [1]], dtype=np.float32)
    mean, low, high = means.interval(sums * counts, counts)
    for i in range(3):
        one = means.interval((sums * counts)[[i]], counts[i])
        np.testing.assert_allclose([mean[i], low[i], high[i]], np.ravel(one), rtol=1e-6)
    assert np.isnan(low[2])


def test_one_group_of_either_kind_has_an_auroc_and_no_interval():
    drawn = GroupResamples(np.array([0, 0, 1, 2]), 50, 0)
    scores, own = np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, True, False, False])
    assert drawn.auroc(scores, own).estimate == 1
    assert drawn.auroc(scores, own).ci is None
    assert drawn.auroc(scores, np.array([True, True, True, False])).ci is None
    assert GroupResamples(np.arange(4), 50, 0).auroc(scores, own).ci == (1, 1)


def test_rows_that_only_some_groups_have_keep_their_mean():
    group = np.arange(10)
    means = GroupMeans.of(group, 500, 0)
    values = np.full((1, 2), 3.0, dtype=np.float32)
    mean, low, high = means.interval(*means.sums(np.array([1, 4]), values))
    assert mean[0] == low[0] == high[0] == 3
