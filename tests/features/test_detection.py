"""Names that say nothing are not found to hold; names that say something are."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from moodlens.features.names.detect import (
    Trial,
    auroc_of_readings,
    decile_coverage,
    detect,
    others_mean,
    predicted_texts,
    reading_order,
)


def test_scores_are_those_of_sklearn():
    rng = np.random.default_rng(0)
    reading, fires = rng.standard_normal((60, 5)).round(1), rng.random((60, 4)) < 0.3
    scores = auroc_of_readings(reading, fires)
    for i in range(5):
        for f in range(4):
            assert scores[i, f] == pytest.approx(roc_auc_score(fires[:, f], reading[:, i]))


def test_features_that_never_or_always_fire_have_no_score():
    fires = np.array([[0, 1, 1], [0, 1, 0]], dtype=bool)
    scores = auroc_of_readings(np.array([[1.0], [0.0]]), fires)
    assert np.isnan(scores[0, :2]).all()
    assert scores[0, 2] == 1


def test_texts_that_differ_by_rounding_alone_tie():
    fires = np.array([[1], [0], [1], [0]], dtype=bool)
    reading = np.array([[1.0], [1.0 + 1e-9], [1.0 - 1e-9], [1.0]])
    assert auroc_of_readings(reading, fires)[0, 0] == 0.5


def _trial(rng, m, n_judged, gain):
    """Scores of m names on the first ``n_judged`` of their features; the own name is better by ``gain``."""
    value = 0.5 + 0.02 * rng.standard_normal((m, n_judged))
    value[np.arange(n_judged), np.arange(n_judged)] += gain
    return Trial(value, value, np.arange(m) % 4, np.arange(n_judged))


def test_names_that_say_nothing_do_not_hold():
    """All names are alike: over 50 repeats, hardly any claim (Benjamini-Hochberg at 5 %)."""
    claims = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        found = detect(_trial(rng, 240, 30, 0.0), 4, q=0.05, min_score=0.5, n_shuffles=1, rng=rng)
        claims += bool(found.holds.any())
    assert claims <= 7  # 5 % of 50 is 2.5; more than 7 has probability below 0.5 %


def test_names_that_beat_all_others_hold_and_dealt_ones_do_not():
    rng = np.random.default_rng(1)
    found = detect(_trial(rng, 400, 40, 0.3), 4, q=0.05, min_score=0.75, n_shuffles=20, rng=rng)
    assert found.holds.all()
    np.testing.assert_allclose(found.p_all, 1 / 400)
    np.testing.assert_allclose(found.p_emotion, 1 / 100)
    assert found.dealt.sum() == 0
    # A name dealt to its own feature, as one in ten is here, is right.
    assert found.dealt_judged.sum(axis=1).mean() < 10


def test_a_name_must_tell_within_the_emotion_and_over_all_and_well_enough():
    rng = np.random.default_rng(2)
    good, poor = _trial(rng, 400, 40, 0.3), _trial(rng, 400, 40, 0.0)
    for everywhere, within in ((good.everywhere, poor.within), (poor.everywhere, good.within)):
        one_sided = Trial(everywhere, within, good.name_emotion, good.own)
        assert not detect(one_sided, 4, q=0.05, min_score=0.5, n_shuffles=1, rng=rng).holds.any()
    assert not detect(good, 4, q=0.05, min_score=0.95, n_shuffles=1, rng=rng).holds.any()


def test_names_of_few_features_are_not_found_by_their_number_alone():
    """With nine rivals the least p is a tenth, whatever the score."""
    rng = np.random.default_rng(3)
    assert not detect(_trial(rng, 40, 40, 0.4), 4, q=0.05, min_score=0.5, n_shuffles=1, rng=rng).holds.any()


def test_others_are_the_other_judged_features_of_the_emotion():
    trial = Trial(np.zeros((6, 3)), np.zeros((6, 3)), np.array([0, 0, 1, 0, 0, 1]), np.array([0, 1, 2]))
    value = np.array([[0.9, 0.6, 0.1], [0.7, 0.8, 0.1], [0.2, 0.2, 0.5]])
    mean = others_mean(value, trial)
    np.testing.assert_allclose(mean[:2], [0.7, 0.6])
    assert np.isnan(mean[2])


def test_as_many_texts_are_predicted_as_asked_and_the_most_alike():
    reading = np.array([[3.0, 1.0], [1.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    said = predicted_texts(reading_order(reading), np.array([0.5, 0.0]))
    assert said[:, 0].tolist() == [True, False, True, False]
    assert said[:, 1].tolist() == [True, False, False, False]


def test_coverage_is_by_strength_and_few_firings_are_bins_of_their_own():
    activation = np.array([0, 1, 2, 3, 0, 4.0])
    predicted = np.array([[1, 0, 0, 1, 1, 1], [0, 1, 1, 1, 0, 1]], dtype=bool)
    cover = decile_coverage(predicted, activation)
    assert cover.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    many = decile_coverage(np.ones((1, 200), bool), np.arange(200.0))
    assert many.shape == (1, 10)
    assert decile_coverage(predicted, np.zeros(6)).shape == (2, 0)
