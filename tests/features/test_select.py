"""The choice and the judgement of features: planted ones found, chance not, groups respected."""

from dataclasses import replace

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.core.labels import NEUTRAL, UNKNOWN
from moodlens.features import select_features
from moodlens.settings.features import FeatureSettings
from moodlens.study.rows import Rows

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
    return rng, codes.astype(np.float32), Rows.of(labels, emotions=EMOTIONS, group=groups, split=splits)


def _with(rows, **columns):
    """The same rows with other columns."""
    return replace(rows, **{name: np.asarray(value) for name, value in columns.items()})


def test_planted_features_are_found_with_their_emotion_and_chance_is_not():
    rng, codes, rows = _study()
    for c in range(4):
        fires = (rows.label == c) & (rng.random(len(rows)) < 0.6)
        codes[:, c] = np.where(fires, 0.5 + rng.random(len(rows)), 0)
    found = select_features(codes, rows, SETTINGS, seed=1)
    table = found.table
    claimed = table.filter("emotion_feature")
    assert set(range(4)) <= set(claimed["feature"])
    assert claimed.height <= 5
    assert table["emotion"][:4].to_list() == list(EMOTIONS)
    assert (table["auroc"][:4].to_numpy() > 0.7).all()
    assert (table["n_groups"][:4].to_numpy() >= 5).all()
    assert found.summary.per_emotion["happy"] >= 1
    assert found.summary.shuffled.p95 <= 1
    assert found.summary.threshold_only.shuffled_mean > found.summary.shuffled.mean


def test_shuffled_labels_find_hardly_anything():
    claims = 0
    for seed in range(8):
        _, codes, rows = _study(seed)
        summary = select_features(codes, rows, SETTINGS, seed=seed).summary
        claims += summary.n_emotion_features > 0
    assert claims <= 3  # 5 % of 8 is 0.4; more than 3 has probability below 0.1 %


def test_many_rows_of_one_test_group_are_no_evidence():
    _, codes, rows = _study()
    codes[:, 0] = 0
    dev, test = rows.split != "test", rows.split == "test"
    codes[dev & (rows.label == 0), 0] = 1
    codes[rows.group == rows.group[test & (rows.label == 0)][0], 0] = 1
    row = select_features(codes, rows, SETTINGS, seed=0).table.row(0, named=True)
    assert row["tested"]
    assert row["emotion"] == "happy"
    assert row["n_groups"] == 1
    assert row["p"] > 0.1
    assert not row["emotion_feature"]


def test_the_emotion_is_fixed_before_test_is_looked_at():
    """A feature that is happy on train + val and sad on test is tested for happy, and fails."""
    _, codes, rows = _study()
    codes[:, 0] = np.where(rows.split == "test", rows.label == 1, rows.label == 0)
    row = select_features(codes, rows, SETTINGS, seed=0).table.row(0, named=True)
    assert row["emotion"] == "happy"
    assert row["auroc_dev"] == 1
    assert row["auroc"] < 0.5
    assert row["p"] > 0.9


def test_a_feature_seen_in_one_group_is_not_even_tested():
    _, codes, rows = _study()
    codes[:, 0] = rows.group == rows.group[(rows.split == "train") & (rows.label == 0)][0]
    row = select_features(codes, rows, SETTINGS, seed=0).table.row(0, named=True)
    assert not row["tested"]
    assert row["p"] is None
    assert row["q"] is None


def test_equal_seeds_give_equal_tables():
    _, codes, rows = _study()
    one, two = (select_features(codes, rows, SETTINGS, seed=5) for _ in range(2))
    assert one.table.equals(two.table)
    assert one.summary == two.summary


def test_what_cannot_be_judged_is_refused():
    _, codes, rows = _study()

    def judge(rows=rows, codes=codes):
        return select_features(codes, rows, SETTINGS, seed=0)

    with pytest.raises(BadInput, match="split by group"):
        judge(_with(rows, group=np.zeros(len(rows), int)))
    with pytest.raises(BadInput, match=r"no test rows are labelled 'sad'"):
        judge(_with(rows, label=np.where((rows.split == "test") & (rows.label == 1), NEUTRAL, rows.label)))
    with pytest.raises(BadInput, match="at least two emotions"):
        judge(Rows.of(np.zeros(len(rows)), emotions=("happy",), split=rows.split))
    with pytest.raises(BadInput, match="unknown split"):
        judge(_with(rows, split=np.where(rows.split == "val", "valid", rows.split)))
    bad = codes.copy()
    bad[3, 2] = np.nan
    with pytest.raises(BadInput, match="NaN"):
        judge(codes=bad)
    with pytest.raises(BadInput, match="do not fit"):
        judge(rows[1:])


def test_rows_without_a_known_emotion_change_no_statistic():
    """Neutral, unlabelled, denying and mixed texts are neither chosen nor judged on, nor do they speak against."""
    _, codes, rows = _study()
    codes[:, 0] = rows.label == 0
    extra = np.repeat([NEUTRAL, UNKNOWN, UNKNOWN, UNKNOWN], 40)
    kind = np.repeat(["neutral", "unlabelled", "negation", "mixed"], 40)
    both = Rows.of(
        np.r_[rows.label, extra],
        emotions=EMOTIONS,
        group=np.r_[rows.group, 1000 + np.arange(160)],
        split=np.r_[rows.split, np.tile(["train", "test"], 80)],
        kind=np.r_[rows.kind, kind],
    )
    more = select_features(np.r_[codes, np.ones((160, 40), np.float32)], both, SETTINGS, seed=0)
    alone = select_features(codes, rows, SETTINGS, seed=0)
    of_all_rows = ("density", "mean_activation")
    assert more.table.drop(of_all_rows).equals(alone.table.drop(of_all_rows))
    assert more.summary == alone.summary


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_codes_does_not_matter(scale):
    _, codes, rows = _study()
    codes[:, 0] = (rows.label == 0) * (1 + 0.1 * np.arange(len(rows)) / len(rows))
    one, other = (select_features((k * codes).astype(np.float32), rows, SETTINGS, seed=0) for k in (1, scale))
    assert one.summary == other.summary
    assert one.table.drop("mean_activation").equals(other.table.drop("mean_activation"))


def test_codes_that_differ_by_rounding_alone_hold_nothing():
    """Equal texts come out of an encoder equal to some digits: which is larger is no signal."""
    _, _, rows = _study()
    rounding = 1 + 2e-7 * rows.label[:, None]
    codes = (np.linspace(0.1, 3, 16) * rounding).astype(np.float32)
    found = select_features(codes, rows, SETTINGS, seed=0)
    assert found.summary.n_emotion_features == 0
    np.testing.assert_array_equal(found.table["auroc"], 0.5)


def test_many_emotions_few_rows_and_constant_features_are_judged():
    n = 50
    names = tuple(f"e{c}" for c in range(n))
    label = np.tile(np.arange(n), 3)
    split = np.repeat(["train", "val", "test"], n)
    codes = np.c_[np.ones(3 * n), np.zeros(3 * n), label == 7].astype(np.float32)
    one_row_each = Rows.of(label, emotions=names, split=split)
    table = select_features(codes, one_row_each, SETTINGS, seed=0).table
    assert not table["emotion_feature"].any()
    two = Rows.of(label[split != "val"] % 2, emotions=("a", "b"), split=split[split != "val"])
    assert not select_features(codes[split != "val"], two, SETTINGS, seed=0).table["emotion_feature"].any()
    one_group = Rows.of(label % 2, emotions=("a", "b"), group=(split == "test").astype(int), split=split)
    assert select_features(codes, one_group, SETTINGS, seed=0).summary.n_groups_test == 1


@pytest.mark.parametrize("seed", range(3))
def test_copies_of_a_text_in_an_annotators_group_are_one_observation(seed):
    """Codes that know the text and no emotion: twenty copies of each text are no evidence."""
    rng = np.random.default_rng(seed)
    text = np.repeat(np.arange(48), 20)
    annotator = text // 8
    labels = rng.integers(0, 2, 48)[text]
    level = (rng.random((48, 200)) < 0.25) * rng.random((48, 200))
    split = np.array(["train", "train", "val", "test", "test", "test"])[annotator]
    rows = Rows.of(labels, emotions=EMOTIONS[:2], group=annotator, split=split, copy=text)
    found = select_features(level[text].astype(np.float32), rows, SETTINGS, seed=seed).summary
    assert found.n_tested > 20
    assert found.n_emotion_features <= 1


def test_only_the_core_is_tested_and_the_rest_changes_nothing():
    rng, codes, rows = _study()
    for f in (0, 1, 30, 31):  # two of the core, two of the rest
        fires = (rows.label == f % 4) & (rng.random(len(rows)) < 0.6)
        codes[:, f] = np.where(fires, 0.5 + rng.random(len(rows)), 0)
    found = select_features(codes, rows, SETTINGS, seed=1, core_size=20)
    table = found.table
    assert {0, 1} <= set(table.filter("emotion_feature")["feature"])
    assert table["core"].to_list() == [f < 20 for f in range(40)]
    outside = table.filter(~table["core"])
    assert not outside["tested"].any()
    assert not outside["emotion_feature"].any()
    assert outside["p"].null_count() == outside.height
    assert outside["auroc_dev"][10] > 0.7  # described all the same
    assert found.summary.core_size == 20
    assert found.summary.n_features == 40
    alone = select_features(codes[:, :20], rows, SETTINGS, seed=1)
    assert alone.table["q"].equals(table["q"][:20])
    assert alone.summary.shuffled == found.summary.shuffled
