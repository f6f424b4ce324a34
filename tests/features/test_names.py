"""Names say what the texts say, count groups and not rows, and are made without the texts that test them."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from helpers.naming_study import EMOTIONS, rows_of, study, wide
from moodlens.core import BadInput
from moodlens.core.labels import UNKNOWN
from moodlens.features.names.judge import name_features
from moodlens.features.names.make import make_names
from moodlens.features.names.words import (
    Kind,
    Name,
    StemIndex,
    Texts,
    group_weights,
    log_odds_z,
    predictions,
    read_name,
    read_words,
)
from moodlens.settings.names import NameSettings
from moodlens.study.records.names import NameEvidence
from moodlens.study.rows import Rows

SETTINGS = NameSettings(n_shuffles=20)


@pytest.fixture(scope="module")
def made():
    frame, codes, table = study()
    return {one.feature: one for one in make_names(table, codes, rows_of(frame), frame, SETTINGS)}


def test_a_word_shared_by_groups_names_the_feature_and_inflections_are_one(made):
    words = made[0].name.words
    assert words[0] in ("cloud", "clouds")
    assert sum("cloud" in word for word in words) == 1
    term = next(t for t in made[0].learned.terms if "cloud" in t.term)
    assert term.carries_over
    assert term.groups > 10


def test_a_feature_of_a_whole_emotion_is_called_by_it(made):
    assert made[1].name.emotions == ("happy",)
    assert str(made[1].name).endswith("happy")


def test_a_feature_of_a_genre_is_called_by_the_genre_and_claims_no_emotion(made):
    assert "samba" in str(made[2].name)
    assert made[2].name.emotions == ()


def test_a_word_of_one_group_does_not_carry_over(made):
    """Six texts of one scene are one piece of evidence."""
    own = [t for t in made[4].learned.terms if t.term == "wordsad1"]
    assert own
    assert not own[0].carries_over


def test_a_silent_feature_gets_no_name(made):
    assert 5 not in made


def test_names_never_see_the_texts_that_test_them(made):
    frame, codes, table = study()
    changed = frame.with_columns(
        text=pl.when(pl.col("split") == "test").then(pl.lit("something else")).otherwise("text")
    )
    codes = codes.copy()
    codes[(frame["split"] == "test").to_numpy()] = 0
    again = make_names(table, codes, rows_of(changed), changed, SETTINGS)
    assert [str(one.name) for one in again] == [str(one.name) for one in made.values()]


def test_names_do_not_depend_on_the_order_of_the_texts(made):
    frame, codes, table = study()
    order = np.random.default_rng(3).permutation(len(frame))
    again = make_names(table, codes[order], rows_of(frame[order]), frame[order], SETTINGS)
    assert [str(one.name) for one in again] == [str(one.name) for one in made.values()]


def test_the_table_says_which_names_hold_on_unseen_groups():
    frame, codes, table = wide(*study())
    names = name_features(table, codes, rows_of(frame), frame, SETTINGS, seed=0)
    rows = {row["feature"]: row for row in names.table.iter_rows(named=True)}
    assert names.table.columns == [
        "feature", "name", "name_score", "name_precision", "name_recall", "name_control", "name_q", "interpretable",
        "monosemanticity", "monosemanticity_control", "name_evidence",
    ]  # fmt: skip
    assert names.table.height == len(table)
    assert rows[1]["name_score"] > 0.9
    assert rows[0]["name_score"] > rows[0]["name_control"] + 0.2
    assert rows[1]["monosemanticity"] > 0.9 > rows[1]["monosemanticity_control"]
    assert not rows[3]["interpretable"]  # fires by chance
    assert not rows[4]["interpretable"]  # its only word is never seen again
    assert rows[4]["name"]
    assert rows[5]["name"] is None
    assert rows[8]["interpretable"] is None  # named, so that others can be compared with it, but not judged
    evidence = NameEvidence.model_validate_json(rows[0]["name_evidence"])
    assert evidence.tested.n == (frame["split"] == "test").sum()
    assert evidence.tested.groups_hit >= 5
    assert len(evidence.coverage) == 10
    assert names.summary.n_judged == 5 - (rows[4]["name_score"] is None)


def test_bad_shapes_and_missing_splits_are_refused():
    frame, codes, table = study()
    with pytest.raises(BadInput, match="do not fit"):
        name_features(table, codes[1:], rows_of(frame), frame, SETTINGS, seed=0)
    train = frame.with_columns(split=pl.lit("train"))
    with pytest.raises(BadInput, match="no prompts in split test"):
        name_features(table, codes, rows_of(train), train, SETTINGS, seed=0)


def test_negations_and_mixtures_take_no_part():
    frame, codes, table = study()
    extra = frame.head(50).with_columns(kind=pl.lit("negation"), text=pl.lit("not at all zebra"))
    more = np.vstack([codes, np.ones((50, codes.shape[1]), np.float32)])
    both = pl.concat([frame, extra])
    again = make_names(table, more, rows_of(both), both, SETTINGS)
    assert not any("zebra" in str(one.name) for one in again)


def test_log_odds_equal_the_formula_and_weigh_groups():
    """One term, by hand: Monroe et al. 2008, equations 16 and 20."""
    terms = sparse.csc_array(np.array([[1.0], [1.0], [0.0], [1.0], [0.0]]))
    fires = np.array([[1], [1], [0], [0], [0]], dtype=bool)
    weights = group_weights(np.array(["a", "a", "b", "c", "d"]))
    np.testing.assert_allclose(weights, [0.5, 0.5, 1, 1, 1])
    z = log_odds_z(terms, fires, weights, prior=2.0)[0, 0]
    a = 2.0 * 2 / 4
    delta = np.log((1 + a) / (1 + 2 - 1 - a)) - np.log((1 + a) / (3 + 2 - 1 - a))
    assert z == pytest.approx(delta / np.sqrt(1 / (1 + a) + 1 / (1 + a)))


@given(st.integers(0, 2**32 - 1))
def test_repeating_a_group_changes_no_score(seed):
    rng = np.random.default_rng(seed)
    terms, fires = (rng.random((20, 6)) < 0.4).astype(float), rng.random((20, 3)) < 0.4
    groups = rng.integers(0, 8, 20)
    base = log_odds_z(sparse.csc_array(terms), fires, group_weights(groups), prior=5.0)
    repeated = np.r_[np.arange(20), np.flatnonzero(groups == groups[0])]
    again = log_odds_z(
        sparse.csc_array(terms[repeated]), fires[repeated], group_weights(groups[repeated]), prior=5.0
    )
    np.testing.assert_allclose(again, base, atol=1e-9)


def test_ngrams_stay_within_clauses_and_merge_inflections():
    texts = ["a joyful dance, bright sky", "the joyous dances. bright skies", "JOYFULLY dancing", "dance", ""]
    words, found = read_words(texts, min_texts=2)
    assert "joy danc" in words.terms
    assert words.wordings[words.terms.index("joy danc")] in ("joyful dance", "joyous dances")
    assert not any(term.startswith("danc bright") for term in words.terms)
    assert not any(term in ("a", "the") for term in words.terms)
    matrix = found.toarray()
    assert matrix.shape == (5, len(words.terms))
    assert matrix[:, words.terms.index("joy danc")].tolist() == [1, 1, 1, 0, 0]
    assert matrix[4].sum() == 0


def test_texts_with_a_phrase_hold_its_stems_in_a_row():
    index = StemIndex(["a slowly flowing river", "slow rivers", "slow, river"])
    assert index.rows("slow river").tolist() == [1]
    assert index.rows("rivers").tolist() == [0, 1, 2]
    assert index.rows("lake").tolist() == []


def test_a_written_name_is_read_as_words_and_emotions():
    name = read_name("Festive,  street party · HAPPY; festive", EMOTIONS)
    assert name.words == ("Festive", "street party", "festive")
    assert name.kinds == (Kind((("emotion", "happy"),)),)
    assert read_name(" , ·", EMOTIONS) == Name()


def test_predictions_are_words_or_classes():
    rows = Rows.of([1, 1, -1], emotions=EMOTIONS, texts=["a cloud", "sun", "sun"])
    texts, _ = Texts.of(rows, pl.DataFrame({"style": ["words", "scene", "scene"]}), ["train"])
    calm_scene = Kind((("emotion", "sad"), ("style", "scene")))
    names = [Name(("clouds",)), Name(kinds=(calm_scene,)), Name(("clouds",), (calm_scene,)), Name()]
    expected = [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(predictions(names, texts), np.array(expected, bool))
    assert Name(kinds=(calm_scene, Kind((("emotion", "sad"),)))).without_emotion().kinds == (calm_scene,)


def test_a_study_without_emotion_features_or_without_firings_gets_an_empty_answer():
    frame, codes, table = study()
    none = table.with_columns(emotion_feature=pl.lit(False))
    names = name_features(none, codes, rows_of(frame), frame, SETTINGS, seed=0)
    assert names.summary.n_judged == names.summary.n_interpretable == 0
    assert names.table["name"][0]
    silent = name_features(table, np.zeros_like(codes), rows_of(frame), frame, SETTINGS, seed=0)
    assert silent.table.height == len(table)
    assert silent.table["name"].null_count() == len(table)
    assert silent.summary.n_named == 0


def test_texts_of_people_need_no_factors_and_no_groups():
    frame, codes, table = study()
    bare = Rows.of(rows_of(frame).label, emotions=EMOTIONS, split=frame["split"], texts=frame["text"])
    names = name_features(table, codes, bare, None, SETTINGS, seed=0)
    assert "cloud" in names.table["name"][0]
    assert names.table["name"][1].endswith("happy")


def test_texts_of_unknown_emotion_neither_make_nor_judge_a_name():
    """A happy text that nobody labelled is no evidence against "happy"."""
    frame, codes, table = wide(*study())
    rows = rows_of(frame)
    extra = np.flatnonzero((rows.label == 0) & (codes[:, 1] > 0))
    both = np.r_[np.arange(len(rows)), extra]
    unknown = np.arange(len(both)) >= len(rows)
    with_unknown = Rows.of(
        np.where(unknown, UNKNOWN, rows.label[both]),
        emotions=EMOTIONS,
        group=rows.group[both],
        split=rows.split[both],
        texts=rows.texts[both],
    )
    alone = name_features(table, codes, rows, frame, SETTINGS, seed=0)
    names = name_features(table, codes[both], with_unknown, frame[both], SETTINGS, seed=0)
    assert names.table.equals(alone.table)
    assert names.summary == alone.summary


@pytest.mark.parametrize("label", ["mean", "(none)", "neutral", ""])
def test_any_word_may_be_a_label(label):
    frame, codes, table = study()
    rows = Rows.from_frame(frame.with_columns(pl.col("emotion").replace("sad", label)), ("happy", label))
    table = table.with_columns(pl.col("emotion").replace("sad", label))
    names = name_features(table, codes, rows, frame, SETTINGS, seed=0)
    assert set(names.summary.per_emotion) == {"happy", label}
    assert names.summary.judged_per_emotion[label] >= 2
