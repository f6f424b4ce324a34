"""Families: who joins, how they are weighted, and that they survive a file."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from moodlens.core import BadInput
from moodlens.settings.features import FeatureSettings
from moodlens.stats.ranks import firing_rates, selectivity
from moodlens.study.families import Families, families

EMOTIONS = ("happy", "sad", "calm")


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, 300)  # nothing is calm
    codes = np.zeros((300, 6), np.float32)
    for f, (emotion, rate, size) in enumerate(
        [(0, 0.9, 1.0), (0, 0.5, 10.0), (0, 0.3, 1.0), (1, 0.8, 2.0), (1, 0.2, 1.0)]
    ):
        fires = (labels == emotion) & (rng.random(300) < rate)
        codes[:, f] = np.where(fires, size * (0.5 + rng.random(300)), 0)
    table = pl.DataFrame(
        {
            "feature": np.arange(6),
            "emotion": ["happy", "happy", "happy", "sad", "sad", None],
            "emotion_feature": [True, True, True, True, False, False],
            "stability": [1.0, 0.2, 0.9, 1.0, 1.0, 0.0],
        }
    )
    return table, codes, labels, np.arange(300)


def _families(made, **settings):
    table, codes, labels, rows = made
    return families(table, codes, labels, EMOTIONS, rows, FeatureSettings(**settings))


def test_members_are_emotion_features_best_first_whatever_their_scale(made):
    found = _families(made)
    assert found.emotions == EMOTIONS
    assert [family.features for family in found.families] == [(0, 1, 2), (3,), ()]
    weights = found.families[0].weights
    assert sum(weights) == pytest.approx(1)
    assert weights[0] > weights[1] > weights[2]
    assert 9 < found.families[0].scales[1] / found.families[0].scales[0] < 11


def test_auroc_weights_are_the_lead_over_chance_with_neutral_rows_as_negatives(made):
    _, codes, labels, _ = made
    lead = np.array([roc_auc_score(labels == 0, codes[:, f]) - 0.5 for f in range(3)])
    found = _families(made, family_weights="auroc").families[0].weights
    np.testing.assert_allclose(found, lead / lead.sum())
    np.testing.assert_allclose(_families(made, family_weights="equal").families[0].weights, 1 / 3)
    assert all(w > 0 for w in _families(made, family_weights="logistic").families[0].weights)


def test_evidence_weights_are_the_lead_times_the_log_selectivity(made):
    _, codes, labels, _ = made
    known = labels >= 0
    lead = np.array([roc_auc_score(labels == 0, codes[:, f]) - 0.5 for f in range(3)])
    ratio = selectivity(firing_rates(codes[known][:, :3], labels[known], len(EMOTIONS)))[0]
    weight = lead * np.log(ratio)
    found = _families(made).families[0]
    np.testing.assert_allclose(found.weights, (weight / weight.sum())[list(found.features)])
    assert list(found.features) == sorted(range(3), key=lambda f: -lead[f])


def test_size_and_stability_keep_members_out(made):
    assert _families(made, family_size=1).families[0].features == (0,)
    assert _families(made, min_stability=0.8).families[0].features == (0, 2)


def test_scales_and_weights_come_from_the_given_rows_alone(made):
    table, codes, labels, _ = made
    rows = np.arange(150)
    spoiled = codes.copy()
    spoiled[150:] = 99
    one = families(table, codes, labels, EMOTIONS, rows, FeatureSettings())
    assert families(table, spoiled, labels, EMOTIONS, rows, FeatureSettings()) == one


def test_scores_are_weighted_sums_and_empty_families_score_zero(made):
    _, codes, labels, _ = made
    found = _families(made)
    scores = found.scores(codes)
    first = found.families[0]
    expected = sum(
        w * codes[:, f] / s for f, w, s in zip(first.features, first.weights, first.scales, strict=True)
    )
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-5)
    assert not scores[:, 2].any()
    assert roc_auc_score(labels == 0, scores[:, 0]) > roc_auc_score(labels == 0, codes[:, 0])


def test_families_apart_read_their_members_alone_to_the_same_scores(made):
    found, codes = _families(made), made[1]
    members, few = found.apart()
    assert members.tolist() == sorted({f for family in found.families for f in family.features})
    np.testing.assert_array_equal(few.scores(codes[:, members]), found.scores(codes))
    assert few.emotions == found.emotions
    nothing, empty = Families(found.families[2:]).apart()
    assert nothing.tolist() == []
    assert empty.scores(codes[:, nothing]).shape == (len(codes), 1)


def test_annotation_ranks_the_members_and_leaves_the_others_empty(made):
    table = _families(made).annotate(made[0])
    assert table["family_rank"].to_list() == [1, 2, 3, 1, None, None]
    assert table["family_weight"][3] == 1.0
    assert table["family_weight"].null_count() == 2


def test_a_file_brings_back_the_same_families(made):
    found = _families(made)
    assert Families.from_json(json.loads(json.dumps(found.to_json()))) == found
    for bad in ({}, {"families": [{"emotion": "happy"}]}, []):
        with pytest.raises(BadInput, match="not a list of families"):
            Families.from_json(bad)
