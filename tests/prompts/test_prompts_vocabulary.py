"""The words themselves: enough of them, some of every kind held out, none that belongs to two."""

import re
from collections import Counter
from itertools import combinations

import pytest

from moodlens.core import BadInput
from moodlens.prompts import vocabulary
from moodlens.prompts.vocabulary import (
    EMOTIONS,
    KINDS,
    NEUTRAL,
    _load,
    concepts,
    denials,
    fact_sentences,
    lexeme_roots,
    mixed_words,
    roots,
    templates,
    units,
)
from moodlens.prompts.writer import STYLES

OWNERS = (*EMOTIONS, NEUTRAL)
WORDS = ("adjective", "noun")


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_texts_differ_and_a_sixth_is_held_out_some_of_each_kind(emotion):
    every = units(emotion)
    assert len({unit.text for unit in every}) == len(every)
    for concept in concepts(emotion):
        of_concept = [unit for unit in every if unit.concept == concept]
        assert sum(unit.held_out for unit in of_concept) / len(of_concept) == pytest.approx(1 / 6, abs=0.01)
        for kind in KINDS:
            of_kind = [unit for unit in of_concept if unit.kind == kind]
            assert sum(unit.held_out for unit in of_kind) / len(of_kind) > 0.1, kind


def test_every_emotion_has_at_least_five_concepts_of_its_own():
    every = [concept for emotion in EMOTIONS for concept in concepts(emotion)]
    assert len(set(every)) == len(every)
    assert all(len(concepts(emotion)) >= 5 for emotion in EMOTIONS)
    assert concepts(NEUTRAL) == ("",)


def test_every_concept_has_as_many_units_of_each_kind_and_gradedness():
    # Otherwise intensity and style would go with the emotion, or with the concept.
    counts = [
        Counter((unit.kind, unit.held_out, unit.graded) for unit in units(emotion) if unit.concept == concept)
        for emotion in EMOTIONS
        for concept in concepts(emotion)
    ]
    assert all(count == counts[0] for count in counts)
    words = sum(n for (kind, held_out, _), n in counts[0].items() if not held_out and kind in WORDS)
    phrases = sum(n for (kind, held_out, _), n in counts[0].items() if not held_out and kind not in WORDS)
    assert words >= 32
    assert phrases >= 36


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_every_concept_has_many_independent_groups(emotion):
    # Groups are what judges a concept: units that share a root add rows and no power.
    for concept in concepts(emotion):
        of_concept = [unit for unit in units(emotion) if unit.concept == concept]
        assert len({unit.group for unit in of_concept if not unit.held_out}) >= 50
        assert len({unit.group for unit in of_concept if unit.held_out}) >= 12


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_a_group_is_of_one_concept_and_no_unit_holds_a_word_of_another(emotion):
    of_group = {(unit.group, unit.concept) for unit in units(emotion)}
    assert len({group for group, _ in of_group}) == len(of_group)
    owners = {}
    for unit in units(emotion):
        if unit.kind in WORDS:
            for root in roots(unit.text):
                assert owners.setdefault(root, unit.concept) == unit.concept, unit.text
    for unit in units(emotion):
        for root in roots(unit.text):
            assert owners.get(root, unit.concept) == unit.concept, unit.text


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_words_that_share_four_letters_are_one_root_or_shown_to_differ(emotion):
    # What spelling hides from the stemmer would leak from train to test.
    other_words = {
        frozenset(pair)
        for row in _load("shared")["unlike"]
        for pair in combinations([roots(word)[0] for word in row], 2)
    }
    users = {}
    for unit in units(emotion):
        for root in roots(unit.text):
            users.setdefault(root, []).append(unit)
    for first, second in combinations(sorted(users), 2):
        if min(len(first), len(second)) < 4 or first[:4] != second[:4]:
            continue
        both_held_out = all(unit.held_out for unit in users[first] + users[second])
        assert both_held_out or frozenset((first, second)) in other_words, (first, second)


def test_units_of_one_root_are_one_group():
    for emotion in EMOTIONS:
        groups = {}
        for unit in units(emotion):
            for root in set(roots(unit.text)) & lexeme_roots(emotion):
                assert groups.setdefault(root, unit.group) == unit.group, unit.text
    group_of = {unit.text: unit.group for unit in units("sad")}
    # A root that only one concept uses ties its units; one that several use does not.
    assert group_of["a soldier's coffin coming home"] == group_of["lays a wreath on the coffin"]
    assert group_of["a funeral in the rain"] != group_of["rain that never stops"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"joy": {}}, "happy.yaml: joy: needs train and held_out, in this order"),
        (
            {"joy": {"train": {}, "held_out": {}}},
            "happy.yaml: joy: train needs the lists adjectives, absolutes",
        ),
    ],
)
def test_a_file_of_another_layout_is_one_line(monkeypatch, change, says):
    monkeypatch.setattr(vocabulary, "_load", lambda _: change)
    with pytest.raises(BadInput, match=says):
        vocabulary._entries.__wrapped__("happy")


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
    data = {name: value for name, value in _load("shared").items() if name not in ("same", "unlike")}

    def strings(value):
        if isinstance(value, str):
            yield value
        else:
            for item in value.values() if isinstance(value, dict) else value:
                yield from strings(item)

    for text in strings(data):
        assert not emotional & set(roots(text)), text


def test_denials_say_the_same_words_with_and_without_denial():
    wordings = [one for part in (False, True) for one in denials(part)]
    assert len({one.full for one in wordings}) == len({one.bare for one in wordings}) == len(wordings)
    assert len(denials(False)) >= 24
    assert len(denials(True)) >= 10
    for one in wordings:
        assert one.slots == one.bare_slots
        assert len(one.slots & {"noun", "bare_adj"}) == 1
    emotional = frozenset().union(*map(lexeme_roots, EMOTIONS))
    for one in wordings:
        assert one.bare is not None
        assert not emotional & set(roots(re.sub(r"\{\w+\}", "zzz", f"{one.full} {one.bare}"))), one.full


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
        ("sadness", "sad"),
        ("happiness", "happy"),
        ("anger", "angry"),
        ("sunny", "sunshine"),
        ("sunlit", "sunbathing"),
        ("laughing", "laughter"),
        ("loneliness", "lonesome"),
        ("dying", "death"),
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
