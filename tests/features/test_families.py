"""Families: who joins, how they are weighted, and that they survive a file."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from moodlens.core import BadInput
from moodlens.core.labels import UNKNOWN
from moodlens.features.families import Target, gather_families
from moodlens.settings.features import FeatureSettings
from moodlens.study.coded import Coded
from moodlens.study.families import Families
from moodlens.study.rows import Rows

EMOTIONS = ("happy", "sad", "calm")
D_IN = 12


@pytest.fixture(scope="module")
def made():
    """Happy is a sum of features 0 to 2, most of feature 0; feature 5 is the opposite of happy; nothing is calm."""
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, 300)
    W = np.linalg.qr(rng.normal(size=(D_IN, 6)))[0].T
    codes = np.zeros((300, 6), np.float32)
    for f, (emotion, rate) in enumerate([(0, 0.9), (0, 0.5), (0, 0.3), (1, 0.8), (1, 0.2)]):
        fires = (labels == emotion) & (rng.random(300) < rate)
        codes[:, f] = np.where(fires, 0.5 + rng.random(300), 0)
    W[5] = -W[0]
    x = codes @ W + 0.1 * rng.normal(size=(300, D_IN)) + 3
    table = pl.DataFrame(
        {
            "feature": np.arange(6),
            "emotion": ["happy", "happy", "happy", "sad", "sad", "happy"],
            "emotion_feature": [True, True, True, True, False, True],
            "stability": [1.0, 0.2, 0.9, 1.0, 1.0, 1.0],
        }
    )
    rows = Rows.of(labels, emotions=EMOTIONS)
    return table, Coded(rows, x.astype(np.float32), codes, W.astype(np.float32))


def _families(made, **settings):
    return gather_families(*made, FeatureSettings(**settings))


def test_members_are_emotion_features_that_help_nearest_first(made):
    found = _families(made)
    assert found.emotions == EMOTIONS
    assert [set(family.features) for family in found.families] == [{0, 1, 2}, {3}, set()], "5 points away"
    assert found.families[0].features[0] == 0
    assert sum(found.families[0].weights) == pytest.approx(1)
    coded = made[1]
    target = Target.of(coded.x, coded.rows)
    near = target.nearness(coded.W_dec[list(found.families[0].features)], 0)
    assert (np.diff(near) <= 0).all()


@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_weights_are_the_non_negative_ones_that_come_nearest_and_know_no_scale(seed, scale):
    rng = np.random.default_rng(seed)
    rows = Rows.of(rng.permutation(np.arange(60) % 2), emotions=("a", "b"))
    x = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5))
    directions = rng.normal(size=(4, 5))
    target = Target.of(x, rows)
    weights = target.weights(directions, 0, 4)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    scaled = Target.of(x * scale, rows).weights(directions, 0, 4)
    np.testing.assert_allclose(scaled, weights, rtol=1e-6, atol=1e-9)

    centred = x - x.mean(axis=0)
    wanted = centred @ target.towards[0]

    def loss(w):
        return np.square(centred @ (w @ directions) - wanted).sum() / np.square(wanted).sum()

    best = minimize(loss, np.full(4, 0.1), bounds=[(0, None)] * 4).fun
    if (target.nearness(directions, 0) > 0).any() and best < 0.999:
        amount = np.maximum(
            (centred @ (weights @ directions)) @ wanted / np.square(centred @ (weights @ directions)).sum(), 0
        )
        assert loss(amount * weights) <= best + 1e-4


def test_a_direction_that_all_rows_share_and_a_copy_change_nothing(made):
    coded = made[1]
    target = Target.of(coded.x, coded.rows)
    weights = target.weights(coded.W_dec[:3], 0, 10)
    flat = Target.of(np.concatenate([coded.x, np.full((300, 1), 5)], axis=1), coded.rows)
    wide = np.concatenate([coded.W_dec[:3], np.zeros((3, 1))], axis=1)
    constant = np.zeros((1, D_IN + 1))
    constant[0, -1] = 1
    more = flat.weights(np.concatenate([wide, constant]), 0, 10)
    np.testing.assert_allclose(more, [*weights, 0], atol=1e-8)
    twice = target.weights(coded.W_dec[[0, 0, 1, 2]], 0, 10)
    np.testing.assert_allclose([twice[:2].sum(), *twice[2:]], weights, atol=1e-6)


def test_where_no_direction_helps_the_nearest_stands_alone(made):
    coded = made[1]
    target = Target.of(coded.x, coded.rows)
    away = np.stack([coded.W_dec[5], -target.towards[0]])
    assert target.weights(away, 0, 10).tolist() == [1.0, 0.0]


def test_size_and_stability_keep_members_out(made):
    assert _families(made, family_size=1).families[0].features == (0,)
    assert _families(made, family_size=1).families[0].weights == (1.0,)
    assert len(_families(made, family_size=2).families[0].features) == 2
    assert set(_families(made, min_stability=0.8).families[0].features) == {0, 2}


def test_members_and_weights_come_from_train_and_val_alone(made):
    table, coded = made
    split = np.where(np.arange(300) < 150, "train", "test")
    spoiled = coded.x.copy()
    spoiled[150:] = np.nan
    rows = Rows.of(coded.rows.label, emotions=EMOTIONS, split=split)
    families = gather_families(table, replace(coded, rows=rows), FeatureSettings())
    assert gather_families(table, replace(coded, rows=rows, x=spoiled), FeatureSettings()) == families


@pytest.mark.parametrize("kind", ["unlabelled", "negation", "mixed"])
def test_a_text_of_unknown_emotion_is_no_negative(made, kind):
    """Happy sentences that nobody labelled must not count against the happy family."""
    table, coded = made
    rows = coded.rows
    happy = np.flatnonzero(rows.label == 0)
    both = np.r_[np.arange(300), happy]
    unknown = np.arange(len(both)) >= 300
    label = np.where(unknown, UNKNOWN, rows.label[both])
    more = Rows.of(label, emotions=EMOTIONS, kind=np.where(unknown, kind, rows.kind[both]))
    wider = Coded(more, coded.x[both], coded.codes[both], coded.W_dec)
    assert gather_families(table, wider, FeatureSettings()) == _families(made)


def test_a_family_reads_what_it_adds(made):
    found, coded = _families(made), made[1]
    directions = found.directions(coded.W_dec)
    first = found.families[0]
    wanted = sum(w * coded.W_dec[f] for f, w in zip(first.features, first.weights, strict=True))
    np.testing.assert_allclose(directions[0], wanted, rtol=1e-6)
    assert not directions[2].any()
    # Against difference-in-means, the order of the rows is nearly the same: the truth is a sum of its members.
    target = Target.of(coded.x, coded.rows)
    cosine = np.corrcoef(coded.x @ directions[0], coded.x @ target.towards[0])[0, 1]
    assert cosine > 0.95


def test_scores_of_activations_are_weighted_sums_and_empty_families_score_zero(made):
    codes = made[1].codes
    found = _families(made)
    first = found.families[0]
    expected = sum(w * codes[:, f] for f, w in zip(first.features, first.weights, strict=True))
    np.testing.assert_allclose(found.scores(codes)[:, 0], expected, rtol=1e-5)
    assert not found.scores(codes)[:, 2].any()


def test_families_on_their_members_read_their_members_alone_to_the_same_scores(made):
    found, codes = _families(made), made[1].codes
    members, few = found.on_members()
    assert members.tolist() == sorted({f for family in found.families for f in family.features})
    np.testing.assert_array_equal(few.scores(codes[:, members]), found.scores(codes))
    assert few.emotions == found.emotions
    nothing, empty = Families(families=found.families[2:]).on_members()
    assert nothing.tolist() == []
    assert empty.scores(codes[:, nothing]).shape == (len(codes), 1)


def test_annotation_ranks_the_members_and_leaves_the_others_empty(made):
    found = _families(made)
    table = found.annotate(made[0])
    assert [table["family_rank"][f] for f in found["happy"].features] == [1, 2, 3]
    assert table["family_rank"].to_list()[3:] == [1, None, None]
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
    coded = made[1]
    family = _families(made)["happy"]
    W_dec, members = coded.W_dec, list(family.features)
    unit = family.direction(W_dec) / np.linalg.norm(family.direction(W_dec))
    own = coded.codes[coded.rows.label == 0]
    firing = own[(own[:, members] > 0).any(axis=1)]
    assert family.typical_size(W_dec, own) == pytest.approx(
        (firing[:, members] @ W_dec[members] @ unit).mean(), rel=1e-5
    )
    assert family.typical_size(W_dec, np.zeros_like(own)) == 0
    assert _families(made)["calm"].typical_size(W_dec, own) == 0
