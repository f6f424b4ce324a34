"""The words themselves: enough of them, a quarter held out, none that belongs to two."""

import re
from collections import Counter

import pytest

from moodlens.prompts.vocabulary import (
    EMOTIONS,
    KINDS,
    NEUTRAL,
    _load,
    fact_sentences,
    lexeme_roots,
    mixed_words,
    roots,
    templates,
    units,
)
from moodlens.prompts.writer import STYLES

OWNERS = (*EMOTIONS, NEUTRAL)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_at_least_120_lexemes_and_scenes_of_which_a_quarter_is_held_out(emotion):
    every = units(emotion)
    assert len({unit.text for unit in every}) == len(every) >= 120
    for kind in KINDS:
        of_kind = [unit for unit in every if unit.kind == kind]
        assert sum(unit.held_out for unit in of_kind) / len(of_kind) == pytest.approx(0.25)


def test_every_emotion_has_as_many_units_of_each_kind_and_gradedness():
    # Otherwise intensity and style would go with the emotion.
    counts = [
        Counter((unit.kind, unit.held_out, unit.graded) for unit in units(emotion)) for emotion in EMOTIONS
    ]
    assert all(count == counts[0] for count in counts)


@pytest.mark.parametrize("owner", OWNERS)
def test_held_out_units_share_no_content_word_with_the_others(owner):
    trained = {root for unit in units(owner) if not unit.held_out for root in roots(unit.text)}
    for unit in units(owner):
        if unit.held_out:
            assert not trained & set(roots(unit.text)), unit.text


@pytest.mark.parametrize("owner", OWNERS)
def test_no_group_holds_both_trained_and_held_out_units(owner):
    held_out = {unit.group for unit in units(owner) if unit.held_out}
    assert not held_out & {unit.group for unit in units(owner) if not unit.held_out}


def test_no_lexeme_belongs_to_two_emotions():
    for first in EMOTIONS:
        for second in EMOTIONS:
            if first < second:
                assert not lexeme_roots(first) & lexeme_roots(second), (first, second)


@pytest.mark.parametrize("owner", OWNERS)
def test_nothing_holds_a_lexeme_of_another_emotion(owner):
    foreign = frozenset().union(*(lexeme_roots(other) for other in EMOTIONS if other != owner))
    for unit in units(owner):
        assert not foreign & set(roots(unit.text)), unit.text


def test_facts_and_templates_hold_no_lexeme():
    emotional = frozenset().union(*map(lexeme_roots, EMOTIONS))
    texts = [template.full for held_out in (False, True) for template in fact_sentences(held_out)]
    for held_out in (False, True):
        for kind in KINDS:
            texts += [one.full for style in templates(kind, held_out).values() for one in style]
    for text in texts:
        # A word stands in for the slots, so that a text is never made of weak words only.
        assert not emotional & set(roots(re.sub(r"\{\w+\}", "zzz", text))), text


def test_shared_facts_hold_no_lexeme():
    emotional = frozenset().union(*map(lexeme_roots, EMOTIONS))
    data = {name: value for name, value in _load("shared").items() if name not in ("same", "ungraded")}

    def strings(value):
        if isinstance(value, str):
            yield value
        else:
            for item in value.values() if isinstance(value, dict) else value:
                yield from strings(item)

    for text in strings(data):
        assert not emotional & set(roots(text)), text


def test_ungraded_words_exist():
    adjectives = {unit.text for owner in OWNERS for unit in units(owner) if unit.kind == "adjective"}
    listed = _load("shared")["ungraded"]
    assert set(listed) <= adjectives
    assert len(set(listed)) == len(listed)


def test_held_out_templates_are_their_own():
    for kind in KINDS:
        trained = {one.full for style in templates(kind, False).values() for one in style}
        held_out = {one.full for style in templates(kind, True).values() for one in style}
        assert held_out
        assert not trained & held_out
    trained, held_out = ({one.full for one in fact_sentences(part)} for part in (False, True))
    assert held_out
    assert not trained & held_out


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_styles_and_a_template_with_a_twin(kind, held_out):
    by_style = templates(kind, held_out)
    assert set(by_style) == set(STYLES[kind])
    assert any(one.bare is not None for style in by_style.values() for one in style)


def test_mixed_words_are_no_lexemes_of_a_single_emotion():
    for word, pair in mixed_words():
        assert set(pair) <= set(EMOTIONS)
        for emotion in set(EMOTIONS) - set(pair):
            assert word not in {unit.text for unit in units(emotion)}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("joy", "joyful"),
        ("joyful", "joyous"),
        ("calm", "calming"),
        ("grief", "grieving"),
        ("heartbroken", "heartbreaking"),
        ("meditative", "meditation"),
        ("vigour", "vigorous"),
        ("tears to your eyes", "tearful"),
    ],
)
def test_words_of_one_root_are_one_group(first, second):
    assert roots(first)[0] == roots(second)[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [("happy", "happen"), ("light", "light-hearted"), ("playful", "plays"), ("restless", "rest")],
)
def test_words_of_other_roots_are_not(first, second):
    assert roots(first)[0] != roots(second)[0]
