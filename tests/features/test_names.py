"""Names say what fires a feature, are made without the texts that test them, and are read without a label."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from helpers.naming_study import CONCEPTS, EMOTIONS, FEATURES, GENRES, PLANTED, rows_of, study, word_of
from moodlens.core import BadInput
from moodlens.core.labels import UNKNOWN
from moodlens.features.names.judge import judge_names, name_features
from moodlens.features.names.make import Material, make_names
from moodlens.features.names.words import Name, Texts, lift, log_odds_z, read_name, read_words
from moodlens.settings.names import NameSettings
from moodlens.study.records.names import NAMES, NameEvidence
from moodlens.study.rows import Rows

SETTINGS = NameSettings(n_shuffles=20, q=0.1)
"""One control name in thirty has the same concept here, and ties with a name that is always right."""


@pytest.fixture(scope="module")
def made():
    frame, coded, table = study()
    material = Material.of(coded, frame, SETTINGS)
    return {one.feature: one for one in make_names(table, coded.codes, material, SETTINGS)}


@pytest.fixture(scope="module")
def judged():
    frame, coded, table = study()
    return name_features(table, coded, frame, SETTINGS, seed=0)


def test_a_name_holds_the_concept_and_words_that_fire_the_feature(made):
    for f in PLANTED:
        concept = FEATURES[f]
        assert made[f].name.concept == concept
        train = {word_of(concept, g) for g in range(8) if g % 4 != 3}
        assert set(made[f].name.words) <= train
        assert made[f].name.words


def test_no_name_holds_a_genre_or_a_word_of_the_template(made):
    spoken = {word for one in made.values() for word in one.name.words}
    assert spoken.isdisjoint({*GENRES, "piece", "number", "plain"})


def test_without_factors_the_rows_alone_say_that_a_genre_is_no_word_of_an_emotion():
    frame, coded, table = study()
    material = Material.of(coded, frame.drop("genre", "instrument"), SETTINGS)
    spoken = {w for one in make_names(table, coded.codes, material, SETTINGS) for w in one.name.words}
    assert spoken
    assert spoken.isdisjoint({*GENRES, "piece", "number", "plain"})


def test_a_silent_feature_gets_no_name(made):
    assert FEATURES.index("silent") not in made


def test_planted_names_hold_on_unseen_words_and_names_of_nothing_do_not(judged):
    rows = {row["feature"]: row for row in judged.table.iter_rows(named=True)}
    for f in PLANTED:
        assert rows[f]["interpretable"]
        assert rows[f]["name_score"] > 0.85
        assert rows[f]["name_score"] > rows[f]["name_control"] + 0.1
        assert rows[f]["monosemanticity"] > rows[f]["monosemanticity_control"] + 0.3
    assert not rows[FEATURES.index("chance")]["interpretable"]
    assert not rows[FEATURES.index("samba")]["interpretable"]
    assert rows[FEATURES.index("silent")]["name"] is None
    other = rows[len(FEATURES)]  # named, so that others can be compared with it, but not judged
    assert other["name"]
    assert other["interpretable"] is None
    assert other["name_score"] is None


def test_what_holds_for_a_whole_emotion_says_nothing_within_it(judged):
    """A name must tell which texts of the emotion fire; this feature fires in all of them alike."""
    assert not judged.table["interpretable"][FEATURES.index("happy")]


def test_words_alone_are_enough_where_no_text_has_a_concept():
    frame, coded, table = study()
    bare = replace(coded, rows=rows_of(frame.drop("concept")))
    names = name_features(table, bare, None, SETTINGS, seed=0)
    assert names.summary.with_concept == 0
    assert names.table["interpretable"][:12].sum() >= 9


def test_names_that_were_dealt_do_not_hold(judged):
    assert judged.summary.n_interpretable >= 12
    assert judged.summary.dealt.mean <= 1
    assert judged.summary.dealt_judged.mean <= 1
    frame, coded, table = study()
    material = Material.of(coded, frame, SETTINGS)
    named = make_names(table, coded.codes, material, SETTINGS)
    called = {f: named[f].name for f in PLANTED}
    for f in PLANTED:  # each planted feature is called by the next concept of its emotion
        named[f] = replace(named[f], name=called[f // 6 * 6 + (f + 1) % 6])
    wrong = judge_names(named, table, coded, material, SETTINGS, seed=0)
    assert wrong.table["interpretable"][:12].sum() == 0


def test_features_that_fire_for_nothing_have_no_names_that_hold():
    """Emotion features whose firings are drawn anew by text."""
    held = 0
    for seed in range(5):
        frame, coded, table = study(seed)
        rng = np.random.default_rng(seed)
        codes = (rng.random(coded.codes.shape) * (rng.random(coded.codes.shape) < 0.2)).astype(np.float32)
        names = name_features(table, replace(coded, codes=codes), frame, SETTINGS, seed=seed)
        held += names.summary.n_interpretable
    assert held <= 1


def test_no_name_is_read_with_the_label_or_the_concept_of_a_judged_text(judged):
    frame, coded, table = study()
    rng = np.random.default_rng(1)
    test = np.flatnonzero(coded.rows.split == "test")
    concept, label = coded.rows.concept.copy(), coded.rows.label.copy()
    concept[test] = rng.permutation(concept[test])
    again = name_features(
        table, replace(coded, rows=replace(coded.rows, concept=concept)), frame, SETTINGS, seed=0
    )
    assert again.table.equals(judged.table)
    label[test] = rng.permutation(label[test])
    again = name_features(
        table, replace(coded, rows=replace(coded.rows, label=label)), frame, SETTINGS, seed=0
    )
    # Which texts are of the emotion has changed, what the name says of each has not.
    same = ["feature", "name", "name_score_all", "name_precision", "name_recall", "monosemanticity"]
    assert (
        again.table.select(same)
        .filter(pl.col("name_score_all").is_not_null())
        .equals(judged.table.select(same).filter(pl.col("name_score_all").is_not_null()))
    )
    assert not again.table["name_score"].equals(judged.table["name_score"])


def test_names_never_see_the_texts_that_test_them(made):
    frame, coded, table = study()
    changed = frame.with_columns(
        text=pl.when(pl.col("split") == "test").then(pl.lit("something else")).otherwise("text")
    )
    codes, x, test = coded.codes.copy(), coded.x.copy(), (frame["split"] == "test").to_numpy()
    codes[test], x[test] = 0, 7
    other = replace(coded, rows=rows_of(changed), codes=codes, x=x)
    again = make_names(table, codes, Material.of(other, changed, SETTINGS), SETTINGS)
    assert [str(one.name) for one in again] == [str(one.name) for one in made.values()]


def test_names_do_not_depend_on_the_order_of_the_texts(made):
    frame, coded, table = study()
    order = np.random.default_rng(3).permutation(len(frame))
    other = replace(coded, rows=rows_of(frame[order]), codes=coded.codes[order], x=coded.x[order])
    again = make_names(table, other.codes, Material.of(other, frame[order], SETTINGS), SETTINGS)
    assert [str(one.name) for one in again] == [str(one.name) for one in made.values()]


def test_the_table_has_the_declared_columns_and_its_evidence(judged):
    assert judged.table.columns == list(NAMES.columns)
    evidence = NameEvidence.model_validate_json(judged.table["name_evidence"][0])
    assert evidence.tested.groups_hit >= 1
    assert evidence.tested.n_emotion < evidence.tested.n
    assert evidence.learned.terms[0].groups >= 1
    assert len(evidence.coverage) == 10
    assert judged.words.height == 0
    assert not judged.summary.attributed


def test_bad_shapes_and_missing_splits_are_refused():
    frame, coded, table = study()
    with pytest.raises(BadInput, match="do not fit"):
        name_features(table[1:], coded, frame, SETTINGS, seed=0)
    train = replace(coded, rows=replace(coded.rows, split=np.full(len(frame), "train")))
    with pytest.raises(BadInput, match="no prompts in split test"):
        name_features(table, train, frame, SETTINGS, seed=0)


def test_texts_of_unknown_emotion_neither_make_nor_judge_a_name(judged):
    """A text that nobody labelled is no evidence against a word; a negation is none for it."""
    frame, coded, table = study()
    extra = np.flatnonzero(coded.rows.label == 0)
    both = np.r_[np.arange(len(frame)), extra]
    unknown = np.arange(len(both)) >= len(frame)
    rows = Rows.of(
        np.where(unknown, UNKNOWN, coded.rows.label[both]),
        emotions=EMOTIONS,
        group=coded.rows.group[both],
        split=coded.rows.split[both],
        texts=coded.rows.texts[both],
        concept=coded.rows.concept[both],
    )
    other = replace(coded, rows=rows, x=coded.x[both], codes=coded.codes[both])
    names = name_features(table, other, frame[both], SETTINGS, seed=0)
    assert names.table.equals(judged.table)
    assert names.summary == judged.summary


def test_a_study_without_emotion_features_or_without_firings_gets_an_empty_answer():
    frame, coded, table = study()
    none = table.with_columns(emotion_feature=pl.lit(False))
    names = name_features(none, coded, frame, SETTINGS, seed=0)
    assert names.summary.n_judged == names.summary.n_interpretable == 0
    silent = replace(coded, codes=np.zeros_like(coded.codes))
    names = name_features(table, silent, frame, SETTINGS, seed=0)
    assert names.table.height == len(table)
    assert names.table["name"].null_count() == len(table)
    assert names.summary.n_named == 0


@pytest.mark.parametrize("label", ["mean", "(none)", "neutral", ""])
def test_any_word_may_be_a_label(label):
    frame, coded, table = study()
    rows = replace(coded.rows, emotions=("happy", label))
    table = table.with_columns(pl.col("emotion").replace("sad", label))
    names = name_features(table, replace(coded, rows=rows), frame, SETTINGS, seed=0)
    assert set(names.summary.per_emotion) == {"happy", label}
    assert names.summary.judged_per_emotion[label] >= 3


def test_a_written_name_is_read_as_a_concept_and_words():
    concepts = [concept for of_emotion in CONCEPTS.values() for concept in of_emotion]
    assert read_name("Grief:  grave, slow rain; ashes, grave", concepts) == Name(
        ("grave", "slow rain", "ashes"), "grief"
    )
    assert read_name("joy: cake", concepts) == Name(("joy", "cake"))
    assert read_name(" , ·", concepts) == Name()
    assert str(Name(("grave", "ashes"), "grief")) == "grief: grave, ashes"
    assert str(Name(("grave",))) == "grave"


def test_log_odds_equal_the_formula_and_weigh_groups():
    """One term, by hand: Monroe et al. 2008, equations 16 and 20."""
    terms = sparse.csc_array(np.array([[1.0], [1.0], [0.0], [1.0], [0.0]]))
    fires = np.array([[1], [1], [0], [0], [0]], dtype=bool)
    rows = Rows.of([0] * 5, emotions=EMOTIONS, group=np.array(["a", "a", "b", "c", "d"]), texts=list("abcde"))
    weights = Texts.of(rows, None, ["train"])[0].weights
    np.testing.assert_allclose(weights, [0.5, 0.5, 1, 1, 1])
    z = log_odds_z(terms, fires, weights, prior=2.0)[0, 0]
    a = 2.0 * 2 / 4
    delta = np.log((1 + a) / (1 + 2 - 1 - a)) - np.log((1 + a) / (3 + 2 - 1 - a))
    assert z == pytest.approx(delta / np.sqrt(1 / (1 + a) + 1 / (1 + a)))


@given(st.integers(0, 2**32 - 1))
def test_repeating_a_group_changes_no_score(seed):
    rng = np.random.default_rng(seed)
    terms, groups = (rng.random((20, 6)) < 0.4).astype(float), rng.integers(0, 8, 20)
    label = groups % 2

    def lifts(order):
        rows = Rows.of(label[order], emotions=EMOTIONS, group=groups[order], texts=["a"] * len(order))
        texts = Texts.of(rows, None, ["train"])[0]
        return lift(sparse.csc_array(terms[order]), texts, texts.weights)

    repeated = np.r_[np.arange(20), np.flatnonzero(groups == groups[0])]
    np.testing.assert_allclose(lifts(repeated), lifts(np.arange(20)), atol=1e-9)


def test_texts_of_an_annotator_with_several_emotions_count_each():
    rows = Rows.of([0, 1, 1, 0, 0], emotions=EMOTIONS, group=[0, 0, 0, 1, 1], texts=list("abcde"))
    np.testing.assert_allclose(Texts.of(rows, None, ["train"])[0].weights, [1, 1, 1, 0.5, 0.5])


def test_words_merge_inflections_and_compounds_are_said_whole():
    texts = [
        "a joyful laid-back dance",
        "the joyous laid-back dances",
        "JOYFULLY dancing, laid-back",
        "dance",
        "",
    ]
    words, held = read_words(texts, min_texts=2)
    assert set(words.wordings) == {"joyful", "laid-back", "dance"} or set(words.wordings) >= {"laid-back"}
    assert "the" not in words.wordings
    matrix = held.toarray()
    assert matrix[:, words.place["joy"]].tolist() == [1, 1, 1, 0, 0]
    assert matrix[4].sum() == 0


def test_a_word_counts_from_so_many_texts_on():
    texts = ["a violin weeps", "a violin sings", "the violin and a harp", "a harp", "a harp, a harp, a drum"]
    vocabulary, held = read_words(texts, min_texts=3)
    assert vocabulary.wordings == ("harp", "violin")
    np.testing.assert_array_equal(held.toarray().T, [[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]])
    assert read_words(texts, min_texts=4)[0].terms == ()
