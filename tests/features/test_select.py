"""The choice and the judgement of features: planted ones found, chance not, groups respected."""

import json

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.features import select_features
from moodlens.settings.features import FeatureSettings

EMOTIONS = ("happy", "sad", "calm", "energetic")
SETTINGS = FeatureSettings(n_permutations=400, n_shuffles=5)


def _study(seed=0, n_groups=24, rows=8, d=40):
    """Groups of each emotion, features with group effects that know nothing of it."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(4 * n_groups), rows)
    labels = groups % 4
    splits = np.array(["train", "train", "val", "test"])[(groups // 4) % 4]
    level = rng.random((4 * n_groups, d)) < 0.2
    codes = (level[groups] & (rng.random((len(groups), d)) < 0.8)) * rng.random((len(groups), d))
    return rng, codes.astype(np.float32), labels, groups, splits


def test_planted_features_are_found_with_their_emotion_and_chance_is_not():
    rng, codes, labels, groups, splits = _study()
    for c in range(4):
        fires = (labels == c) & (rng.random(len(labels)) < 0.6)
        codes[:, c] = np.where(fires, 0.5 + rng.random(len(labels)), 0)
    found = select_features(codes, labels, groups, splits, EMOTIONS, SETTINGS, seed=1)
    table = found.table
    claimed = table.filter("emotion_feature")
    assert set(range(4)) <= set(claimed["feature"])
    assert claimed.height <= 5
    assert table["emotion"][:4].to_list() == list(EMOTIONS)
    assert (table["auroc"][:4].to_numpy() > 0.7).all()
    assert (table["n_groups"][:4].to_numpy() >= 5).all()
    assert found.summary["per_emotion"]["happy"] >= 1
    assert found.summary["shuffled"]["p95"] <= 1
    assert found.summary["threshold_only"]["shuffled_mean"] > found.summary["shuffled"]["mean"]
    json.dumps(found.summary)


def test_shuffled_labels_find_hardly_anything():
    claims = 0
    for seed in range(8):
        _, codes, labels, groups, splits = _study(seed)
        summary = select_features(codes, labels, groups, splits, EMOTIONS, SETTINGS, seed=seed).summary
        claims += summary["n_emotion_features"] > 0
    assert claims <= 3  # 5 % of 8 is 0.4; more than 3 has probability below 0.1 %


def test_many_rows_of_one_test_group_are_no_evidence():
    _, codes, labels, groups, splits = _study()
    codes[:, 0] = 0
    dev, test = splits != "test", splits == "test"
    one = groups[test & (labels == 0)][0]
    codes[dev & (labels == 0), 0] = 1
    codes[groups == one, 0] = 1
    row = select_features(codes, labels, groups, splits, EMOTIONS, SETTINGS, seed=0).table.row(0, named=True)
    assert row["tested"]
    assert row["emotion"] == "happy"
    assert row["n_groups"] == 1
    assert row["p"] > 0.1
    assert not row["emotion_feature"]


def test_the_emotion_is_fixed_before_test_is_looked_at():
    """A feature that is happy on train + val and sad on test is tested for happy, and fails."""
    _, codes, labels, groups, splits = _study()
    codes[:, 0] = np.where(splits == "test", labels == 1, labels == 0)
    row = select_features(codes, labels, groups, splits, EMOTIONS, SETTINGS, seed=0).table.row(0, named=True)
    assert row["emotion"] == "happy"
    assert row["auroc_dev"] == 1
    assert row["auroc"] < 0.5
    assert row["p"] > 0.9


def test_a_feature_seen_in_one_group_is_not_even_tested():
    _, codes, labels, groups, splits = _study()
    codes[:, 0] = groups == groups[(splits == "train") & (labels == 0)][0]
    row = select_features(codes, labels, groups, splits, EMOTIONS, SETTINGS, seed=0).table.row(0, named=True)
    assert not row["tested"]
    assert row["p"] is None
    assert row["q"] is None


def test_equal_seeds_give_equal_tables():
    _, codes, labels, groups, splits = _study()
    one, two = (select_features(codes, labels, groups, splits, EMOTIONS, SETTINGS, seed=5) for _ in range(2))
    assert one.table.equals(two.table)
    assert one.summary == two.summary


def test_what_cannot_be_judged_is_refused():
    _, codes, labels, groups, splits = _study()

    def judge(**change):
        given = {"codes": codes, "labels": labels, "groups": groups, "splits": splits, "emotions": EMOTIONS}
        given |= change
        return select_features(*given.values(), SETTINGS, seed=0)

    with pytest.raises(BadInput, match="split by group"):
        judge(groups=np.zeros(len(labels), int))
    with pytest.raises(BadInput, match=r"no test rows are labelled 'sad'"):
        judge(labels=np.where((splits == "test") & (labels == 1), -1, labels))
    with pytest.raises(BadInput, match="at least two emotions"):
        judge(emotions=("happy",))
    with pytest.raises(BadInput, match="unknown split"):
        judge(splits=np.where(splits == "val", "valid", splits))
    bad = codes.copy()
    bad[3, 2] = np.nan
    with pytest.raises(BadInput, match="NaN"):
        judge(codes=bad)
    with pytest.raises(BadInput, match="one row each"):
        judge(labels=labels[1:])
