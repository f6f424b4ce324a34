"""Mixed emotions beside random directions: each mixture is judged by its own clips, and beyond what any direction does."""

import numpy as np
import polars as pl
import pytest

from moodlens.judge.results import steer_results
from moodlens.settings.judge import ResultSettings

EMOTIONS = ("happy", "sad")
QUICK = ResultSettings(n_resamples=100)
MIXED = "1*happy+-0.5*sad"


def scores(mixtures, *, usual=0.0):
    """``mixtures``: direction -> effect on happy; random directions all raise it by ``usual``."""
    rng = np.random.default_rng(0)
    rows = []
    for p in range(8):
        made = [("none", None, None, 0.0, 0.0)]
        made += [("difference_in_means", f"difference_in_means/{e}", e, 1.0, 0.5) for e in EMOTIONS]
        made += [("mixture", direction, MIXED, 1.0, effect) for direction, effect in mixtures.items()]
        made += [("random", f"random/{i:02d}", None, 1.0, usual) for i in range(20)]
        for method, direction, emotion, c, effect in made:
            row = {"prompt": f"p{p}", "seed": 0, "method": method, "direction": direction, "emotion": emotion}
            row |= {"coefficient": c, "text": f"p{p}", "clap_sad": 0.01 * rng.standard_normal()}
            rows.append(row | {"clap_happy": 0.3 * p + effect + 0.01 * rng.standard_normal()})
    return pl.DataFrame(rows, infer_schema_length=None)


def happy(table):
    found = steer_results(table, EMOTIONS, QUICK).mixtures
    return {row.direction: row for row in found if (row.readout, row.emotion) == ("clap", "happy")}


def test_the_same_mixture_of_other_directions_is_judged_by_its_own_clips():
    planted = {f"mixture/sae_family/{MIXED}": 0.2, f"mixture/difference_in_means/{MIXED}": 0.6}
    rows = happy(scores(planted))
    assert set(rows) == set(planted)
    for direction, effect in planted.items():
        assert rows[direction].effect == pytest.approx(effect, abs=0.02)
        assert rows[direction].n_prompts == 8


def test_what_any_direction_does_to_every_prompt_is_no_effect_of_a_mixture():
    direction = f"mixture/sae_family/{MIXED}"
    beyond = happy(scores({direction: 0.4}, usual=0.2))[direction]
    assert (beyond.prompt_p, beyond.effect) == (pytest.approx(1 / 256), pytest.approx(0.4, abs=0.02))
    alike = happy(scores({direction: 0.2}, usual=0.2))[direction]
    assert alike.effect == pytest.approx(0.2, abs=0.02)
    assert alike.prompt_p > 0.02
    assert alike.random_p > 0.02
    less = happy(scores({direction: 0.1}, usual=0.2))[direction]
    assert less.p > 0.9
