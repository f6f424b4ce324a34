"""How thresholds and controls combine: all controls must be beaten, and nothing beaten is nothing shown."""

from dataclasses import replace

from helpers.measured import GOOD, IDS, MUST, NOT_ASKED, judged
from moodlens.settings.verdict import VerdictSettings
from moodlens.validate.criteria import CRITERIA
from moodlens.validate.criterion import Reading, at_least
from moodlens.validate.verdict import _judged


def test_one_control_that_is_not_beaten_is_enough():
    assert at_least(5, 6, {"a": 1.0, "b": 2.0}).beaten
    assert not at_least(5, 6, {"a": 1.0, "b": 6.0}).beaten
    assert not at_least(5, 6, {"a": 7.0, "b": 1.0}).beaten
    assert at_least(5, 6, {"a": 1.0, "b": None}).beaten  # what could not be measured is no obstacle
    assert not at_least(5, 6, {"a": None}).beaten  # and nothing to beat


def test_what_meets_its_threshold_and_not_its_controls_fails():
    reading = Reading(6.0, (), met=True, control_met=False, beaten=False)
    unbeaten = replace(CRITERIA[0], read=lambda m, s: reading)
    assert _judged(unbeaten, GOOD, VerdictSettings()).state == "failed"
    assert _judged(
        replace(unbeaten, read=lambda m, s: replace(reading, beaten=True)), GOOD, VerdictSettings()
    ).passed


def test_what_is_not_asked_is_no_pass_and_what_is_not_measured_is_no_go():
    verdict, by = judged(concepts=NOT_ASKED)
    assert not by["concepts"].passed
    assert verdict.go
    parts = {
        "reconstruction": "reconstruction",
        "concepts": "concepts",
        "interpretability": "names",
        "causality": "causal",
    }
    for name, part in parts.items():
        verdict, by = judged(**{part: None})
        assert by[name].state == "not measured"
        assert name in MUST
        assert not verdict.go
        assert not verdict.left_out
    assert set(parts) <= set(IDS)
