"""What it takes to be causal, on numbers made by hand: every control is asked, and every sign."""

from dataclasses import replace

import numpy as np
import pytest

from moodlens.settings.validation import CausalSettings
from moodlens.stats.controls import like_sizes
from moodlens.study.coded import Coded
from moodlens.validate.causal import _rule
from moodlens.validate.causal_features import KINDS, Measured, Trials, _judge
from moodlens.validate.interventions import Experiment
from moodlens.validate.readouts import READOUTS, make_panel

SETTINGS = CausalSettings(control_quantile=0.95)
LOW, HIGH = np.linspace(0, 1, 100), np.linspace(0, 3, 100)


def _judged(own, matched, untrained, drawn, *, rises=True):
    out = Measured.empty(1)
    effects = np.concatenate([[own], matched, untrained, drawn])
    _judge(out, 0, effects, (len(matched), len(untrained)), SETTINGS, rises=rises)
    return out


@pytest.mark.parametrize("harder", range(3))
def test_the_hardest_of_all_controls_sets_p(harder):
    """An effect of 2 beats whatever stays below 1, and not what reaches 3, whichever control that is."""
    parts = [LOW, LOW, LOW]
    assert _judged(2.0, *parts).p[0] == pytest.approx(1 / 101)
    parts[harder] = HIGH
    assert _judged(2.0, *parts).p[0] > 0.3


@pytest.mark.parametrize("harder", range(2))
def test_the_harder_of_both_dictionaries_sets_the_edge(harder):
    parts = [LOW, LOW]
    parts[harder] = HIGH
    assert _judged(2.0, *parts, LOW).control_edge[0] == pytest.approx(np.quantile(HIGH, 0.95))


def test_of_clamps_the_signs_are_turned():
    found = _judged(-2.0, -LOW, -LOW, -LOW, rises=False)
    assert found.p[0] == pytest.approx(1 / 101)
    assert found.control_edge[0] == pytest.approx(-0.95)
    assert found.effect[0] == -2.0
    assert _judged(2.0, -LOW, -LOW, -LOW, rises=False).p[0] == 1.0


def _trials(effect=2.0, edge=1.0, p=0.001):
    full = [np.full(3, value) for value in (effect, 0.0, 0.0, 0.0, edge, p)]
    measured = {(kind, readout): Measured(*map(np.copy, full)) for kind in KINDS for readout in READOUTS}
    for readout in READOUTS:
        measured["clamp", readout].effect[:] = -1.0
    none = np.zeros((3, 0), dtype=int)
    return Trials(np.arange(3), 0, np.ones(3), none, none, measured)


def test_an_effect_within_its_controls_is_not_causal_whatever_its_p():
    assert _rule([_trials()], SETTINGS).causal[0].all()
    assert not _rule([_trials(edge=2.0)], SETTINGS).causal[0].any()
    assert not _rule([_trials(p=0.9)], SETTINGS).causal[0].any()


def test_sizes_of_another_dictionary_get_the_spread_and_the_centre_of_this():
    rng = np.random.default_rng(0)
    like = np.exp(rng.normal(2.0, 0.5, 300))
    size = np.exp(rng.normal(-5.0, 2.0, 200))
    size[:3], like[:2] = 0, 0
    out = like_sizes(size, like)
    assert (out[:3] == 0).all()
    logs, known = np.log(out[3:]), np.log(like[2:])
    assert (logs.mean(), logs.std()) == pytest.approx((known.mean(), known.std()))
    assert (np.argsort(out[3:]) == np.argsort(size[3:])).all()
    assert like_sizes(np.full(4, 7.0), like) == pytest.approx(np.exp(known.mean()))


def test_what_an_activation_of_the_untrained_dictionary_is_worth_changes_no_control(planted):
    """Its activations are on a scale of their own: only their place among each other counts."""
    other = Coded(
        planted.rows, planted.x, np.abs(planted.codes[:, ::-1]).copy(), planted.coded.W_dec[::-1].copy()
    )
    panel = make_panel(planted.x, planted.rows, seed=0)

    def sizes(untrained):
        return Experiment.of(planted.coded, panel, SETTINGS, 0, np.random.default_rng(0), untrained).size

    first = sizes(other)
    np.testing.assert_allclose(first, sizes(replace(other, codes=1000 * other.codes)), rtol=1e-4)
    own, theirs = np.split(first, 2)
    assert np.log(theirs[theirs > 0]).mean() == pytest.approx(np.log(own[own > 0]).mean(), abs=1e-4)
