"""Equal dictionaries reappear whatever their order, unrelated ones do not."""

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.settings.validation import StabilitySettings
from moodlens.study.records.stability import Stability
from moodlens.validate import stability as room
from moodlens.validate.stability import (
    Beside,
    Dictionary,
    StableFeatures,
    best_cosines,
    null_directions,
    random_subsets,
    stability,
)

SETTINGS = StabilitySettings()


def _found(W, others, codes, other_codes, x, **more):
    theirs = [Dictionary(*pair) for pair in zip(others, other_codes, strict=True)]
    return stability(Dictionary(W, codes), theirs, x, SETTINGS, seed=0, **more)


def _stable(found, strong):
    return StableFeatures.of(found.table, found.summary, strong)


def _dictionary(seed, d=80, d_in=32, n=300):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(d, d_in)).astype(np.float32)
    codes = np.where(rng.random((n, d)) < 0.1, rng.random((n, d)), 0).astype(np.float32)
    return (
        W / np.linalg.norm(W, axis=1, keepdims=True),
        codes,
        rng.normal(size=(200, d_in)).astype(np.float32),
    )


@pytest.fixture(params=["hungarian", "mutual"])
def method(request, monkeypatch):
    if request.param == "mutual":
        monkeypatch.setattr(room, "HUNGARIAN_FEATURES", 10)


@pytest.mark.usefixtures("method")
def test_the_same_dictionary_in_another_order_is_perfectly_stable():
    W, codes, x = _dictionary(0)
    orders = [np.random.default_rng(i).permutation(80) for i in range(5)]
    found = _found(W, [W[o] for o in orders], codes, [codes[:, o] for o in orders], x)
    table = found.table
    for name in ("reappears", "reappears_decoder", "reappears_activation"):
        assert (table[name] == 1).all()
    assert table["decoder_cosine"].min() > 0.999
    assert table["correlation"].min() > 0.999
    stable = _stable(found, np.arange(80) < 20)
    assert stable.stable_share == stable.alive_share == 1
    assert stable.n_stable == stable.n_emotion_features == 20
    assert stable.mcc == pytest.approx(1, abs=1e-3)
    assert found.summary.null_mean < 0.01
    assert stable.ci[0] > 0.8


@pytest.mark.usefixtures("method")
def test_unrelated_dictionaries_are_not_stable():
    W, codes, x = _dictionary(0)
    others = [_dictionary(i + 1) for i in range(3)]
    found = _found(W, [o[0] for o in others], codes, [o[1] for o in others], x)
    assert (found.table["reappears"] == 0).all()
    assert _stable(found, np.ones(80, dtype=bool)).stable_share == 0
    assert found.table["correlation"].max() < 0.5


def test_direction_alone_or_use_alone_does_not_count():
    W, codes, x = _dictionary(0)
    other_W, other_codes, _ = _dictionary(1)
    same_direction = _found(W, [W], codes, [other_codes], x).table
    assert (same_direction["reappears_decoder"] == 1).all()
    assert (same_direction["reappears"] == 0).all()
    same_use = _found(W, [other_W], codes, [codes], x).table
    assert (same_use["reappears_activation"] == 1).all()
    assert (same_use["reappears"] == 0).all()


def test_direction_and_use_must_agree_on_the_same_partner():
    W, codes, x = _dictionary(0)
    order = np.roll(np.arange(80), 1)
    table = _found(W, [W], codes, [codes[:, order]], x).table
    assert (table["reappears_decoder"] == 1).all()
    assert (table["reappears_activation"] == 1).all()
    assert (table["reappears"] == 0).all()


def test_a_share_of_seeds_and_features_that_never_fire():
    W, codes, x = _dictionary(0)
    other_W, other_codes, _ = _dictionary(1)
    codes[:, 3] = 0
    found = _found(W, [W] * 4 + [other_W], codes, [codes] * 4 + [other_codes], x)
    table = found.table
    assert table["reappears"][5] == pytest.approx(0.8)
    assert table["reappears"][3] == 0
    assert not table["alive"][3]
    stable = _stable(found, np.isin(np.arange(80), [3, 5]))
    assert stable.n_stable == 0  # in four of five is not in all
    assert stable.stable_share == pytest.approx(0.4)


def test_the_null_is_harder_than_isotropic_where_data_has_low_rank():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(3, 64))
    x = rng.normal(size=(400, 3)) @ plane
    W = rng.normal(size=(100, 3)) @ plane
    low_rank = best_cosines(null_directions(x, 0), W)
    isotropic = best_cosines(null_directions(rng.normal(size=(400, 64)), 0), W)
    assert np.median(low_rank) > 0.9
    assert np.quantile(isotropic, 0.95) < 0.7


def test_no_emotion_feature_is_not_a_failure():
    W, codes, x = _dictionary(0)
    stable = _stable(_found(W, [W], codes, [codes], x), np.zeros(80, dtype=bool))
    assert stable.stable_share is None
    assert stable.n_emotion_features == 0


def test_the_null_is_the_mean_over_seeds():
    summary = Stability(n_seeds=5, reappearance=0.7, null_cosine_p95=0.5, null_seeds=(90, 4, 3, 2, 1, 0))
    assert summary.null_mean == pytest.approx((4 + 6 + 6 + 4) / 500)


def test_bootstraps_stand_beside_the_pipelines_and_do_not_count_as_one():
    W, codes, x = _dictionary(0)
    other_W, other_codes, _ = _dictionary(1)
    twice = [Dictionary(W, codes), Dictionary(other_W, other_codes)]
    found = _found(W, [W], codes, [codes], x, beside=Beside(bootstraps=twice))
    assert found.summary.n_bootstraps == 2
    assert (found.table["reappears_bootstrap"] == 0.5).all()
    assert (found.table["reappears"] == 1).all()
    assert _stable(found, np.ones(80, dtype=bool)).bootstrap_share == 0.5
    without = _found(W, [W], codes, [codes], x)
    assert without.table["reappears_bootstrap"].null_count() == 80
    assert _stable(without, np.ones(80, dtype=bool)).bootstrap_share is None


def test_random_subsets_lose_their_partners_and_the_whole_does_not():
    W, codes, x = _dictionary(0)
    order = np.random.default_rng(0).permutation(80)
    pair = Dictionary(W, codes), Dictionary(W[order], codes[:, order])
    assert random_subsets(*pair, 80, 0.7, 0).share == 1
    half = random_subsets(*pair, 40, 0.7, 0)
    assert half.share == pytest.approx(0.5, abs=0.15)
    assert half.whole == 1
    assert half.mcc == pytest.approx(1, abs=1e-3)
    found = _found(W[:40], [W], codes[:, :40], [codes], x, beside=Beside(narrow=pair))
    assert found.summary.subset_share == half.share


def test_a_core_without_features_is_compared_with_anything():
    W, codes, x = _dictionary(0)
    nothing = Dictionary(W[:0], codes[:, :0])
    found = stability(nothing, [Dictionary(W, codes), nothing], x, SETTINGS, seed=0)
    assert found.table.height == 0
    assert _stable(found, np.zeros(80, dtype=bool)).stable_share is None
    assert (stability(Dictionary(W, codes), [nothing], x, SETTINGS, seed=0).table["reappears"] == 0).all()


def test_wrong_shapes_are_refused():
    W, codes, x = _dictionary(0)
    with pytest.raises(BadInput, match="another pipeline"):
        _found(W, [], codes, [], x)
    with pytest.raises(BadInput, match="do not fit"):
        _found(W, [W], codes, [codes[:-1]], x)
