"""What a grid could claim, told before it is made, and the p-values that it rests on."""

import numpy as np
import pytest

from moodlens.judge.chance import beyond_p, both, contrast_p
from moodlens.judge.reach import Reach
from moodlens.settings.judge import ResultSettings
from moodlens.settings.steer import SteerSettings
from moodlens.stats.pvalues import least_sign_flip_p, sign_flip_p


def test_the_default_grid_can_claim_a_row_that_moves_alone(directions):
    reach = Reach.of(SteerSettings(), directions)
    assert (reach.methods, reach.coefficient) == (("sae_family", "difference_in_means"), 1.0)
    assert (reach.n_rows, reach.n_prompts, reach.n_random) == (8, 24, 60)
    assert reach.q_alone == pytest.approx(8e-4)
    assert reach.q_all == pytest.approx(1e-4)
    assert reach.effect == pytest.approx(2.58 * np.sqrt(1 + 1 / 60), abs=0.05)
    assert "alone it must be 2.6 standard deviations above the random directions" in "\n".join(reach.lines())


def test_what_a_grid_cannot_reach_is_said(directions):
    few = Reach.of(SteerSettings(prompts=("a", "b", "c", "d", "e")), directions)
    assert few.q_alone == pytest.approx(8 / 32)  # five prompts cannot carry eight rows
    assert few.effect is None
    assert "can reach no q that counts" in few.lines()[1]
    bare = Reach.of(SteerSettings(controls=()), directions)
    assert (bare.n_random, bare.q_alone, bare.effect) == (0, 1.0, None)
    assert "nothing to compare with" in bare.lines()[1]
    elsewhere = SteerSettings(coefficients=(1.0, 2.0), judge=ResultSettings(coefficient=2.0))
    assert Reach.of(elsewhere, directions).n_random == 0  # random directions are made at 1
    other = Reach.of(SteerSettings(methods=("linear_probe",)), directions)
    assert other.n_rows == 0
    assert "no method of it is made" in other.lines()[0]
    edits = SteerSettings(methods=(), controls=(), judge=ResultSettings(methods=("prompt_editing",)))
    assert Reach.of(edits, directions).effect is not None  # against neutral words


@pytest.mark.parametrize("n", [1, 5, 13, 14, 24])
def test_the_least_p_over_prompts(n):
    assert sign_flip_p(np.ones(n)) == pytest.approx(least_sign_flip_p(n), rel=1.2)
    assert sign_flip_p(np.ones(n)) >= least_sign_flip_p(n)


def test_one_more_random_direction_has_uniform_p():
    rng = np.random.default_rng(0)
    p = np.array([beyond_p(rng.standard_normal(), rng.standard_normal(10)) for _ in range(2000)])
    for level in (0.01, 0.05, 0.5):
        assert np.mean(p <= level) == pytest.approx(level, abs=3.5 * np.sqrt(level * (1 - level) / 2000))


def test_a_contrast_of_random_directions_has_its_level():
    """Four directions minus four others, each one more of its kind; few draws are taken account of."""
    rng = np.random.default_rng(1)
    p = []
    for _ in range(1500):
        drawn = 3 + rng.standard_normal((8, 4))
        new = 3 + rng.standard_normal((2, 4))
        parts = [sign * column / 4 for sign in (1, -1) for column in drawn.T]
        p.append(contrast_p(float((new[0] - new[1]).mean()), parts, two_sided=True))
    assert 0.01 < np.mean(np.array(p) <= 0.05) < 0.055


def test_too_few_or_equal_directions_test_nothing():
    assert beyond_p(1.0, np.zeros(2)) is None
    assert beyond_p(1.0, np.ones(20)) is None
    assert contrast_p(1.0, [], two_sided=False) is None
    assert contrast_p(1.0, [np.arange(5.0), np.zeros(1)], two_sided=False) is None
    assert both(0.1, None) is None
    assert both(0.1, 0.3) == 0.3
    assert both(float("nan"), 0.3) is None
