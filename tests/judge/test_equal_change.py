"""Methods at equal change: planted strengths are matched where they should be, and noise is not matched at all."""

import numpy as np
import polars as pl
import pytest

from moodlens.judge.equal_change import along
from moodlens.judge.results import steer_results
from moodlens.judge.words import result_lines
from moodlens.settings.judge import ResultSettings

EMOTIONS = ("happy", "sad")
QUICK = ResultSettings(n_resamples=200)
POWER = {"sae_family": 1.0, "difference_in_means": 3.0, "linear_probe": 0.5}
"""How far a coefficient of 1 moves the generator: the root of the change."""
REACH = {"sae_family": 2.0, "difference_in_means": 1.0, "linear_probe": 4.0, "prompt_editing": 1.0}
"""Effect for each root of change: what is found where all are moved equally far."""


def clip(prompt, method, emotion, c, root, reach, noise):
    row = {"prompt": f"prompt {prompt}", "seed": 0, "method": method, "emotion": emotion, "coefficient": c}
    row |= {"direction": emotion and f"{method}/{emotion}", "text": f"prompt {prompt}"}
    row |= {"change": root**2 * (1 + 0.1 * (prompt % 2)), "seed_shift": None, "change_of": "kl"}
    for e in EMOTIONS:
        row[f"clap_{e}"] = 0.3 * prompt + (reach * root if emotion in (None, e) else 0.0) + noise()
    return row


def scores(coefficients, *, floor=0.01, n_random=5, noise=0.0, editing=1.5):
    """A floor that rises with the root of the change, as a likelihood ratio's does."""
    rng = np.random.default_rng(0)
    draw = lambda: noise * rng.standard_normal()  # noqa: E731
    rows = []
    for p in range(6):
        rows.append(clip(p, "none", None, 0.0, 0.0, 0.0, draw) | {"seed_shift": 0.0})
        for e in EMOTIONS:
            for method, power in POWER.items():
                for c in coefficients:
                    rows.append(clip(p, method, e, c, power * c, REACH[method], draw))
            rows.append(clip(p, "prompt_editing", e, None, editing, REACH["prompt_editing"], draw))
        for row in rows:
            if row["emotion"] is not None and row["seed_shift"] is None:
                row["seed_shift"] = floor * row["change"] ** 0.5
        for r in range(n_random):
            for c in coefficients:
                rows.append(clip(p, "random", None, c, (1 + r) * c, 0.1, draw) | {"direction": f"random/{r}"})
    return pl.DataFrame(rows, infer_schema_length=None)


def test_planted_directions_are_matched_at_their_strengths():
    """All at the least of the largest changes, where the effects are as planted, whatever a coefficient does."""
    results = steer_results(scores((0.5, 1.0, 2.0)), EMOTIONS, QUICK)
    rows = {row.emotion: row for row in results.equal_change}
    assert set(rows) == set(EMOTIONS)
    for row in rows.values():
        root = 0.5 * 2.0  # linear_probe at 2 is the least of the largest
        assert row.of == "kl"
        assert row.change == pytest.approx(root**2 * 1.05)
        by = {each.method: each for each in row.methods}
        for method, each in by.items():
            assert each.effect == pytest.approx(REACH[method] * root, rel=1e-6), method
            assert each.below == ()
            assert each.floor < row.change
        for method, power in POWER.items():
            assert by[method].coefficient == pytest.approx(root / power)
        assert by["prompt_editing"].coefficient is None
        # Below their first measured change some are on the line from no steering, which is said.
        assert {m: each.between for m, each in by.items()} == {
            "sae_family": True,
            "difference_in_means": False,
            "linear_probe": True,
            "prompt_editing": False,
        }
        assert row.n_random == 5
        assert row.random_p95 == pytest.approx(0.1 * root)
    assert by["linear_probe"].effect > by["sae_family"].effect  # at coefficient 1 it is the other way round
    rows = {
        (r.method, r.coefficient): r for r in results.rows if r.emotion == "happy" and r.readout == "clap"
    }
    assert rows["linear_probe", 1.0].effect == rows["sae_family", 1.0].effect
    assert rows["sae_family", 1.0].change == pytest.approx(1.05)
    assert rows["sae_family", 1.0].change_floor == pytest.approx(0.01 * 1.05**0.5, rel=1e-3)
    lines = result_lines(results)
    assert any("matched on teacher-forced KL, nats per token" in line for line in lines)
    assert any(line.startswith("  happy      at 1.05:") for line in lines)


def test_at_coefficient_one_hundredth_nothing_is_matched():
    """The floor of two unsteered seeds is linear in the step where the change is quadratic."""
    results = steer_results(scores((0.01,), floor=0.2, editing=0.01, noise=0.05), EMOTIONS, QUICK)
    for row in results.equal_change:
        assert row.change is None
        assert row.n_random == 0
        assert all(each.effect is None and each.coefficient is None for each in row.methods)
        assert {each.method: each.below for each in row.methods} == {
            **dict.fromkeys(POWER, (0.01,)),
            "prompt_editing": (None,),
        }
    said = [line for line in result_lines(results) if "fewer than two methods can be matched" in line]
    assert len(said) == len(EMOTIONS)
    assert "not above what two unsteered seeds show, so not matched: " in said[0]
    assert "sae_family at 0.01" in said[0]


def test_weak_coefficients_alone_are_left_out():
    """What is above the floor is matched, also where a method's weak coefficients are not."""
    results = steer_results(scores((0.01, 2.0), floor=0.2), EMOTIONS, QUICK)
    row = results.equal_change[0]
    assert row.change == pytest.approx(1.05)
    assert {each.method: each.below for each in row.methods} == {
        **dict.fromkeys(POWER, (0.01,)),
        "prompt_editing": (),
    }
    assert all(each.effect == pytest.approx(REACH[each.method]) for each in row.methods)
    assert any("sae_family at 0.01" in line for line in result_lines(results))


def test_a_condition_that_was_not_measured_is_not_matched():
    table = scores((1.0, 2.0)).with_columns(
        pl.when((pl.col("method") == "sae_family") & (pl.col("prompt") == "prompt 3"))
        .then(None)
        .otherwise(pl.col("change"))
        .alias("change")
    )
    results = steer_results(table, EMOTIONS, QUICK)
    assert "sae_family" not in {each.method for row in results.equal_change for each in row.methods}
    assert all(row.change is None for row in results.rows if row.method == "sae_family")


def test_a_change_below_the_floor_that_a_method_has_there_is_not_matched():
    """Above it where it was measured is not enough: towards no steering the floor falls with the root, the change faster."""
    loud = pl.col("method") == "difference_in_means"
    table = scores((2.0,)).with_columns(pl.when(loud).then(20.0).otherwise(pl.col("seed_shift")).alias("seed_shift"))  # fmt: skip
    for row in steer_results(table, EMOTIONS, QUICK).equal_change:
        by = {each.method: each for each in row.methods}
        assert row.change == pytest.approx(1.05)
        left = by.pop("difference_in_means")
        assert left.largest > 20.0
        assert (left.effect, left.coefficient, left.floor, left.below) == (None, None, None, ())
        assert all(each.effect is not None for each in by.values())


def test_steering_away_is_neither_matched_nor_what_chance_shows():
    """The same change with the effect turned round: clips at negative coefficients change nothing here."""
    away, towards = (steer_results(scores(at), EMOTIONS, QUICK).equal_change for at in ((-2.0, -0.5, 1.0, 2.0), (1.0, 2.0)))  # fmt: skip
    assert away
    assert away == towards


def test_lines_are_along_the_root_of_the_change():
    assert along([4.0], [2.0], 1.0) == pytest.approx(1.0)  # half the step, half the effect
    assert along([4.0, 1.0], [5.0, 1.0], 2.25) == pytest.approx(3.0)
    assert along([1.0], [1.0], 0.0) == 0.0
    assert along([1.0], [1.0], 1.1) is None
