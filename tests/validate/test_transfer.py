"""AUROC and its group bootstrap against scikit-learn, partial labels, held-out and special rows."""

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
from moodlens.pipeline.score_lines import auroc_lines
from moodlens.settings.features import FeatureSettings
from moodlens.settings.validation import ReadingSettings
from moodlens.stats.resample import GroupResamples
from moodlens.study.coded import Coded
from moodlens.study.families import Families, Family
from moodlens.study.records.transfer import without_family
from moodlens.study.rows import Rows
from moodlens.validate import transfer as room
from moodlens.validate.methods import all_methods
from moodlens.validate.readouts import DenseBaselines
from moodlens.validate.transfer import Prompted, generalization, special_rows, transfer_set

DENSE = ("difference_in_means", "linear_probe")


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


@pytest.fixture(scope="module")
def methods(planted):
    return _methods(planted)


def _methods(planted, families=None):
    families = families or planted.families
    members = families.on_members()[0]
    dev = planted.rows.where("train", "val")
    x, place = planted.x[dev], {row.tobytes(): i for i, row in enumerate(planted.x)}

    def encode(rows):  # the planted activations, which no encoder gives
        return planted.codes[[place[row.astype(np.float32).tobytes()] for row in rows]][:, members]

    baselines = DenseBaselines.fit(x, planted.rows[dev], 0)
    return all_methods(families, planted.coded.W_dec, encode, baselines, x, ReadingSettings())


def _scores(planted, methods):
    """Test rows as texts, and what every method says of them."""
    texts = planted.rows.labelled("test")
    return planted.rows[texts], {name: method.rows(planted.x[texts]) for name, method in methods.items()}


def test_transfer_set_judges_every_method_per_text(planted, methods, transfer_settings):
    rows, scores = _scores(planted, methods)
    labels = rows.label.copy()
    labels[:3] = UNKNOWN  # partly labelled
    rows = replace(rows, label=labels)
    readings = {name: method.how.words for name, method in methods.items()}
    out = transfer_set("captions", scores, readings, rows, transfer_settings, seed=0)
    assert out.n == len(rows) - 3
    assert out.n_texts == len(rows)
    assert out.readings["family"] == "tokens, log-mean-exp, against the other emotions"
    assert out.n_groups == len(np.unique(rows.group[3:]))
    assert list(out.auroc) == [
        "family", "top_feature", "family_active", "top_feature_active", "difference_in_means", "linear_probe",
    ]  # fmt: skip
    for method, values in scores.items():
        for c, emotion in enumerate(THREE):
            cell = out.auroc[method][emotion]
            assert cell.value == pytest.approx(roc_auc_score(labels[3:] == c, values[3:, c]), abs=1e-6)
            assert cell.ci[0] <= cell.value <= cell.ci[1]
    mean = {method: cells["mean"].value for method, cells in out.auroc.items()}
    assert mean["family"] == pytest.approx(np.mean([out.auroc["family"][e].value for e in THREE]))
    assert min(mean["family"], mean["top_feature"]) > mean["family_active"] > mean["top_feature_active"] > 0.5


def test_an_emotion_without_family_or_texts_stays_out_of_the_mean(planted, transfer_settings):
    families = Families(families=(*planted.families.families[:2], Family(emotion="calm")))
    rows, scores = _scores(planted, _methods(planted, families))
    kept = rows.label != 1
    scores = {name: values[kept] for name, values in scores.items()}
    out = transfer_set("t", scores, {}, rows[kept], transfer_settings, seed=0).auroc
    assert out["family"]["calm"].value is None
    assert out["family"]["fear"].value is None
    assert out["family"]["mean"].value == out["family"]["joy"].value
    assert out["linear_probe"]["calm"].value is not None
    assert without_family(out) == ["calm"]


def test_means_of_methods_are_of_the_same_emotions(planted, transfer_settings):
    """A study without a family of its hardest emotion would lie level with baselines that read all of them."""
    families = Families(families=(Family(emotion="joy"), *planted.families.families[1:]))
    rows, scores = _scores(planted, _methods(planted, families))
    scores["difference_in_means"] = scores["difference_in_means"].copy()
    scores["difference_in_means"][:, 0] = np.random.default_rng(0).normal(size=len(rows))
    out = transfer_set("t", scores, {}, rows, transfer_settings, seed=0).auroc
    for method, areas in out.items():
        wanted = np.mean([areas[emotion].value for emotion in ("fear", "calm")])
        assert areas["mean"].value == pytest.approx(wanted), method
    assert out["difference_in_means"]["joy"].value + 0.1 < out["difference_in_means"]["mean"].value
    lines = auroc_lines("t", transfer_set("t", scores, {}, rows, transfer_settings, seed=0), THREE)
    assert "mean: without joy, of which there is no family" in lines
    none = {name: np.where(name in DENSE, values, np.nan) for name, values in scores.items()}
    out = transfer_set("t", none, {}, rows, transfer_settings, seed=0).auroc
    assert out["family"]["mean"].value is None
    assert out["linear_probe"]["mean"].value == pytest.approx(
        np.mean([out["linear_probe"][emotion].value for emotion in THREE])
    )
    assert without_family(out) == []


def test_transfer_needs_two_labels(transfer_settings):
    rows = Rows.of([0, UNKNOWN], emotions=THREE)
    with pytest.raises(BadInput, match="at least two emotions"):
        transfer_set("t", {"family": np.zeros((2, 3))}, {}, rows, transfer_settings, seed=0)


def test_a_label_that_is_the_word_for_the_mean_is_one_line(planted, methods, transfer_settings):
    rows, scores = _scores(planted, methods)
    rows = replace(rows, emotions=("mean", "fear", "calm"))
    with pytest.raises(BadInput, match="called 'mean'"):
        transfer_set("t", scores, {}, rows, transfer_settings, seed=0)


def _generalise(planted, methods, settings):
    n = len(planted.coded.W_dec)
    return generalization(
        planted.coded, methods, planted.families, FeatureSettings(), settings, n_claimable=n, seed=0
    )


def test_families_generalise_beyond_random_families(planted, methods, transfer_settings):
    out = _generalise(planted, methods, transfer_settings)
    assert out.family_auroc > 0.8
    assert 0.45 < out.control_mean < out.control_auroc < out.family_auroc
    assert out.ci[0] < out.family_auroc < out.ci[1]
    assert out.auroc["family"]["mean"].value == out.family_auroc
    none = _generalise(planted.split_as("train"), methods, transfer_settings)
    assert none.family_auroc is None
    assert none.note


def test_random_families_are_weighted_and_read_by_the_rule_of_the_real_ones(planted, methods, monkeypatch):
    monkeypatch.setattr(room, "DRAWS", 2)
    rule, rows, W_dec = FeatureSettings(), planted.rows, planted.coded.W_dec
    dev, held_out = rows.where("train", "val"), rows.labelled("held_out")
    n = len(W_dec) - 5
    drawn = room._random_families(planted.coded, methods["family"], planted.families, rule, n, 3)
    rng = np.random.default_rng([3, 0x6E0])
    live = np.flatnonzero((planted.codes[dev, :n] > 0).any(axis=0))
    members = {}
    for c, family in enumerate(planted.families.families):
        for draw in range(2):
            members[draw, c] = rng.choice(live, len(family.features), replace=False)
    assert max(picks.max() for picks in members.values()) < n, "the rest of a dictionary is never claimed"
    for draw in range(2):
        families = []
        for c, emotion in enumerate(THREE):
            picks = members[draw, c]
            table = pl.DataFrame(
                {"feature": picks, "emotion": [emotion] * len(picks), "emotion_feature": True}
            )
            families.append(gather_families(table, planted.coded, rule).families[c])
        chosen = _methods(planted, Families(families=tuple(families)))["family"]
        scores = chosen.rows(planted.x[held_out])
        areas = [roc_auc_score(rows.label[held_out] == c, scores[:, c]) for c in range(len(THREE))]
        assert drawn[draw] == pytest.approx(np.mean(areas), abs=1e-5)


def test_texts_of_unknown_emotion_weigh_no_random_family(planted, methods):
    """They speak neither for nor against, so the control is the same with them."""
    happy = planted.rows.labelled("train", "val")[:80]
    both = np.r_[np.arange(len(planted.rows)), happy]
    unknown = np.arange(len(both)) >= len(planted.rows)
    rows = Rows.of(
        np.where(unknown, UNKNOWN, planted.rows.label[both]), emotions=THREE, split=planted.rows.split[both]
    )
    more = Coded(rows, planted.x[both], planted.codes[both], planted.coded.W_dec)
    n = len(planted.coded.W_dec)
    drawn = [
        room._random_families(coded, methods["family"], planted.families, FeatureSettings(), n, 0)
        for coded in (planted.coded, more)
    ]
    np.testing.assert_array_equal(*drawn)


class _Given:
    """A method that gives the scores it was made with."""

    def __init__(self, scores):
        self._scores = scores

    def rows(self, x):
        return self._scores


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
    scores = planted.families.scores(codes).astype(np.float64)
    methods = {
        "family": _Given(scores),
        "family_gated": _Given(np.where((kinds == "negation")[:, None], -1, scores)),
    }
    ids = [f"t{row}" for row in range(n)]
    twin = [ids[joyful[-1]] if row in denied else None for row in range(n)]
    labels = np.where(np.isin(np.arange(n), [*denied, *mixed]), UNKNOWN, planted.rows.label)
    study = replace(planted.rows, label=labels, kind=kinds.astype(str))
    found = special_rows(methods, planted.x, study, Prompted.of(ids, about, twin))
    rows = {(r.kind, r.emotion): r for r in found}
    assert set(rows) == {
        ("negation", "joy"), ("mixed", "joy"), ("mixed", "fear"), *(("neutral", e) for e in THREE),
    }  # fmt: skip
    assert rows["negation", "joy"].percentile_own > 95
    assert rows["negation", "joy"].n == 5
    assert rows["negation", "joy"].split == "held_out"
    assert rows["negation", "joy"].below_twin == 0
    assert rows["negation", "joy"].gated_below_twin == 1
    assert rows["negation", "joy"].gated_others < 1
    assert rows["mixed", "joy"].below_twin is None
    assert rows["mixed", "joy"].gated_others == rows["mixed", "joy"].percentile_others
    assert all(
        r.gated_own is None
        for r in special_rows({"family": methods["family"]}, planted.x, study, Prompted.of(ids, about, twin))
    )
    assert rows["mixed", "joy"].percentile_others <= 50
    assert rows["neutral", "joy"].percentile_own < 40
    assert rows["neutral", "joy"].plain_own > rows["neutral", "joy"].plain_others
