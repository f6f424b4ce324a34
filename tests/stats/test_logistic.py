"""Many probes at once reach scikit-learn's minimum, and the strength is chosen on left-out groups."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from moodlens.stats.logistic import choose_strength, fit_many, group_weights, log_odds


@pytest.mark.parametrize("c", [0.01, 1.0])
def test_every_fit_is_sklearns(c):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 8)) + 4
    labels = np.stack([np.digitize(x[:, 0] + x[:, i] + rng.normal(size=150), [7, 9]) for i in (1, 2, 3)])
    weights, bias = fit_many(x, labels, 3, c=c, max_iter=2000, tol=1e-5)
    for m, own in enumerate(labels):
        model = LogisticRegression(C=c, max_iter=5000, tol=1e-8).fit(x, own)
        ours, theirs = x @ weights[m].T + bias[m], model.decision_function(x)
        np.testing.assert_allclose(
            ours - ours.mean(axis=1, keepdims=True), theirs - theirs.mean(axis=1, keepdims=True), atol=0.02
        )


def test_memorised_groups_call_for_a_strong_penalty_and_clean_data_does_not():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(30), 6)
    labels = group % 3
    words = rng.normal(size=(30, 60))[group] + 0.05 * rng.normal(
        size=(180, 60)
    )  # rows repeat their group's words
    clean = words.copy()
    clean[:, :3] += 8 * np.eye(3)[labels]
    weak = words + 0.0
    weak[:, :3] += 0.7 * np.eye(3)[labels]
    assert choose_strength(weak, labels, group, seed=0) >= 30
    assert choose_strength(clean, labels, group, seed=0) < choose_strength(weak, labels, group, seed=0)


def test_too_few_groups_give_the_default():
    x = np.random.default_rng(0).normal(size=(20, 3))
    assert choose_strength(x, np.arange(20) % 2, np.arange(20) % 2, seed=0, default=7.0) == 7.0


def test_log_odds_are_those_of_the_softmax():
    logits = np.random.default_rng(0).normal(size=(20, 4)) * 5
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        np.stack([log_odds(logits, c) for c in range(4)], axis=1), np.log(p / (1 - p)), atol=1e-9
    )


def test_every_group_counts_alike_and_every_label():
    labels = np.array([0, 0, 0, 0, 1, 1])
    groups = np.array([7, 7, 7, 3, 5, 5])
    weights = group_weights(labels, groups)
    assert weights.sum() == pytest.approx(len(labels))
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert weights[:3].sum() == pytest.approx(weights[3])


def test_a_weight_of_two_is_a_row_that_stands_twice():
    rng = np.random.default_rng(3)
    x, labels = rng.normal(size=(60, 4)), rng.integers(3, size=60)
    twice = np.arange(60) < 20
    both = fit_many(x, labels[None], 3, weights=1.0 + twice)
    copied = fit_many(np.concatenate([x, x[twice]]), np.concatenate([labels, labels[twice]])[None], 3)
    for one, other in zip(both, copied, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
