"""What a grid could claim, told before it is made, and the p-values that it rests on."""

import numpy as np
import polars as pl
import pytest

from moodlens.judge.chance import beyond_p, both, contrast_p
from moodlens.judge.reach import Reach
from moodlens.judge.results import steer_results
from moodlens.settings.judge import ResultSettings
from moodlens.settings.steer import LayerSettings, SteerSettings
from moodlens.stats.pvalues import least_sign_flip_p, sign_flip_p


def test_the_default_grid_can_claim_a_row_that_moves_alone(directions):
    reach = Reach.of(SteerSettings(), directions)
    assert (reach.methods, reach.coefficient) == (("sae_family", "difference_in_means"), 1.0)
    assert (reach.n_rows, reach.n_prompts, reach.beside) == (8, 24, {"random": 60})
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
    assert (bare.beside, bare.q_alone, bare.effect) == ({"random": 0}, 1.0, None)
    assert "nothing to compare with" in bare.lines()[1]
    elsewhere = SteerSettings(coefficients=(1.0, 2.0), judge=ResultSettings(coefficient=2.0))
    assert Reach.of(elsewhere, directions).beside == {"random": 0}  # random directions are made at 1
    other = Reach.of(SteerSettings(methods=("linear_probe",)), directions)
    assert other.n_rows == 0
    assert "no method of it is made" in other.lines()[0]
    edits = SteerSettings(methods=(), controls=(), judge=ResultSettings(methods=("prompt_editing",)))
    assert Reach.of(edits, directions).effect is not None  # against neutral words


LAYER = "layer_difference_in_means"


def test_every_method_is_counted_beside_its_own_control(directions):
    """What is told before the clips are made is what their results are compared with."""
    table = ResultSettings(methods=(LAYER,))
    layers = Reach.of(SteerSettings(methods=(LAYER,), controls=("layer_random",), judge=table), directions)
    assert (layers.beside, layers.untested, layers.n_tested) == ({"layer_random": 20}, (), 4)
    assert layers.effect is not None
    assert "20 random directions in the layers" in layers.lines()[0]
    other = Reach.of(SteerSettings(methods=(LAYER,), controls=("random",), judge=table), directions)
    assert (other.beside, other.untested, other.n_tested) == ({"layer_random": 0}, (LAYER,), 0)
    assert (other.q_alone, other.effect) == (1.0, None)
    assert "nothing to compare with: make some (controls: layer_random; layers.n_random)" in other.lines()[1]
    both_kinds = SteerSettings(
        methods=("difference_in_means", LAYER),
        controls=("random",),
        judge=ResultSettings(methods=("difference_in_means", LAYER)),
    )
    mixed = Reach.of(both_kinds, directions)
    assert (mixed.n_rows, mixed.n_tested, mixed.untested) == (8, 4, (LAYER,))
    assert mixed.q_alone == pytest.approx(4e-4)  # q is over the rows that are tested
    assert "not tested: layer_difference_in_means" in mixed.lines()[1]
    edited = ResultSettings(methods=("prompt_editing", "prompt_difference"))
    words = SteerSettings(methods=("prompt_difference",), controls=("neutral_difference",), judge=edited)
    assert Reach.of(words, directions).beside == {"neutral_difference": 12, "neutral_editing": 12}
    assert Reach.of(words.model_copy(update={"controls": ()}), directions).beside == {
        "random": 0,
        "neutral_editing": 12,
    }


def test_the_smallest_control_says_how_far_a_row_must_stand_out(directions):
    """One method beside 60 directions and one beside 4: what is told holds for either."""
    from scipy.stats import t

    methods = ("difference_in_means", LAYER)
    grid = SteerSettings(
        methods=methods,
        controls=("random", "layer_random"),
        judge=ResultSettings(methods=methods),
        layers=LayerSettings(n_random=4),
    )
    reach = Reach.of(grid, directions)
    assert reach.beside == {"random": 60, "layer_random": 4}
    assert reach.effect == pytest.approx(t.isf(0.05 / 8, 3) * np.sqrt(1 + 1 / 4))


@pytest.mark.parametrize(
    ("method", "advice"),
    [
        (LAYER, "controls: layer_random; layers.n_random"),
        ("prompt_editing", "(neutral_words)"),
        ("difference_in_means", "controls: random; directions.n_random"),
    ],
)
def test_what_was_not_tested_did_not_move_nothing(method, advice):
    """Results whose control is missing say what to make, and not that nothing moved."""
    rng = np.random.default_rng(0)
    c = None if method == "prompt_editing" else 1.0
    made = [("none", None, 0.0, None), (method, "happy", c, "a"), (method, "sad", c, "b")]
    control = "layer_random" if method == "difference_in_means" else "random"
    made += [(control, None, 1.0, f"{control}/{i:02d}") for i in range(20)]
    clips = [
        {"prompt": f"p{p}", "method": m, "emotion": e, "coefficient": at, "direction": d, "seed": 0}
        | {"clap_happy": rng.random(), "clap_sad": rng.random()}
        for p in range(8)
        for m, e, at, d in made
    ]
    frame = pl.DataFrame(clips, infer_schema_length=None)
    settings = ResultSettings(n_resamples=100, methods=(method,))
    text = "\n".join(steer_results(frame, ("happy", "sad"), settings).statements)
    assert "moved" not in text
    assert f"{method}: not tested" in text
    assert advice in text


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
