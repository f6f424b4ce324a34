"""AUROC and its group bootstrap against scikit-learn, the largest segment, partial labels, held-out and special rows."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from helpers.planted_study import THREE
from moodlens.core import BadInput
from moodlens.core.labels import UNKNOWN
from moodlens.features import gather_families
from moodlens.settings.features import FeatureSettings
from moodlens.stats.resample import GroupResamples
from moodlens.study.coded import Coded
from moodlens.study.families import Families, Family
from moodlens.study.rows import Rows
from moodlens.validate import transfer as room
from moodlens.validate.readouts import DenseBaselines
from moodlens.validate.transfer import Readings, generalization, max_over_segments, special_rows, transfer_set

FROM_PRE, FROM_CODES = ("family", "top_feature"), ("family_active", "top_feature_active")


@given(st.integers(0, 2**32 - 1))
def test_auroc_and_resamples_equal_sklearn(seed):
    rng = np.random.default_rng(seed)
    n = 40
    scores, own = rng.integers(0, 6, n) / 2, rng.random(n) < 0.4
    own[:2] = [True, False]
    groups = rng.integers(0, 9, n)
    resamples = GroupResamples(groups, 100, seed)
    one = resamples.auroc(scores, own)
    assert one.value == pytest.approx(roc_auc_score(own, scores), abs=1e-12)
    for b in range(0, 100, 25):
        weight = resamples.weights[b][resamples.group]
        if weight[own].sum() > 0 and weight[~own].sum() > 0:
            assert one.drawn[b] == pytest.approx(roc_auc_score(own, scores, sample_weight=weight), abs=1e-6)
        else:
            assert np.isnan(one.drawn[b])


def test_few_groups_give_wider_intervals_than_rows():
    rng = np.random.default_rng(0)
    shift = rng.normal(size=6)
    groups = np.arange(600) % 6
    own = rng.random(600) < 0.5
    own = np.where(rng.random(600) < 0.3, groups < 3, own)
    scores = own + shift[groups] + rng.normal(size=600)
    wide = GroupResamples(groups, 500, 0).auroc(scores, own).ci
    narrow = GroupResamples(np.arange(600), 500, 0).auroc(scores, own).ci
    assert wide[1] - wide[0] > 1.3 * (narrow[1] - narrow[0])


def test_the_largest_segment_speaks_for_a_text():
    scores = np.array([[1.0, 0], [5, 1], [2, 9], [0, 0]])
    np.testing.assert_array_equal(
        max_over_segments(scores, np.array([1, 0, 1, 2]), 3), [[5, 1], [2, 9], [0, 0]]
    )
    with pytest.raises(BadInput, match="text 1 has no segment"):
        max_over_segments(scores, np.array([0, 0, 2, 2]), 3)


@pytest.fixture(scope="module")
def baselines(planted):
    dev = planted.rows.where("train", "val")
    return DenseBaselines.fit(planted.x[dev], planted.rows[dev], 0)


def _pre(planted):
    """Below the threshold, features are nearer to firing on texts of their emotion."""
    rng = np.random.default_rng(1)
    pre = -0.4 + 0.1 * rng.normal(size=planted.codes.shape)
    for c, family in enumerate(planted.families.families):
        pre[np.ix_(planted.rows.label == c, family.features)] += 0.1
    return np.where(planted.codes > 0, planted.codes, pre).astype(np.float32)


def _texts(planted):
    """Test rows as texts of two segments, the second a neutral row: rows, segments of the study, owners."""
    texts = planted.rows.labelled("test")
    neutral = np.flatnonzero(planted.rows.label < 0)[: len(texts)]
    segments = np.stack([texts, np.resize(neutral, len(texts))], axis=1).ravel()
    return planted.rows[texts], segments, np.repeat(np.arange(len(texts)), 2)


def _readings(planted, segments):
    return Readings(_pre(planted)[segments], planted.codes[segments], planted.x[segments])


def test_transfer_set_judges_every_method_per_text(planted, baselines, transfer_settings):
    rows, segments, owner = _texts(planted)
    labels = rows.label.copy()
    labels[:3] = UNKNOWN  # partly labelled
    rows = replace(rows, label=labels)
    readings = _readings(planted, segments)
    out = transfer_set(
        "captions", readings, owner, rows, planted.families, baselines, transfer_settings, seed=0
    )
    assert out.n == len(rows) - 3
    assert out.n_texts == len(rows)
    assert out.reading == "per segment, max"
    assert out.n_groups == len(np.unique(rows.group[3:]))
    assert set(out.auroc) == {*FROM_PRE, *FROM_CODES, "difference_in_means", "linear_probe"}
    first = [family.features[0] for family in planted.families.families]
    for (family, top), values in ((FROM_PRE, _pre(planted)), (FROM_CODES, planted.codes)):
        for method, scores in ((family, planted.families.scores(values)), (top, values[:, first])):
            score = max_over_segments(scores[segments], owner, len(rows))[3:]
            for c, emotion in enumerate(THREE):
                cell = out.auroc[method][emotion]
                assert cell.value == pytest.approx(roc_auc_score(labels[3:] == c, score[:, c]), abs=1e-6)
                assert cell.ci[0] <= cell.value <= cell.ci[1]
    mean = {method: cells["mean"].value for method, cells in out.auroc.items()}
    assert mean["family"] == pytest.approx(np.mean([out.auroc["family"][e].value for e in THREE]))
    assert mean["family"] > mean["family_active"] > mean["top_feature_active"] > 0.5
    assert mean["family"] > mean["top_feature"] > mean["top_feature_active"]


def test_an_emotion_without_family_or_texts_stays_out_of_the_mean(planted, baselines, transfer_settings):
    rows, segments, _ = _texts(planted)
    families = Families(families=(*planted.families.families[:2], Family(emotion="calm")))
    kept = rows.label != 1
    readings, owner = _readings(planted, segments[np.repeat(kept, 2)]), np.repeat(np.arange(kept.sum()), 2)
    out = transfer_set("t", readings, owner, rows[kept], families, baselines, transfer_settings, seed=0).auroc
    assert out["family"]["calm"].value is None
    assert out["family"]["fear"].value is None
    assert out["family"]["mean"].value == out["family"]["joy"].value
    assert out["linear_probe"]["calm"].value is not None


def test_transfer_needs_two_labels(planted, baselines, transfer_settings):
    rows, readings = Rows.of([0, UNKNOWN], emotions=THREE), _readings(planted, np.arange(2))
    with pytest.raises(BadInput, match="at least two emotions"):
        transfer_set(
            "t", readings, np.arange(2), rows, planted.families, baselines, transfer_settings, seed=0
        )


def test_a_label_that_is_the_word_for_the_mean_is_one_line(planted, transfer_settings):
    names = ("mean", "fear", "calm")
    rows, segments, owner = _texts(planted)
    rows = replace(rows, emotions=names)
    families = Families(families=tuple(Family(emotion=name) for name in names))
    baselines = DenseBaselines.fit(planted.x, replace(planted.rows, emotions=names), 0)
    with pytest.raises(BadInput, match="called 'mean'"):
        transfer_set(
            "t", _readings(planted, segments), owner, rows, families, baselines, transfer_settings, seed=0
        )


def _generalise(planted, pre, baselines, settings):
    return generalization(
        planted.coded, pre, planted.families, baselines, FeatureSettings(), settings, seed=0
    )


def test_families_generalise_beyond_random_families(planted, baselines, transfer_settings):
    pre = _pre(planted)
    held_out = planted.rows.labelled("held_out")
    out = _generalise(planted, pre[held_out], baselines, transfer_settings)
    assert out.family_auroc > 0.8
    assert 0.45 < out.control_mean < out.control_auroc < out.family_auroc
    assert out.ci[0] < out.family_auroc < out.ci[1]
    assert out.auroc["family"]["mean"].value == out.family_auroc
    assert out.family_auroc > out.auroc["family_active"]["mean"].value
    with pytest.raises(BadInput, match="not those of the held-out rows"):
        _generalise(planted, pre, baselines, transfer_settings)
    none = _generalise(planted.split_as("train"), pre[:0], baselines, transfer_settings)
    assert none.family_auroc is None
    assert none.note


@pytest.mark.parametrize("weights", ["evidence", "auroc", "equal", "logistic"])
def test_random_families_are_weighted_and_read_by_the_rule_of_the_real_ones(planted, weights, monkeypatch):
    monkeypatch.setattr(room, "DRAWS", 2)
    rule = FeatureSettings(family_weights=weights)
    dev, held_out = planted.rows.where("train", "val"), planted.rows.labelled("held_out")
    pre, labels = _pre(planted)[held_out], planted.rows.label[held_out]
    drawn = room._random_families(pre, planted.coded, planted.families, rule, 3)
    rng = np.random.default_rng([3, 0x6E0])
    live = np.flatnonzero((planted.codes[dev] > 0).any(axis=0))
    wanted = np.zeros((len(THREE), 2))
    for c, emotion in enumerate(THREE):
        for draw in range(2):
            picks = rng.choice(live, len(planted.families.families[c].features), replace=False)
            table = pl.DataFrame(
                {"feature": picks, "emotion": [emotion] * len(picks), "emotion_feature": True}
            )
            same = gather_families(table, planted.codes, planted.rows, rule)
            wanted[c, draw] = roc_auc_score(labels == c, same.scores(pre)[:, c])
    np.testing.assert_allclose(drawn, wanted.mean(axis=0), atol=1e-6)


def test_texts_of_unknown_emotion_weigh_no_random_family(planted):
    """They speak neither for nor against, so the control is the same with them."""
    happy = planted.rows.labelled("train", "val")[:80]
    both = np.r_[np.arange(len(planted.rows)), happy]
    unknown = np.arange(len(both)) >= len(planted.rows)
    rows = Rows.of(
        np.where(unknown, UNKNOWN, planted.rows.label[both]), emotions=THREE, split=planted.rows.split[both]
    )
    more = Coded(rows, planted.x[both], planted.codes[both], planted.coded.W_dec)
    pre = _pre(planted)[planted.rows.labelled("held_out")]
    drawn = [
        room._random_families(pre, coded, planted.families, FeatureSettings(), 0)
        for coded in (planted.coded, more)
    ]
    np.testing.assert_array_equal(*drawn)


def test_special_rows_are_placed_among_plain_rows(planted):
    n = len(planted.x)
    codes = planted.codes.copy()
    kinds, about = planted.rows.kind.astype(object), [None] * n
    joyful = planted.rows.where("held_out")
    joyful = joyful[planted.rows.label[joyful] == 0]
    denied, mixed = joyful[:5], joyful[5:9]
    kinds[denied], kinds[mixed] = "negation", "mixed"
    for row in joyful[:9]:
        about[row] = "joy" if row in denied else "joy|fear"
    codes[denied] = 0
    codes[denied[:, None], list(planted.families.families[0].features)] = (
        5  # read as if the word alone counted
    )
    codes[mixed] = 0
    scores = planted.families.scores(codes)
    labels = np.where(np.isin(np.arange(n), [*denied, *mixed]), UNKNOWN, planted.rows.label)
    study = replace(planted.rows, label=labels, kind=kinds.astype(str))
    rows = {(r.kind, r.emotion): r for r in special_rows(scores, study, about, planted.families)}
    assert set(rows) == {
        ("negation", "joy"), ("mixed", "joy"), ("mixed", "fear"), *(("neutral", e) for e in THREE),
    }  # fmt: skip
    assert rows["negation", "joy"].percentile_own > 95
    assert rows["negation", "joy"].n == 5
    assert rows["mixed", "joy"].percentile_others <= 50
    assert rows["neutral", "joy"].percentile_own < 40
    assert rows["neutral", "joy"].plain_own > rows["neutral", "joy"].plain_others
