"""A feature on a page: the roadmap's form, with misses, name, neighbours and a person's reading."""

import json

import numpy as np
import polars as pl
import pytest
from naming_study import EMOTIONS, study

from moodlens.core import BadInput
from moodlens.features.inspect import inspect_feature, render_inspect, top_features
from moodlens.study.notes import Reading


@pytest.fixture(scope="module")
def found():
    frame, codes, table = study()
    codes = codes.copy()
    codes[:, 4] = codes[:, 1] * 2  # a twin of feature 1
    table = table.with_columns(
        name=pl.Series(["clouds", "happy", "samba", None, "word", None]),
        name_score=pl.Series([0.9, 0.97, 0.8, None, 0.5, None]),
        name_control=pl.lit(0.5),
        interpretable=pl.Series([True, True, True, None, False, None]),
        stability=pl.lit(0.8),
        stability_cosine=pl.lit(0.91),
    )
    labels = frame["c"].to_numpy()
    decoder = np.eye(6, 8, dtype=np.float32)
    decoder[0] = decoder[1] * 0.8 + decoder[2] * 0.6

    def look(feature, **more):
        return inspect_feature(
            feature, table, codes, frame["text"].to_list(), labels, EMOTIONS, seed=0, decoder=decoder, **more
        )

    return look


def test_top_low_and_misses_are_what_they_say(found):
    frame, codes, _ = study()
    seen = found(1)
    assert [p["activation"] for p in seen["top"]] == sorted(
        (p["activation"] for p in seen["top"]), reverse=True
    )
    assert seen["top"][0]["activation"] == pytest.approx(codes[:, 1].max())
    assert {p["label"] for p in seen["low"]} == {"sad"}
    assert all(p["activation"] == 0 for p in seen["low"] + seen["misses"])
    assert {p["label"] for p in seen["misses"]} <= {"happy"}
    assert seen["n_missed"] == (codes[frame["c"].to_numpy() == 0, 1] == 0).sum()
    json.dumps(seen)


def test_neighbours_by_direction_and_by_firing_together(found):
    near = found(1)["neighbours"]
    assert near["correlation"][0]["feature"] == 4
    assert near["correlation"][0]["value"] == pytest.approx(1, abs=1e-5)
    assert near["cosine"][0] == {
        "feature": 0,
        "value": pytest.approx(0.8),
        "emotion": "sad",
        "name": "clouds",
    }
    assert 1 not in [x["feature"] for x in near["cosine"] + near["correlation"]]


def test_lines_have_the_form_of_the_roadmap(found):
    lines = render_inspect(found(1))
    assert lines[0] == "Feature 1 (happy-selective, selectivity: 9.0x):"
    text = "\n".join(lines)
    for part in (
        "Top activating prompts",
        "Low activating prompts:",
        "Misses (",
        'Interpretation: Called "happy"',
    ):
        assert part in text
    assert "which holds" in text
    assert "Other seeds: reappears in 80 % of them, decoder cosine 0.91" in text
    assert any(line.startswith('    - "') and line.endswith(", happy)") for line in lines)
    assert not any("\n" in line for line in lines)


def test_a_persons_reading_comes_first(found):
    reading = Reading(1, "main", "joyful celebration", "clear", "", "Ada", "2030-01-01T00:00:00+00:00")
    line = next(x for x in render_inspect(found(1, reading=reading)) if "Interpretation" in x)
    assert line.startswith('  Interpretation: "joyful celebration" (read by Ada: clear). Called "happy"')


def test_a_silent_feature_can_be_looked_at(found):
    seen = found(5)
    assert seen["top"] == seen["misses"] == []
    lines = render_inspect(seen)
    assert lines[0] == "Feature 5 (silent):"
    assert "    (none)" in lines


def test_unknown_features_and_emotions_are_refused(found):
    with pytest.raises(BadInput, match="features are 0 to 5"):
        found(6)
    _, _, table = study()
    with pytest.raises(BadInput, match="known: happy, sad"):
        top_features(table, "angry", 3)


def test_top_features_are_emotion_features_best_first():
    _, _, table = study()
    assert top_features(table, "sad", 2) == [0, 4]
    assert top_features(table, None, 1) == [1, 0]
    ranked = table.with_columns(family_rank=pl.Series([2, None, None, 1, None, None]))
    assert top_features(ranked, "sad", 3) == [3, 0, 4]
