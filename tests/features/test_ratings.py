"""Features that go with a rating: planted ones found at their end, chance not, groups respected."""

from dataclasses import replace

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.features.ratings import rated_features, rated_scales
from moodlens.settings.features import FeatureSettings
from moodlens.study.rows import Rows

SETTINGS = FeatureSettings(n_permutations=400, n_shuffles=5)


def _study(seed=0, n_groups=120, rows=4, d=40, labels=None):
    """Words with ratings, each in some rows, and features with effects of words that know nothing of them."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_groups), rows)
    split = np.array(["train", "train", "val", "test"])[group % 4]
    ratings = {scale: rng.uniform(1, 9, n_groups).round(2)[group] for scale in ("valence", "arousal")}
    level = rng.random((n_groups, d)) < 0.2
    codes = (level[group] & (rng.random((len(group), d)) < 0.8)) * rng.random((len(group), d))
    label = np.full(len(group), -2) if labels is None else labels[group % len(labels)]
    emotions = () if labels is None else ("a", "b")
    return (
        rng,
        codes.astype(np.float32),
        Rows.of(label, emotions=emotions, group=group, split=split, ratings=ratings),
    )


def _plant(rng, codes, rows):
    """Features 0 and 1 fire for high and low valence, 2 and 3 for high and low arousal."""
    for feature, (scale, sign) in enumerate(
        (("valence", 1), ("valence", -1), ("arousal", 1), ("arousal", -1))
    ):
        far = sign * (rows.rating(scale) - 5) > 2
        codes[:, feature] = np.where(far & (rng.random(len(rows)) < 0.7), 0.5 + rng.random(len(rows)), 0)
    return codes


def test_planted_features_are_found_at_their_end_and_chance_is_not():
    rng, codes, rows = _study()
    found = rated_features(_plant(rng, codes, rows), rows, SETTINGS, seed=1, x=codes)
    held = found.table.filter("rated_feature").select("feature", "scale", "pole").rows()
    assert set(held) >= {
        (0, "valence", "high"),
        (1, "valence", "low"),
        (2, "arousal", "high"),
        (3, "arousal", "low"),
    }
    assert len(held) <= 5
    assert found.claims.n_rated == len(held) == sum(found.claims.per_pole.values())
    assert list(found.claims.per_pole) == ["valence high", "valence low", "arousal high", "arousal low"]
    assert found.shuffled.p95 <= 1
    assert max(found.shuffled_poles) <= 1
    row = found.table.filter((found.table["feature"] == 1) & (found.table["scale"] == "valence")).row(
        0, named=True
    )
    assert row["correlation"] < -0.3
    assert row["rating"] < 3 < row["rating_silent"]
    assert row["q"] < 0.05
    assert row["p_maxt"] < 0.05
    scale = found.scales["valence"]
    assert (scale.n_test, scale.n_groups_test, scale.n_groups_dev) == (120, 30, 90)
    assert scale.n_family_wise >= 2
    assert scale.best > 0.3
    assert scale.dense > 0.5


def test_ratings_of_nothing_claim_nothing_over_repeats():
    claims = 0
    for seed in range(10):
        _, codes, rows = _study(seed)
        found = rated_features(codes, rows, SETTINGS, seed=seed)
        claims += found.claims.n_rated > 0
        assert max(found.shuffled.counts) <= 2
    assert claims <= 3  # 5 % of 10 is 0.5; more than 3 has probability below 0.2 %


def test_ratings_dealt_over_words_claim_nothing():
    rng, codes, rows = _study()
    codes = _plant(rng, codes, rows)
    word = rng.permutation(120)
    dealt = replace(
        rows, valence=rows.valence[::4][word][rows.group], arousal=rows.arousal[::4][word][rows.group]
    )
    assert rated_features(codes, dealt, SETTINGS, seed=0).claims.n_rated <= 1


def test_the_end_is_fixed_before_test_is_looked_at():
    """A feature of high ratings on train + val and of low ones on test is tested for high, and fails."""
    _, codes, rows = _study()
    sign = np.where(rows.split == "test", -1, 1)
    codes[:, 0] = sign * (rows.valence - 5) > 2
    row = rated_features(codes, rows, SETTINGS, seed=0).table.row(0, named=True)
    assert (row["scale"], row["pole"], row["tested"], row["rated_feature"]) == (
        "valence",
        "high",
        True,
        False,
    )
    assert row["p"] > 0.9


def test_held_out_rows_choose_and_judge_nothing():
    _, codes, rows = _study()
    moved = replace(rows, split=np.where(rows.group % 8 == 7, "held_out", rows.split))
    other = codes.copy()
    other[moved.split == "held_out"] = 1
    first, second = (rated_features(some, moved, SETTINGS, seed=0).table for some in (codes, other))
    assert first.equals(second)


def test_many_rows_of_one_test_group_are_no_evidence():
    _, codes, rows = _study()
    test = rows.split == "test"
    codes[:, 0] = ~test & (rows.valence > 7)
    codes[rows.group == rows.group[test][rows.valence[test].argmax()], 0] = 1
    row = rated_features(codes, rows, SETTINGS, seed=0).table.row(0, named=True)
    assert row["tested"]
    assert row["n_groups"] == 1
    assert row["p"] > 0.02
    assert not row["rated_feature"]


def test_a_feature_that_hardly_fires_or_hardly_goes_with_it_is_not_tested():
    _, codes, rows = _study()
    codes[:, 0] = 0
    codes[np.flatnonzero(rows.valence > 8)[:4], 0] = 1
    codes[:, 1] = rows.group == rows.group[(rows.split != "test") & (rows.valence > 8)][0]
    tested = rated_features(codes, rows, FeatureSettings(n_permutations=20, n_shuffles=1), seed=0).table[
        "tested"
    ]
    assert not tested[0]
    assert not tested[1]  # one group
    strict = FeatureSettings(n_permutations=20, n_shuffles=1, min_correlation=0.9)
    assert rated_features(codes, rows, strict, seed=0).table["tested"].sum() == 0


def test_a_correlation_that_is_sure_and_small_on_test_does_not_hold():
    rng, codes, rows = _study()
    chance = np.where(rows.split == "test", 0.55, 0.95)
    codes[:, 0] = np.where(
        (rows.valence > 6.5) & (rng.random(len(rows)) < chance), 0.5 + rng.random(len(rows)), 0
    )
    row, strict = (
        rated_features(
            codes,
            rows,
            SETTINGS.model_copy(update={"min_correlation": least, "n_permutations": 2000}),
            seed=0,
        ).table.row(0, named=True)
        for least in (0.1, 0.6)
    )
    assert row["rated_feature"]
    assert 0.1 < row["correlation"] < 0.6 < row["correlation_dev"]
    assert (strict["tested"], strict["rated_feature"]) == (True, False)
    assert strict["q"] < 0.05


def test_labels_have_no_part_in_it_and_unrated_rows_none():
    rng, codes, rows = _study()
    codes = _plant(rng, codes, rows)
    labelled = _study(labels=np.array([0, 1, -1, -2]))[2]
    assert set(labelled.kind) == {"plain", "neutral", "unlabelled"}
    first, second = (rated_features(codes, some, SETTINGS, seed=0).table for some in (rows, labelled))
    assert first.equals(second)
    more = Rows.of(
        [-2] * (len(rows) + 8),
        emotions=(),
        group=[*rows.group, *range(1000, 1008)],
        split=[*rows.split, *["train", "test"] * 4],
        ratings={scale: [*rows.rating(scale), *[np.nan] * 8] for scale in ("valence", "arousal")},
    )
    third = rated_features(np.vstack([codes, np.ones((8, 40), np.float32)]), more, SETTINGS, seed=0).table
    assert first.equals(third)


def test_one_scale_alone_and_none():
    rng, codes, rows = _study()
    one = replace(rows, arousal=np.full(len(rows), np.nan))
    assert rated_scales(one) == ("valence",)
    found = rated_features(_plant(rng, codes, rows), one, SETTINGS, seed=0)
    assert set(found.table["scale"]) == {"valence"}
    assert list(found.claims.per_pole) == ["valence high", "valence low"]
    assert rated_scales(replace(one, valence=one.arousal)) == ()


def test_ratings_that_cannot_judge_are_one_line():
    _, codes, rows = _study()
    with pytest.raises(BadInput, match="ratings of valence: 1 different in test"):
        rated_features(
            codes, replace(rows, valence=np.where(rows.split == "test", 5.0, rows.valence)), SETTINGS, seed=0
        )
    with pytest.raises(BadInput, match="do not fit"):
        rated_features(codes[:5], rows, SETTINGS, seed=0)
    none = np.where(rows.split == "test", np.nan, rows.valence)
    with pytest.raises(BadInput, match="ratings of valence: 0 different in test"):
        rated_features(codes, replace(rows, valence=none), SETTINGS, seed=0)
