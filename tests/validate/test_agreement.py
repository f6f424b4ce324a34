"""Families of other pipelines agree as their directions do."""

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.features import choose_features, gather_families
from moodlens.settings.features import FeatureSettings
from moodlens.study.families import Families, Family
from moodlens.study.records.stability import Agreement
from moodlens.validate.agreement import SeedFamilies, family_agreement

EMOTIONS = ("joy", "fear")


def _families(*members):
    return Families(
        families=tuple(
            Family(
                emotion=name,
                features=tuple(int(f) for f in features),
                weights=(0.6, 0.4)[: len(features)],
            )
            for name, features in zip(EMOTIONS, members, strict=True)
        )
    )


def _seed(rng, d_in=24, d_sae=80):
    W = rng.normal(size=(d_sae, d_in))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    return SeedFamilies(_families([3, 7], [11, 40]), W, rng.uniform(0.5, 2, d_sae))


def _permuted(one, order):
    """The same SAE with its features in another order: feature ``f`` is now ``place[f]``."""
    place = np.argsort(order)
    moved = _families(*([place[f] for f in family.features] for family in one.families.families))
    return SeedFamilies(moved, one.W_dec[order], one.sizes[order])


def test_the_same_sae_in_another_order_agrees_fully():
    rng = np.random.default_rng(0)
    own = _seed(rng)
    out = family_agreement(own, [_permuted(own, rng.permutation(80)), own], rng.normal(size=(60, 24)), seed=0)
    assert out.n_seeds == 2
    for emotion in EMOTIONS:
        cell = out.emotions[emotion]
        assert cell.direction_min == pytest.approx(1)
        assert cell.reading_min == pytest.approx(1)
        assert cell.direction_control < 0.6
        assert cell.reading_control < 0.6
    assert out.mean.direction == pytest.approx(1)


def test_unrelated_saes_agree_no_more_than_random_families():
    rng = np.random.default_rng(1)
    out = family_agreement(_seed(rng), [_seed(rng) for _ in range(5)], rng.normal(size=(60, 24)), seed=0)
    assert out.mean.direction < out.mean.direction_control
    assert out.mean.reading < out.mean.reading_control


def test_the_two_measures_by_hand():
    rng = np.random.default_rng(2)
    own, other, x = _seed(rng), _seed(rng), rng.normal(size=(60, 24)) + 3
    cell = family_agreement(own, [other], x, seed=0).emotions["fear"]
    added = [0.6 * s.W_dec[11] + 0.4 * s.W_dec[40] for s in (own, other)]
    cosine = added[0] @ added[1] / np.linalg.norm(added[0]) / np.linalg.norm(added[1])
    assert cell.direction == pytest.approx(cosine)
    read = [x @ direction for direction in added]
    assert cell.reading == pytest.approx(np.corrcoef(read[0], read[1])[0, 1], abs=1e-5)


def test_silent_features_and_members_are_never_drawn():
    rng = np.random.default_rng(3)
    own = _seed(rng)
    # Only copies of the family's opposite are live beside it: every random family is the opposite.
    W = own.W_dec.copy()
    sizes = np.zeros(80)
    sizes[[3, 7, 20, 21]] = 1
    W[20] = W[21] = -own.families.families[0].direction(own.W_dec)
    other = SeedFamilies(own.families, W, sizes)
    cell = family_agreement(own, [other], rng.normal(size=(60, 24)), seed=0).emotions["joy"]
    assert cell.direction_control == pytest.approx(-1)


def test_a_family_that_is_missing_elsewhere_counts_nothing_and_one_missing_here_is_left_out():
    rng = np.random.default_rng(4)
    own, other = _seed(rng), _seed(rng)
    x = rng.normal(size=(60, 24))
    without = SeedFamilies(_families([3, 7], []), other.W_dec, other.sizes)
    out = family_agreement(own, [own, without], x, seed=0).emotions
    assert out["fear"].direction == pytest.approx(0.5)
    assert out["fear"].reading_min == 0
    assert set(family_agreement(without, [own], x, seed=0).emotions) == {"joy"}
    none = SeedFamilies(_families([], []), other.W_dec, other.sizes)
    assert family_agreement(none, [own], x, seed=0) == Agreement(n_seeds=1, emotions={}, mean=None)


def test_no_seed_or_other_emotions_are_errors():
    own = _seed(np.random.default_rng(5))
    with pytest.raises(BadInput, match="no other one"):
        family_agreement(own, [], np.zeros((3, 24)), seed=0)
    renamed = Families(families=(own.families.families[0], Family(emotion="calm")))
    with pytest.raises(BadInput, match="different emotions"):
        family_agreement(own, [SeedFamilies(renamed, own.W_dec, own.sizes)], np.zeros((3, 24)), seed=0)


def test_families_found_anew_on_planted_features_are_the_planted_ones(planted):
    """The rule for other pipelines, which judges nothing on test rows, finds the features that were planted."""
    table = choose_features(planted.codes, planted.rows, FeatureSettings())
    tested = set(table.filter("tested")["feature"].to_list())
    assert {*planted.causal.tolist(), *planted.decoys.tolist()} <= tested
    table = table.rename({"tested": "emotion_feature"})
    found = gather_families(table, planted.coded, FeatureSettings())
    causal = set(planted.causal.tolist())
    for family in found.families:
        assert 1 < len(family.features) <= 10
        assert family.features[0] in causal
        there, here = (f.direction(planted.coded.W_dec) for f in (planted.families[family.emotion], family))
        assert there @ here / np.linalg.norm(there) / np.linalg.norm(here) > 0.8
