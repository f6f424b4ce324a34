"""Clips of mixed emotions: each emotion is read on its own readout, and nothing is claimed."""

import numpy as np
import polars as pl
import pytest

from helpers.scored_clips import EMOTIONS, QUICK, made
from moodlens.judge.mixtures import mixed_weights
from moodlens.judge.results import steer_results
from moodlens.judge.words import result_lines


@pytest.fixture(scope="module")
def scores():
    return made({"sae_family": 0.1, "difference_in_means": 0.2, "prompt_editing": 0.3})


def with_mixture(scores, name, effects, *, seed=5):
    """``scores`` with clips of a mixture at 0.5 and 1, which move each readout by ``effects`` times the coefficient."""
    rng = np.random.default_rng(seed)
    rows = scores.to_dicts()
    for plain in [row for row in rows if row["method"] == "none"]:
        for c in (0.5, 1.0):
            moved = {
                f"clap_{e}": plain[f"clap_{e}"] + c * effects.get(e, 0.0) + 0.01 * rng.standard_normal()
                for e in EMOTIONS
            }
            facts = {
                "method": "mixture",
                "emotion": name,
                "coefficient": c,
                "direction": f"mixture/sae_family/{name}",
            }
            rows.append(plain | moved | facts)
    return pl.DataFrame(rows, infer_schema_length=None)


def test_mixtures_are_judged_on_each_of_their_emotions_and_claim_nothing(scores):
    mixed = with_mixture(scores, "1*happy+-0.5*sad", {"happy": 0.2, "sad": -0.1})
    found, before = steer_results(mixed, EMOTIONS, QUICK), steer_results(scores, EMOTIONS, QUICK)
    rows = {(row.coefficient, row.emotion): row for row in found.mixtures if row.readout == "clap"}
    assert set(rows) == {(c, e) for c in (0.5, 1.0) for e in ("happy", "sad")}  # not calm, which is not in it
    for (c, emotion), row in rows.items():
        assert row.weights == {"happy": 1.0, "sad": -0.5}
        assert row.effect == pytest.approx(c * {"happy": 0.2, "sad": -0.1}[emotion], abs=0.02)
        assert row.ci is not None
        assert row.ci[0] < row.effect < row.ci[1]
        assert row.prompt_p == pytest.approx(1 / 256)  # towards the sign of its weight, so down for sad
    happy, sad = rows[1.0, "happy"], rows[1.0, "sad"]
    assert happy.p == happy.prompt_p
    assert happy.random_p is not None
    assert sad.random_p is not None
    assert max(happy.random_p, sad.random_p) < 0.001
    assert happy.random_p95 is not None
    assert sad.random_p5 is not None
    assert sad.effect < sad.random_p5 < happy.random_p95 < happy.effect
    assert rows[0.5, "happy"].p is None  # no random directions were made there
    # They change nothing of what is claimed, nor of the matched strength.
    for name in ("rows", "comparisons", "specificity", "dose", "statements", "coefficient"):
        assert getattr(found, name) == getattr(before, name)
    assert before.mixtures == ()
    lines = result_lines(found)
    at = lines.index("mixed emotions, each on its own readout, no claims:")
    assert (
        "sae_family/1*happy+-0.5*sad  happy" in lines[at + 1] + lines[at + 2] + lines[at + 3] + lines[at + 4]
    )


def test_a_mixture_that_does_as_random_directions_do_shows_nothing(scores):
    found = steer_results(with_mixture(scores, "1*happy+1*calm", {}), EMOTIONS, QUICK)
    assert all(row.p is None or row.p > 0.01 for row in found.mixtures)
    assert {row.emotion for row in found.mixtures if row.readout == "clap"} == {"happy", "calm"}


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("1*happy+0.5*sad", {"happy": 1.0, "sad": 0.5}),
        ("-1*a+b+1e-05*c d", {"a+b": -1.0, "c d": 1e-05}),
        ("2*x*y+-3*z", {"x*y": 2.0, "z": -3.0}),
    ],
)
def test_the_weights_of_a_mixture_are_in_its_name(name, weights):
    assert mixed_weights(name) == weights
