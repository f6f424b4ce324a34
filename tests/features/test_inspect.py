"""A feature on a page: the roadmap's form, with misses, name, neighbours and a person's reading."""

import numpy as np
import polars as pl
import pytest

from helpers.inspect_study import EMOTIONS, rows_of, study
from moodlens.core import BadInput
from moodlens.core.labels import UNKNOWN
from moodlens.features.inspect import inspect_feature, render_inspect, top_features, top_texts
from moodlens.study.notes import Reading
from moodlens.study.rows import Rows


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
    decoder = np.eye(6, 8, dtype=np.float32)
    decoder[0] = decoder[1] * 0.8 + decoder[2] * 0.6

    def look(feature, **more):
        return inspect_feature(feature, table, codes, rows_of(frame), seed=0, decoder=decoder, **more)

    return look


def test_top_low_and_misses_are_what_they_say(found):
    frame, codes, _ = study()
    seen = found(1)
    assert [p.activation for p in seen.top] == sorted((p.activation for p in seen.top), reverse=True)
    assert seen.top[0].activation == pytest.approx(codes[:, 1].max())
    assert {p.label for p in seen.low} == {"sad"}
    assert all(p.activation == 0 for p in seen.low + seen.misses)
    assert {p.label for p in seen.misses} <= {"happy"}
    assert seen.n_missed == (codes[frame["c"].to_numpy() == 0, 1] == 0).sum()


def test_neighbours_by_direction_and_by_firing_together(found):
    near = found(1).neighbours
    assert near.correlation[0].feature == 4
    assert near.correlation[0].value == pytest.approx(1, abs=1e-5)
    assert (near.cosine[0].feature, near.cosine[0].emotion, near.cosine[0].name) == (0, "sad", "clouds")
    assert near.cosine[0].value == pytest.approx(0.8)
    assert 1 not in [x.feature for x in near.cosine + near.correlation]


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
    assert (
        "Other pipelines, which share only the rows: reappears in 80 % of them, decoder cosine 0.91" in text
    )
    assert any(line.startswith('    - "') and line.endswith(", happy)") for line in lines)
    assert not any("\n" in line for line in lines)


def test_a_persons_reading_comes_first(found):
    reading = Reading(1, "main", "joyful celebration", "clear", "", "Ada", "2030-01-01T00:00:00+00:00")
    line = next(x for x in render_inspect(found(1, reading=reading)) if "Interpretation" in x)
    assert line.startswith('  Interpretation: "joyful celebration" (read by Ada: clear). Called "happy"')


def test_a_silent_feature_can_be_looked_at(found):
    seen = found(5)
    assert seen.top == seen.misses == ()
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


def test_a_text_without_an_emotion_is_called_by_its_kind(found):
    frame, codes, table = study()
    rows = rows_of(frame)
    silent = np.flatnonzero(codes[:, 1] > 0)[:2]
    label = rows.label.copy()
    label[silent] = [-1, UNKNOWN]
    codes = codes.copy()
    codes[silent, 1] = [9, 8]
    rows = Rows.of(label, emotions=EMOTIONS, group=rows.group, split=rows.split, texts=rows.texts)
    lines = render_inspect(inspect_feature(1, table, codes, rows, seed=0, n=2))
    assert lines[2].endswith("(activation: 9.00, neutral)")
    assert lines[3].endswith("(activation: 8.00, unlabelled)")


@pytest.fixture
def firing():
    activation = np.r_[np.zeros(30), np.arange(1, 51)].astype(np.float32)
    labels = np.r_[np.repeat([0, 1, -1], 10), np.zeros(50, int)]
    return activation, Rows.of(labels, emotions=EMOTIONS, texts=[f"text {i}" for i in range(80)])


def test_top_and_deciles(firing):
    shown = top_texts(*firing, 0, seed=0, n=3)
    assert [p.text for p in shown.top] == ["text 79", "text 78", "text 77"]
    assert (shown.n_rows, shown.n_active) == (80, 50)
    assert [d.decile for d in shown.deciles] == list(range(10, 0, -1))
    assert all(d.n_active == 5 and d.low <= d.activation <= d.high for d in shown.deciles)
    assert shown.deciles[-1].low == 1


def test_misses_are_silent_rows_of_the_emotion_strongest_evidence_first(firing):
    shown = top_texts(*firing, 0, seed=0, n=4, strength=np.arange(80.0))
    assert (shown.n_emotion, shown.n_missed) == (60, 10)
    assert [p.row for p in shown.misses] == [9, 8, 7, 6]
    drawn = top_texts(*firing, 0, seed=0, n=4).misses
    assert all(p.row < 10 and p.activation == 0 for p in drawn)
    assert top_texts(*firing, None, seed=0).misses == ()


def test_equal_seeds_draw_equally_and_ties_keep_their_order(firing):
    activation, rows = firing
    assert top_texts(*firing, 0, seed=4) == top_texts(*firing, 0, seed=4)
    flat = top_texts((activation > 0).astype(float), rows, 0, seed=0, n=2)
    assert [p.row for p in flat.top] == [30, 31]


def test_few_firings_give_few_deciles_and_none_gives_none(firing):
    activation, rows = firing
    few = top_texts(np.where(activation > 47, activation, 0), rows, 0, seed=0)
    assert [d.n_active for d in few.deciles] == [1, 1, 1]
    silent = top_texts(np.zeros(80), rows, 0, seed=0)
    assert silent.top == silent.deciles == ()


def test_lengths_must_agree(firing):
    with pytest.raises(BadInput, match="79 texts"):
        top_texts(firing[0], firing[1][1:], 0, seed=0)


def test_a_name_outside_the_core_is_said_to_be_no_claim(found):
    frame, codes, table = study()
    table = table.with_columns(core=pl.Series([True, False, False, True, True, True]), name=pl.lit("word"))
    lines = render_inspect(inspect_feature(1, table, codes, rows_of(frame), seed=0, decoder=np.eye(6, 8)))
    assert any("outside the core, so it is not claimed and its name is not judged" in line for line in lines)
    near = next(line for line in lines if "Nearest by decoder direction" in line)
    assert "2 (outside the core: word)" in near
    assert "0 (word)" in near
    assert "outside" not in "\n".join(render_inspect(found(1)))
