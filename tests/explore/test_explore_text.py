"""A text on the page: the numbers of `moodlens score`, shared out among its words exactly."""

import numpy as np
import polars as pl
import pytest

from moodlens.core import BadInput
from moodlens.explore.text import read_text

LONG = (
    "This is a slow, mournful piano piece by a lonely pianist. The strings come in softly, like tears. 🎻 Then\n"
    "the drums burst in and everybody dances at the wedding!"
)


@pytest.mark.parametrize("text", ["a joyful wedding dance", "grief at a grave", LONG])
def test_numbers_are_those_of_moodlens_score(explored, text):
    scored = explored.study.score([text])
    read = read_text(explored, text)
    for emotion in explored.study.emotions:
        expected = scored[f"family_{emotion}"][0]
        told = read.families[emotion]
        assert (told is None) if np.isnan(expected) else (told == pytest.approx(expected, abs=1e-4))
    assert any(value is not None for value in read.families.values())
    said = scored["words"][0]
    best = max(read.families, key=lambda emotion: read.families[emotion] or -np.inf)
    if said:
        assert said.startswith(f"{best}: ")
        words = [one.rsplit(" ", 1)[0] for one in said.partition(": ")[2].split(", ")]
        assert [word for word, _ in read.family_words[best]] == words
    active = {one.feature: one.activation for one in read.active if one.claimed}
    expected = {
        int(name.removeprefix("feature_")): scored[name][0]
        for name in scored.columns
        if name.startswith("feature_") and scored[name][0] > 0
    }
    assert active == pytest.approx(expected, rel=1e-4)
    assert read.n_active.claimed == len(expected)


def test_words_and_the_rest_add_up_to_the_rise(explored):
    read = read_text(explored, LONG)
    assert len(read.sentences) > 1
    W_enc, encoder = explored.study.W_enc(), explored.encoder
    sentences = [_cut(LONG, one.begin, one.end) for one in read.sentences]
    x = encoder.encode([" ".join(one.split()) for one in sentences])
    assert read.active
    for one in read.active:
        assert sum(one.added) + one.rest == pytest.approx(one.rise, rel=1e-2, abs=1e-3)
        own = (x[one.sentence] - explored.mean) @ W_enc[:, one.feature]
        assert one.rise == pytest.approx(float(own), rel=1e-2, abs=1e-3)
        assert len(one.added) == sum(word.sentence == one.sentence for word in read.words)


def test_a_feature_that_is_asked_for_is_told_silent_or_not(explored):
    read = read_text(explored, LONG)
    assert read.asked is None
    loud = read.active[-1]
    assert read_text(explored, LONG, loud.feature).asked == loud
    firing = {one.feature for one in read.active}
    silent = next(f for f in range(explored.table.height) if f not in firing)
    told = read_text(explored, LONG, silent).asked
    assert told is not None
    assert (told.feature, told.activation) == (silent, 0)
    assert sum(told.added) + told.rest == pytest.approx(told.rise, rel=1e-2, abs=1e-3)


def _cut(text: str, begin: int, end: int) -> str:
    return text.encode("utf-16-le")[2 * begin : 2 * end].decode("utf-16-le")


def test_sentences_and_words_are_where_they_are_said_to_be(explored):
    read = read_text(explored, f"  {LONG}  ")
    pieces = [_cut(read.text, one.begin, one.end) for one in read.sentences]
    assert "".join("".join(pieces).split()) == "".join(LONG.split())
    words = [_cut(read.text, one.begin, one.end) for one in read.words]
    assert words[:4] == ["This", "is", "a", "slow"]
    assert words[-1] == "wedding"
    for word in read.words:
        sentence = read.sentences[word.sentence]
        assert sentence.begin <= word.begin < word.end <= sentence.end


def test_each_sentence_is_read_as_if_it_stood_alone(explored):
    read = read_text(explored, LONG)
    sentence = read.sentences[0]
    alone = read_text(explored, _cut(LONG, sentence.begin, sentence.end))
    assert sentence.families == pytest.approx(alone.families, abs=1e-4)


def test_concepts_are_those_of_active_features(explored):
    frame = explored.table
    some = frame.filter(pl.col("concept_feature"))
    if not some.height:
        pytest.skip("the small study holds no concept")
    feature = int(some["feature"][0])
    row = int(np.argmax(explored.activation(feature)))
    read = read_text(explored, explored.study.rows.texts[row])
    told = {(one.emotion, one.concept) for one in read.concepts}
    assert (some["emotion"][0], some["concept"][0]) in told
    for one in read.concepts:
        assert all(frame["concept"][f] == one.concept for f in one.features)


def test_members_of_a_family_are_told_with_their_part(explored):
    read = read_text(explored, "a joyful wedding dance")
    for why, family in zip(read.emotions, explored.study.families.families, strict=True):
        assert {one.feature for one in why.members} == set(family.features)
        for one in why.members:
            assert one.share == pytest.approx(one.weight * one.activation, rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("text", ["", "   \n ", "A lovely song here. " * 300])
def test_what_cannot_be_read_is_said(explored, text):
    with pytest.raises(BadInput):
        read_text(explored, text)


@pytest.mark.parametrize(
    "text",
    ["\x00\x01\x1b[31m", "<script>alert(1)</script>", "🎻" * 500, "x" * 5000, "שלום עולם", "1 2 3 !!!"],
)
def test_hostile_texts_are_read_like_any_other(explored, text):
    read = read_text(explored, text)
    assert read.text == text
    assert set(read.families) == set(explored.study.emotions)


def test_a_warm_answer_takes_less_than_300_ms(explored):
    read_text(explored, "warm")
    taken = min(read_text(explored, f"{text} again").seconds for text in ("a joyful song", LONG, "grief"))
    assert taken < 0.3
