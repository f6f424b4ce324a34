"""Concept features: planted ones are found on unseen groups, and nothing is found where there is nothing."""

import numpy as np
import polars as pl
import pytest

from moodlens.features.concepts import concept_features
from moodlens.features.select import select_features
from moodlens.settings.features import FeatureSettings
from moodlens.study.rows import Rows

EMOTIONS = ("happy", "sad")
CONCEPTS = {"happy": ("play", "joy", "hope"), "sad": ("grief", "tears", "longing")}
SETTINGS = FeatureSettings(n_permutations=2000, n_shuffles=20)


def _rows(groups=24, each=6, named=True):
    """Every concept has ``groups`` words of ``each`` texts; a third of the words judge."""
    label, concept, group, split = [], [], [], []
    for c, emotion in enumerate(EMOTIONS):
        for name in CONCEPTS[emotion]:
            for g in range(groups):
                label += [c] * each
                concept += [name if named else ""] * each
                group += [f"{name}-{g}"] * each
                split += [("train", "train", "test")[g % 3]] * each
    return Rows.of(label, emotions=EMOTIONS, group=group, split=split, concept=concept)


def _codes(rows, holds, *, noise=0.03, seed=0):
    """(n, d) codes: feature j fires in most texts of the emotion and concept ``holds[j]``; '' is every concept."""
    rng = np.random.default_rng(seed)
    columns = []
    for emotion, concept in holds:
        own = rows.label == EMOTIONS.index(emotion)
        if concept:
            own &= rows.concept == concept
        rate = np.where(own, 0.7, noise)
        columns.append((rng.random(len(rows)) < rate) * rng.uniform(0.5, 1.5, len(rows)))
    return np.array(columns, dtype=np.float32).T


def _judge(rows, codes, settings=SETTINGS):
    table = select_features(codes, rows, settings, seed=1).table
    return concept_features(table, codes, codes, rows, settings, seed=2)


def test_planted_concepts_are_found_and_features_of_a_whole_emotion_are_not():
    rows = _rows()
    holds = [("happy", "play"), ("happy", ""), ("sad", "grief"), ("sad", "tears"), ("sad", "")]
    judged = _judge(rows, _codes(rows, holds))
    held = judged.table.filter(pl.col("concept_feature"))
    assert dict(zip(held["feature"], held["concept"], strict=True)) == {0: "play", 2: "grief", 3: "tears"}
    assert judged.summary.per_emotion == {"happy": 1, "sad": 2}
    assert judged.summary.emotions["sad"].n_covered == 2
    assert judged.summary.shuffled_p95 <= 1


@pytest.mark.parametrize("seed", range(3))
def test_concepts_dealt_to_words_at_random_are_not_found(seed):
    rows = _rows()
    codes = _codes(rows, [("happy", "play"), ("sad", "grief"), ("sad", "tears")])
    rng = np.random.default_rng(seed)
    dealt = rows.concept.copy()
    for c in range(2):
        words, first = np.unique(rows.group[rows.label == c], return_index=True)
        names = rng.permutation(dealt[rows.label == c][first])
        named = dict(zip(words.tolist(), names.tolist(), strict=True))
        dealt[rows.label == c] = [named[g] for g in rows.group[rows.label == c]]
    again = Rows.of(
        rows.label, emotions=EMOTIONS, group=rows.group, split=rows.split, concept=dealt, texts=rows.texts
    )
    assert _judge(again, codes).summary.n_concept_features <= 1


def test_texts_without_concepts_are_not_asked():
    rows = _rows(named=False)
    judged = _judge(rows, _codes(_rows(), [("happy", "play"), ("sad", "grief")]))
    assert not judged.summary.asked
    assert judged.table.height == 0
    assert judged.summary.emotions == {}


def test_an_emotion_without_a_claimed_feature_has_none():
    rows = _rows()
    judged = _judge(rows, _codes(rows, [("sad", "grief"), ("sad", "tears")]))
    assert judged.summary.per_emotion["happy"] == 0
    assert judged.summary.emotions["happy"].n_judged == 0


def test_a_concept_of_too_few_words_is_left_out_and_named():
    rows = _rows()
    few = rows.concept.copy()
    words = np.unique(rows.group[rows.concept == "hope"])[2:]
    few[np.isin(rows.group, words)] = ""
    again = Rows.of(rows.label, emotions=EMOTIONS, group=rows.group, split=rows.split, concept=few)
    found = _judge(again, _codes(rows, [("happy", "play"), ("sad", "grief")])).summary.emotions["happy"]
    assert found.left_out == ("hope",)
    assert set(found.concepts) == {"play", "joy"}


def test_the_concept_of_test_words_has_no_part_in_the_choice():
    rows = _rows()
    codes = _codes(rows, [("happy", "play"), ("sad", "grief")])
    other = rows.concept.copy()
    swap = {"play": "joy", "joy": "play"}
    test = rows.split == "test"
    other[test] = [swap.get(name, name) for name in other[test]]
    again = Rows.of(rows.label, emotions=EMOTIONS, group=rows.group, split=rows.split, concept=other)
    first, second = _judge(rows, codes).table, _judge(again, codes).table
    assert first["concept"].to_list() == second["concept"].to_list()
    assert second.filter(pl.col("feature") == 0)["concept_feature"].to_list() == [False]


def test_copies_of_an_annotators_text_are_no_evidence_for_a_concept():
    rng = np.random.default_rng(0)
    text = np.repeat(np.arange(2 * 72), 20)  # of each emotion, eight texts by each of nine annotators
    label, annotator = text // 72, text // 8 % 9
    concept = np.array(["grief", "tears"])[rng.integers(0, 2, 144)][text]
    split = np.array(["train", "train", "test"])[annotator % 3]
    level = (rng.random((144, 150)) < 0.25) * rng.random((144, 150))
    # Every feature also fires for sad: it can be claimed, and then asked what it is about.
    codes = (level[text] * label[:, None]).astype(np.float32)
    rows = Rows.of(
        label,
        emotions=EMOTIONS,
        group=annotator * 2 + label,
        split=split,
        concept=concept,
        copy=text,
    )
    table = select_features(codes, rows, SETTINGS, seed=1).table.with_columns(
        emotion=pl.lit("sad"), emotion_feature=pl.lit(True)
    )
    assert concept_features(table, codes, codes, rows, SETTINGS, seed=2).summary.n_concept_features <= 1
