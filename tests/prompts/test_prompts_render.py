"""Filling templates: articles, capitals, hashtags, what a twin lacks."""

import pytest

from moodlens.prompts.decks import Decks
from moodlens.prompts.render import Template, fill, finish, hashtag, takes_an


@pytest.mark.parametrize(
    "word",
    ["oboe", "upbeat", "R&B", "hour", "honest", "uplifting", "unhurried", "eight", "invigorating"],
)
def test_an_before_a_vowel_sound(word):
    assert takes_an(word)


@pytest.mark.parametrize(
    "word", ["ukulele", "euphoric", "harp", "utilitarian", "unison", "one", "home", "K-pop"]
)
def test_a_before_a_consonant_sound(word):
    assert not takes_an(word)


def test_articles_are_mended_and_keys_are_left_alone():
    assert finish("a oboe and an harp in A minor") == "an oboe and a harp in A minor"
    assert finish("a R&B song") == "an R&B song"


def test_a_sentence_begins_with_a_capital_and_a_phrase_does_not():
    assert fill("{adj} it is.", {"adj": "calm"}) == "Calm it is."
    assert fill("{adj} it is", {"adj": "calm"}) == "calm it is"


def test_brackets_mark_what_the_twin_lacks():
    template = Template.parse("a[ {adj}] {genre} song")
    values = {"adj": "upbeat", "genre": "jazz"}
    assert fill(template.full, values) == "an upbeat jazz song"
    assert template.bare is not None
    assert fill(template.bare, values) == "a jazz song"
    assert template.bare_slots == {"genre"}
    assert Template.parse("{adj} music").bare is None


def test_hashtag_is_one_word():
    assert hashtag("hip hop R&B") == "hiphoprb"


def test_a_deck_deals_every_card_before_any_twice():
    decks = Decks("seed")
    dealt = [decks.deal("x", "abcde") for _ in range(15)]
    assert all(sorted(dealt[i : i + 5]) == list("abcde") for i in (0, 5, 10))
    assert [Decks("seed").deal("x", "abcde") for _ in range(3)] == [Decks("seed").deal("x", "abcde")] * 3
