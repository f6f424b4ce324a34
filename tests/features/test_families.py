"""Families: who joins, how they are weighted, and that they survive a file."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from moodlens.core import BadInput
from moodlens.core.labels import UNKNOWN
from moodlens.features.families import gather_families
from moodlens.settings.features import FeatureSettings
from moodlens.stats.ranks import firing_rates, selectivity
from moodlens.study.families import Families
from moodlens.study.rows import Rows

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
    return table, codes, Rows.of(labels, emotions=EMOTIONS)


def _families(made, **settings):
    return gather_families(*made, FeatureSettings(**settings))


def test_members_are_emotion_features_best_first_whatever_their_scale(made):
    found = _families(made)
    assert found.emotions == EMOTIONS
    assert [family.features for family in found.families] == [(0, 1, 2), (3,), ()]
    weights = found.families[0].weights
    assert sum(weights) == pytest.approx(1)
    assert weights[0] > weights[1] > weights[2]
    assert 9 < found.families[0].scales[1] / found.families[0].scales[0] < 11


def test_auroc_weights_are_the_lead_over_chance_with_neutral_rows_as_negatives(made):
    _, codes, rows = made
    labels = rows.label
    lead = np.array([roc_auc_score(labels == 0, codes[:, f]) - 0.5 for f in range(3)])
    found = _families(made, family_weights="auroc").families[0].weights
    np.testing.assert_allclose(found, lead / lead.sum())
    np.testing.assert_allclose(_families(made, family_weights="equal").families[0].weights, 1 / 3)
    assert all(w > 0 for w in _families(made, family_weights="logistic").families[0].weights)


def test_evidence_weights_are_the_lead_times_the_log_selectivity(made):
    _, codes, rows = made
    labels = rows.label
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


def test_scales_and_weights_come_from_train_and_val_alone(made):
    table, codes, rows = made
    split = np.where(np.arange(300) < 150, "train", "test")
    spoiled = codes.copy()
    spoiled[150:] = 99
    rows = Rows.of(rows.label, emotions=EMOTIONS, split=split)
    families = gather_families(table, codes, rows, FeatureSettings())
    assert gather_families(table, spoiled, rows, FeatureSettings()) == families


@pytest.mark.parametrize("kind", ["unlabelled", "negation", "mixed"])
@pytest.mark.parametrize("weights", ["evidence", "auroc", "logistic"])
def test_a_text_of_unknown_emotion_is_no_negative(made, kind, weights):
    """Happy sentences that nobody labelled must not count against the happy family."""
    table, codes, rows = made
    happy = np.flatnonzero(rows.label == 0)
    both = np.r_[np.arange(300), happy]
    unknown = np.arange(len(both)) >= 300
    label = np.where(unknown, UNKNOWN, rows.label[both])
    more = Rows.of(label, emotions=EMOTIONS, kind=np.where(unknown, kind, rows.kind[both]))
    settings = FeatureSettings(family_weights=weights)
    assert gather_families(table, codes[both], more, settings) == gather_families(
        table, codes, rows, settings
    )


def test_scores_are_weighted_sums_and_empty_families_score_zero(made):
    _, codes, rows = made
    labels = rows.label
    found = _families(made)
    scores = found.scores(codes)
    first = found.families[0]
    expected = sum(
        w * codes[:, f] / s for f, w, s in zip(first.features, first.weights, first.scales, strict=True)
    )
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-5)
    assert not scores[:, 2].any()
    assert roc_auc_score(labels == 0, scores[:, 0]) > roc_auc_score(labels == 0, codes[:, 0])


def test_families_on_their_members_read_their_members_alone_to_the_same_scores(made):
    found, codes = _families(made), made[1]
    members, few = found.on_members()
    assert members.tolist() == sorted({f for family in found.families for f in family.features})
    np.testing.assert_array_equal(few.scores(codes[:, members]), found.scores(codes))
    assert few.emotions == found.emotions
    nothing, empty = Families(families=found.families[2:]).on_members()
    assert nothing.tolist() == []
    assert empty.scores(codes[:, nothing]).shape == (len(codes), 1)


def test_annotation_ranks_the_members_and_leaves_the_others_empty(made):
    table = _families(made).annotate(made[0])
    assert table["family_rank"].to_list() == [1, 2, 3, 1, None, None]
    assert table["family_weight"][3] == 1.0
    assert table["family_weight"].null_count() == 2


def test_a_file_brings_back_the_same_families(made, tmp_path):
    found = _families(made)
    found.write(tmp_path)
    assert Families.read(tmp_path) == found
    assert found["sad"].features == (3,)
    (tmp_path / Families.file).write_text('{"version": 1, "families": [{"features": []}]}')
    with pytest.raises(BadInput, match=r"emotion.*make it anew: moodlens features"):
        Families.read(tmp_path)


def test_the_typical_size_is_how_far_members_go_along_the_direction(made):
    _, codes, rows = made
    family = _families(made)["happy"]
    W_dec = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    unit = family.direction(W_dec) / np.linalg.norm(family.direction(W_dec))
    own = codes[rows.label == 0]
    firing = own[(own[:, :3] > 0).any(axis=1)]
    assert family.typical_size(W_dec, own) == pytest.approx(
        (firing[:, :3] @ W_dec[:3] @ unit).mean(), rel=1e-5
    )
    assert family.typical_size(W_dec, np.zeros_like(own)) == 0
    assert _families(made)["calm"].typical_size(W_dec, own) == 0
