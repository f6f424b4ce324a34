"""Orthogonality and compositionality on features whose relations are known."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from moodlens.study.families import Families, Family
from moodlens.validate.pairs import compositionality, orthogonality


def _table(found, emotion):
    core = np.ones(len(found), dtype=bool)
    return pl.DataFrame({"emotion_feature": found, "tested": found, "core": core, "emotion": emotion})


def test_independent_features_are_orthogonal_and_copies_are_not(pair_settings):
    rng = np.random.default_rng(0)
    codes = np.where(rng.random((400, 60)) < 0.1, rng.random((400, 60)), 0)
    W = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    found = np.arange(60) < 10
    names = ["a" if f % 2 else "b" for f in range(60)]
    apart = orthogonality(W, codes, _table(found, names), pair_settings, seed=0)
    assert apart.share == apart.cosine_share == 1
    assert apart.n_pairs == 45
    codes[:, 1:10] = codes[:, :1] * rng.uniform(0.9, 1.1, (400, 9))
    W[1:10] = W[0]
    copies = orthogonality(W, codes, _table(found, names), pair_settings, seed=0)
    assert copies.share == copies.within_share == copies.between_share == 0
    assert copies.mean_abs_cosine == pytest.approx(1, abs=1e-5)
    assert copies.control_share > 0.8
    correlation = np.abs(np.corrcoef(codes[:, :10].T))[np.triu_indices(10, 1)]
    assert copies.mean_abs_correlation == pytest.approx(correlation.mean(), abs=1e-5)


def test_one_emotion_feature_has_no_pairs(pair_settings):
    codes = np.eye(20)
    table = _table(np.arange(20) < 1, ["a"] * 20)
    out = orthogonality(np.eye(20), codes, table, pair_settings, seed=0)
    assert out.share is None
    assert out.n_features == 1


def _compose(planted, settings):
    return compositionality(planted.coded, planted.table, planted.families, settings, seed=0)


def test_planted_families_compose_and_random_ones_do_not(planted, pair_settings):
    out = _compose(planted, pair_settings)
    assert out.share == 1
    assert out.n_pairs == out.n_moved == 3
    assert out.control_share < 0.05
    for pair in out.pairs:
        for emotion in pair.emotions:
            low, high = pair.ci[emotion]
            assert 0 < low <= pair.effects[emotion] <= high


def test_families_that_cancel_do_not_compose(planted, pair_settings):
    W = planted.coded.W_dec.copy()
    W[12:18] = -W[0:6]  # the second emotion's family undoes the first's
    out = _compose(replace(planted, coded=replace(planted.coded, W_dec=W)), pair_settings)
    pair = next(pair for pair in out.pairs if pair.emotions == ("joy", "fear"))
    assert not pair.moved
    assert out.share < 1


def test_fewer_than_two_families(planted, pair_settings):
    first = planted.families.families[0]
    rest = tuple(Family(emotion=f.emotion) for f in planted.families.families[1:])
    out = _compose(replace(planted, families=Families(families=(first, *rest))), pair_settings)
    assert out.share is None
    assert out.n_pairs == 0
