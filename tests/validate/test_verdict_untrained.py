"""What dictionaries that learned nothing reach too says nothing, whichever criterion it is."""

import pytest

from helpers.measured import MUST, judged, untrained
from moodlens.study.records.untrained import Untrained

UNTRAINED = {
    "selectivity": {"n_claimed": 60},
    "concepts": {"concepts_per_emotion": {"a": 6, "b": 6}},
    "interpretability": {"interpretable_per_emotion": {"a": 10, "b": 10}},
    "causality": {"causal_per_emotion": {"a": 10, "b": 10}},
    "stability": {"stable_share": 0.85, "n_claimed": 24},
}


@pytest.mark.parametrize("name", sorted(UNTRAINED))
def test_what_untrained_dictionaries_reach_too_says_nothing(name):
    verdict, by = judged(untrained=untrained(**UNTRAINED[name]))
    assert [key for key, criterion in by.items() if criterion.state == "uninformative"] == [name]
    assert verdict.go is (name not in MUST)


def test_one_claim_that_comes_back_is_no_stable_dictionary():
    verdict, by = judged(untrained=untrained(stable_share=1.0, n_claimed=1))
    assert by["stability"].passed
    assert verdict.go
    shown = {control.name: control.value for control in by["stability"].controls}
    assert shown["untrained rows dictionaries"] == pytest.approx(1 / 24)


def test_without_a_core_one_untrained_dictionary_is_the_control():
    alone = untrained().model_copy(update={"consensus": {}})
    verdict, by = judged(untrained=alone)
    assert by["selectivity"].state == "uninformative"
    assert not verdict.go


def test_families_of_one_untrained_dictionary_are_a_control_of_generalization():
    known = untrained()
    reads = known.alone["untrained-rows"].model_copy(update={"held_out_auroc": 0.85})
    _, by = judged(untrained=known.model_copy(update={"alone": {"untrained-rows": reads}}))
    assert by["generalization"].state == "uninformative"


def test_what_one_untrained_dictionary_gives_stands_in_the_note():
    known = untrained()
    found = known.alone["untrained-rows"].model_copy(update={"causal_per_emotion": {"a": 8, "b": 11}})
    _, by = judged(untrained=known.model_copy(update={"alone": {"untrained-rows": found}}))
    assert by["causality"].passed
    assert "one untrained dictionary, chosen alike without a consensus: a 8, b 11" in by["causality"].note


def test_without_a_core_its_names_concepts_and_causes_are_the_controls():
    found = untrained().alone["untrained-rows"].model_copy(
        update={
            "n_claimed": 10, "concepts_per_emotion": {"a": 7, "b": 7}, "interpretable_per_emotion": {"a": 11, "b": 2},
            "causal_per_emotion": {"a": 10, "b": 1},
        }
    )  # fmt: skip
    _, by = judged(untrained=Untrained(consensus={}, alone={"untrained-rows": found}))
    for name in ("concepts", "interpretability", "causality"):
        assert by[name].state == "uninformative", name


@pytest.mark.parametrize("first", [True, False])
def test_without_a_core_the_kind_that_gives_more_is_the_control(first):
    few = untrained().alone["untrained-rows"].model_copy(
        update={"n_claimed": 10, "interpretable_per_emotion": {"a": 1, "b": 2}}
    )  # fmt: skip
    more = few.model_copy(update={"n_claimed": 60, "interpretable_per_emotion": {"a": 1, "b": 11}})
    kinds = ("untrained-rows", "untrained-random")
    alone = dict(zip(kinds, (more, few) if first else (few, more), strict=True))
    _, by = judged(untrained=Untrained(consensus={}, alone=alone))
    assert by["selectivity"].state == by["interpretability"].state == "uninformative"
    assert by["interpretability"].strongest.value == 11  # the most of any emotion
    _, by = judged(untrained=Untrained(consensus={}, alone=dict.fromkeys(kinds, few)))
    assert by["selectivity"].passed
    assert by["interpretability"].passed


def test_beside_a_core_one_dictionary_is_a_warning_and_decides_nothing():
    rich = untrained().alone["untrained-rows"].model_copy(
        update={
            "n_claimed": 500, "concepts_per_emotion": {"a": 50, "b": 50}, "interpretable_per_emotion": {"a": 50, "b": 50},
            "causal_per_emotion": {"a": 50, "b": 50},
        }
    )  # fmt: skip
    verdict, by = judged(untrained=untrained().model_copy(update={"alone": {"untrained-rows": rich}}))
    assert verdict.go
    for name in ("concepts", "interpretability", "causality"):
        assert "chosen alike without a consensus: a 50, b 50" in by[name].note
