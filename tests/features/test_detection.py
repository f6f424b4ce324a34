"""Names that say nothing are not found to hold; names that say something are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, precision_score, recall_score

from moodlens.features.names.detect import decile_coverage, detect, score_all


def test_scores_are_those_of_sklearn():
    rng = np.random.default_rng(0)
    predicted, fires = rng.random((5, 60)) < 0.4, rng.random((60, 4)) < 0.3
    predicted[0] = False
    scores = score_all(predicted, fires)
    for i in range(5):
        for f in range(4):
            truth, said = fires[:, f], predicted[i]
            assert scores.balanced[i, f] == pytest.approx(balanced_accuracy_score(truth, said))
            assert scores.precision[i, f] == pytest.approx(precision_score(truth, said, zero_division=0))
            assert scores.recall[i, f] == pytest.approx(recall_score(truth, said))


def test_features_that_never_or_always_fire_have_no_balanced_accuracy():
    fires = np.array([[0, 1, 1], [0, 1, 0]], dtype=bool)
    scores = score_all(np.array([[True, False]]), fires)
    assert np.isnan(scores.balanced[0, :2]).all()
    assert scores.balanced[0, 2] == 1


def _matrix(rng, d, gain):
    """Balanced accuracies of d names on d features; the own name is better by ``gain``."""
    value = 0.5 + 0.02 * rng.standard_normal((d, d))
    return value + gain * np.eye(d)


def test_names_that_say_nothing_are_not_interpretable():
    """All names are alike: over 50 repeats, hardly any claim (Benjamini-Hochberg at 5 %)."""
    claims = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        value, emotion = _matrix(rng, 60, 0.0), np.arange(60) % 4
        found = detect(
            value, value, emotion, rng.random(60) < 0.5, np.ones(60, bool), q=0.05, n_shuffles=1, rng=rng
        )
        claims += bool(found.interpretable.any())
    assert claims <= 7  # 5 % of 50 is 2.5; more than 7 has probability below 0.5 %


def test_names_that_beat_all_others_are_interpretable_and_shuffled_ones_are_not():
    rng = np.random.default_rng(1)
    value, emotion = _matrix(rng, 80, 0.3), np.arange(80) % 4
    judged = np.arange(80) < 40
    found = detect(value, value, emotion, np.ones(80, bool), judged, q=0.05, n_shuffles=20, rng=rng)
    assert found.interpretable[judged].all()
    assert not found.interpretable[~judged].any()
    assert np.isnan(found.q[~judged]).all()
    assert found.specific[judged].mean() > 0.9 or found.q_same[judged].min() >= 1 / 20
    np.testing.assert_allclose(found.p_any[judged], 1 / 80)
    np.testing.assert_allclose(found.p_same[judged], 1 / 20)
    assert found.shuffled_any.shape == (20, 4)
    # A dealt name is its own once in a while; beyond that nothing passes.
    assert found.shuffled_any.sum(axis=1).mean() < 2


def test_an_emotion_in_the_name_does_not_make_it_specific():
    """Names that know the emotion and nothing else beat the names of other emotions, not those of their own."""
    rng = np.random.default_rng(2)
    emotion = np.arange(80) % 20  # many emotions, so that four names of 80 share one
    value = 0.5 + 0.01 * rng.standard_normal((80, 80)) + 0.3 * (emotion[:, None] == emotion)
    inner = 0.5 + 0.01 * rng.standard_normal((80, 80))
    every = np.ones(80, bool)
    claimed = detect(value, inner, emotion, every, every, q=0.06, n_shuffles=5, rng=rng)
    assert claimed.interpretable.mean() > 0.9
    assert not claimed.specific.any()
    assert claimed.shuffled_same.sum(axis=1).mean() > 60  # and the control says how little that is
    assert claimed.shuffled_any.sum(axis=1).mean() < 20
    silent = detect(value, inner, emotion, ~every, every, q=0.06, n_shuffles=5, rng=rng)
    assert not silent.interpretable.any()
    strict = detect(value, inner, emotion, every, every, q=0.06, n_shuffles=5, specific_only=True, rng=rng)
    assert not strict.interpretable.any()


@given(st.integers(0, 2**32 - 1))
def test_ranks_count_ties_against_the_name(seed):
    rng = np.random.default_rng(seed)
    d = int(rng.integers(2, 20))
    value = np.ceil(rng.random((d, d)) * 4) / 4
    emotion = rng.integers(0, 2, d)
    every = np.ones(d, bool)
    found = detect(value, value, emotion, every, every, q=0.05, n_shuffles=1, rng=rng)
    for f in range(d):
        same = emotion == emotion[f]
        assert found.p_any[f] == pytest.approx((value[:, f] >= value[f, f]).mean())
        assert found.p_same[f] == pytest.approx((value[same, f] >= value[f, f]).mean())


def test_coverage_is_told_for_every_strength():
    """A name that only knows the strongest firings covers half of them, and says so."""
    activation = np.r_[np.zeros(5), np.arange(1, 41)].astype(float)
    predicted = np.stack([activation > 20, activation > 0])
    cover = decile_coverage(predicted, activation)
    np.testing.assert_array_equal(cover, [[0] * 5 + [1] * 5, [1] * 10])
    assert decile_coverage(predicted, np.zeros(45)).shape == (2, 0)
    assert decile_coverage(predicted, (activation == 40).astype(float)).tolist() == [[1], [1]]
