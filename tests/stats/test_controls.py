"""Controls are matched in density and size, alive, allowed, and never the feature itself; directions are uniform."""

import numpy as np
import polars as pl
import pytest

from moodlens.core import BadInput
from moodlens.stats.controls import (
    allowed_controls,
    draw_matched,
    matched_features,
    random_directions,
    random_families,
)
from moodlens.stats.ranks import activity


def test_matched_features_are_near_alive_allowed_and_never_the_feature_itself():
    rng = np.random.default_rng(2)
    codes = np.where(rng.random((500, 80)) < np.geomspace(0.01, 0.5, 80), rng.random((500, 80)), 0)
    codes[:, 7] = 0
    density, size = activity(codes)
    allowed = np.ones(80, dtype=bool)
    allowed[[3, 4]] = False
    controls = matched_features(density, size, np.array([3, 20, 60]), allowed, 10)
    assert controls.shape == (3, 10)
    assert not np.isin(controls, [3, 4, 7]).any()
    assert 20 not in controls[1]
    near = np.abs(np.log(density[controls[2]] / density[60]))
    far = np.abs(np.log(density[np.setdiff1d(np.arange(80), [7, 60])] / density[60]))
    assert near.mean() < 0.5 * far.mean()
    assert matched_features(density, size, np.array([20]), allowed, 500).shape == (1, 76)


def test_random_families_hold_no_feature_twice():
    controls = np.stack([np.random.default_rng(i).permutation(60) for i in range(8)])
    families = random_families(controls, 100, np.random.default_rng(0))
    assert families.shape == (100, 8)
    assert all(len(set(row)) == 8 for row in families.tolist())


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_controls_do_not_depend_on_the_scale_of_the_codes(scale):
    rng = np.random.default_rng(4)
    codes = np.where(rng.random((200, 40)) < 0.2, rng.random((200, 40)) * rng.random(40), 0)
    wanted, allowed = np.arange(5), np.ones(40, dtype=bool)
    controls = [matched_features(*activity(k * codes), wanted, allowed, 8) for k in (1.0, scale)]
    np.testing.assert_array_equal(*controls)


def test_drawn_controls_match_in_density_and_in_size():
    density = np.full(60, 0.1)
    size = np.repeat([1.0, 1.1, 30.0], 20)
    allowed = np.ones(60, dtype=bool)
    allowed[5:10] = False
    drawn = draw_matched(density, size, np.array([0, 1]), allowed, 10, np.random.default_rng(0))
    assert len(set(drawn.tolist())) == 10
    assert drawn.max() < 40
    assert not np.isin(drawn, [0, 1, *range(5, 10)]).any()
    again = draw_matched(density, size, np.array([0, 1]), allowed, 10, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, again)
    with pytest.raises(BadInput, match="53 live features"):
        draw_matched(density, size, np.array([0, 1]), allowed, 54, np.random.default_rng(0))


def test_random_directions_have_norm_one_and_no_preferred_side():
    drawn = random_directions(4000, 5, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, rtol=1e-6)
    assert np.abs(drawn.mean(axis=0)).max() < 0.03


def test_what_stands_at_the_edge_of_a_core_is_neither_claimed_nor_a_control():
    table = pl.DataFrame(
        {
            "emotion": ["a", "a", "a", "b"],
            "core": [True, False, False, False],
            "edge": [False, True, False, False],
            "tested": [True, False, False, False],
            "emotion_feature": [True, False, False, False],
        }
    )
    assert allowed_controls(table, "a").tolist() == [False, False, True, True]
    alone = table.with_columns(core=pl.lit(True), edge=pl.lit(False))
    assert allowed_controls(alone, "a").tolist() == [False, True, True, True]
