"""Equal dictionaries reappear whatever their order, unrelated ones do not, and both measures are needed."""

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.settings.validation import StabilitySettings
from moodlens.validate import stability as room
from moodlens.validate.stability import best_cosines, null_directions, stability, stability_summary

SETTINGS, STABLE = StabilitySettings(), 0.8


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
    table = stability(
        W, [W[o] for o in orders], codes, [codes[:, o] for o in orders], x, SETTINGS, STABLE, seed=0
    )
    for name in ("reappears", "reappears_decoder", "reappears_activation"):
        assert (table[name] == 1).all()
    assert table["decoder_cosine"].min() > 0.999
    assert table["correlation"].min() > 0.999
    summary = stability_summary(table, np.arange(80) < 20, STABLE)
    assert summary["stable_share"] == summary["alive_share"] == 1
    assert summary["n_stable"] == summary["n_emotion_features"] == 20
    assert summary["mcc"] == pytest.approx(1, abs=1e-3)
    assert summary["null_share"] < 0.01
    assert summary["ci"][0] > 0.8


@pytest.mark.usefixtures("method")
def test_unrelated_dictionaries_are_not_stable():
    W, codes, x = _dictionary(0)
    others = [_dictionary(i + 1) for i in range(3)]
    table = stability(W, [o[0] for o in others], codes, [o[1] for o in others], x, SETTINGS, STABLE, seed=0)
    assert (table["reappears"] == 0).all()
    assert stability_summary(table, np.ones(80, dtype=bool), STABLE)["stable_share"] == 0
    assert table["correlation"].max() < 0.5


def test_direction_alone_or_use_alone_does_not_count():
    W, codes, x = _dictionary(0)
    other_W, other_codes, _ = _dictionary(1)
    same_direction = stability(W, [W], codes, [other_codes], x, SETTINGS, STABLE, seed=0)
    assert (same_direction["reappears_decoder"] == 1).all()
    assert (same_direction["reappears"] == 0).all()
    same_use = stability(W, [other_W], codes, [codes], x, SETTINGS, STABLE, seed=0)
    assert (same_use["reappears_activation"] == 1).all()
    assert (same_use["reappears"] == 0).all()


def test_direction_and_use_must_agree_on_the_same_partner():
    W, codes, x = _dictionary(0)
    order = np.roll(np.arange(80), 1)
    table = stability(W, [W], codes, [codes[:, order]], x, SETTINGS, STABLE, seed=0)
    assert (table["reappears_decoder"] == 1).all()
    assert (table["reappears_activation"] == 1).all()
    assert (table["reappears"] == 0).all()


def test_a_share_of_seeds_and_features_that_never_fire():
    W, codes, x = _dictionary(0)
    other_W, other_codes, _ = _dictionary(1)
    codes[:, 3] = 0
    table = stability(W, [W] * 4 + [other_W], codes, [codes] * 4 + [other_codes], x, SETTINGS, STABLE, seed=0)
    assert table["reappears"][5] == pytest.approx(0.8)
    assert table["reappears"][3] == 0
    assert not table["alive"][3]
    summary = stability_summary(table, np.isin(np.arange(80), [3, 5]), STABLE)
    assert summary["n_stable"] == 1  # 4 of 5 seeds is enough, up to rounding


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
    table = stability(W, [W], codes, [codes], x, SETTINGS, STABLE, seed=0)
    summary = stability_summary(table, np.zeros(80, dtype=bool), STABLE)
    assert summary["stable_share"] is None
    assert summary["n_emotion_features"] == 0


def test_wrong_shapes_are_refused():
    W, codes, x = _dictionary(0)
    with pytest.raises(BadInput, match="other seeds"):
        stability(W, [], codes, [], x, SETTINGS, STABLE, seed=0)
    with pytest.raises(BadInput, match="do not fit"):
        stability(W, [W], codes, [codes[:-1]], x, SETTINGS, STABLE, seed=0)
