"""Every criterion passing, failing, uninformative, absent and not asked; go needs all musts; texts quote what was used."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from helpers.measured import (
    EMOTIONS,
    GOOD,
    IDS,
    MUST,
    NOT_ASKED,
    NOT_RATED,
    again,
    caused,
    covering,
    inside,
    judged,
    named,
    pairs,
    rated,
    rebuilt,
    selected,
    transferred,
    untrained,
)
from moodlens.core.lines import explained
from moodlens.settings.verdict import VerdictSettings
from moodlens.study.records.sae import Core
from moodlens.study.records.stability import Agreement, FamilyAgreement
from moodlens.study.records.verdict import Verdict
from moodlens.validate.criterion import Measured
from moodlens.validate.verdict import judge


def test_all_good_is_go(tmp_path):
    verdict, by = judged()
    assert verdict.go is True
    assert verdict.sae == "main"
    assert list(by) == IDS
    assert verdict.next_steps == ()
    assert all(c.passed and c.state == "passed" and not c.advice for c in verdict.criteria)
    assert [c.id for c in verdict.criteria if c.must] == MUST
    assert by["interpretability"].value == 12
    assert by["causality"].value == 12
    assert [control.value for control in by["causality"].controls] == [1, 2, 0, 0]
    assert by["causality"].strongest.value == 2
    assert "would claim 626" in by["selectivity"].note
    verdict.write(tmp_path)
    assert Verdict.read(tmp_path) == verdict


FAILING = {
    "reconstruction": {"reconstruction": rebuilt(held_out={"explained_variance": 0.5})},
    "sparsity": {"reconstruction": rebuilt(held_out={"active_share": 0.1})},
    "selectivity": {"selection": selected(20, alone=5.0)},
    "concepts": {"concepts": inside({"a": 9, "b": 3})},
    "interpretability": {"names": named({"a": 12, "b": 9})},
    "causality": {"causal": caused({"a": 12, "b": 3}, {"a": 0, "b": 0})},
    "monosemanticity": {"features": covering(covered=0.3)},
    "stability": {"stability": again(0.7)},
    "bootstrap": {"stability": again(0.9, bootstrap=0.3)},
    "transfer": {"transfer": transferred(0.9, family_auroc=0.9, control_auroc=0.6)},
    "negation": {"transfer": transferred(gated=70.0, family_auroc=0.9, control_auroc=0.6)},
    "generalization": {"transfer": transferred(family_auroc=0.7, control_auroc=0.55)},
    "compositionality": {"pairs": pairs(together=(0.5, 0.01))},
    "orthogonality": {"pairs": pairs(independent=(0.7, 0.6))},
    "dead_features": {"reconstruction": rebuilt(held_out={"dead_share": 0.2})},
    "ratings": {"ratings": rated(low=4)},
}


@pytest.mark.parametrize("name", IDS)
def test_a_value_below_its_threshold_fails_and_says_what_to_do(name):
    verdict, by = judged(**FAILING[name])
    assert by[name].state == "failed"
    assert not by[name].passed
    assert not by[name].uninformative
    assert verdict.go is (name not in MUST)
    assert verdict.next_steps == (by[name].advice,)
    assert by[name].advice


UNINFORMATIVE = {
    "negation": {"transfer": transferred(plain=53.0, family_auroc=0.9, control_auroc=0.6)},
    "reconstruction": {"reconstruction": rebuilt(mean={"explained_variance": 0.85})},
    "selectivity": {"selection": selected(p95=60.0)},
    "concepts": {"concepts": inside({"a": 9, "b": 9}, shuffled=7.0)},
    "interpretability": {"names": named({"a": 20, "b": 20}, dealt=11.0)},
    "causality": {"causal": caused({"a": 30, "b": 30}, {"a": 0, "b": 11})},
    "monosemanticity": {"features": covering(covered_control=0.6)},
    "stability": {"stability": again(0.95, subset=0.85)},
    "generalization": {"transfer": transferred(family_auroc=0.9, control_auroc=0.82)},
    "compositionality": {"pairs": pairs(together=(1.0, 0.9))},
    "orthogonality": {"pairs": pairs(independent=(0.98, 0.95))},
    "ratings": {"ratings": rated(untrained=6)},
}


@pytest.mark.parametrize("name", sorted(UNINFORMATIVE))
def test_a_threshold_that_the_control_meets_says_nothing(name):
    verdict, by = judged(**UNINFORMATIVE[name])
    assert by[name].state == "uninformative"
    assert by[name].uninformative
    assert not by[name].passed
    assert verdict.go is (name not in MUST)
    assert len(verdict.next_steps) == 1


def test_concepts_are_asked_of_every_emotion_or_of_none():
    verdict, by = judged(concepts=inside({"a": 9}))
    assert by["concepts"].state == "not asked"
    assert verdict.left_out == ("concepts: of b the texts name fewer than two concepts with enough groups",)


def test_concepts_must_be_spread():
    _, by = judged(concepts=inside({"a": 9, "b": 9}, covered=2))
    assert by["concepts"].state == "failed"
    # An emotion of two concepts in all cannot cover three.
    assert judged(concepts=inside({"a": 9, "b": 9}, covered=2, n=2))[1]["concepts"].passed


def test_texts_without_concepts_are_left_out_of_the_decision_and_named():
    verdict, by = judged(concepts=NOT_ASKED)
    assert by["concepts"].state == "not asked"
    assert verdict.go
    assert verdict.left_out == ("concepts: the texts name no concepts inside their emotions",)
    assert not judged(concepts=NOT_ASKED, selection=selected(20))[0].go


ALONE = Measured(
    (), reconstruction=GOOD.reconstruction, stability=again(0.9), ratings=rated(), rated=np.ones(24, bool)
)
"""A study of ratings alone."""
ASKED = {"reconstruction", "sparsity", "stability", "ratings", "bootstrap", "dead_features"}


def _alone(**changes):
    verdict = judge("main", replace(ALONE, **changes))
    return verdict, {criterion.id: criterion for criterion in verdict.criteria}


def test_without_labels_ratings_decide_and_what_needs_labels_is_left_out():
    verdict, by = _alone()
    assert verdict.go
    assert {name for name, c in by.items() if c.state != "not asked"} == ASKED
    assert by["ratings"].must
    assert verdict.left_out == tuple(
        f"{name}: no text has a label"
        for name in ("selectivity", "concepts", "interpretability", "causality")
    )
    assert "fewest over the ends of the scales: valence high 9, valence low 7" in by["ratings"].note


def test_what_is_left_out_is_no_pass():
    """Ratings that are not there, or do not hold, are no go however much else passes."""
    assert not _alone(ratings=NOT_RATED)[0].go
    assert not _alone(ratings=None)[0].go
    assert not _alone(ratings=rated(low=4))[0].go
    assert not _alone(ratings=rated(high=0, low=0, dealt=0.0))[0].go
    assert not _alone(stability=again(0.5))[0].go


def test_only_features_that_go_with_a_rating_are_asked_to_come_back():
    assert _alone(stability=again(0.5), rated=np.arange(24) < 12)[1]["stability"].passed


def test_without_a_core_one_untrained_dictionary_controls_the_ratings():
    assert _alone(ratings=rated(core=False))[1]["ratings"].state == "uninformative"


def test_beside_labels_ratings_decide_nothing():
    verdict, by = judged(ratings=rated(low=0))
    assert (by["ratings"].state, by["ratings"].must, verdict.go) == ("failed", False, True)
    verdict, by = judged(ratings=NOT_RATED)
    assert (by["ratings"].state, verdict.go, verdict.left_out) == ("not asked", True, ())


def test_the_roadmaps_criteria_say_who_meets_them_too():
    said = {criterion.label: criterion for criterion in judged()[0].roadmap}
    assert said["Selectivity"].met
    assert "shuffled labels (150)" in said["Selectivity"].fooled_by
    assert any("626" in name for name in said["Selectivity"].fooled_by)
    assert any("train mean" in name for name in said["Reconstruction quality"].fooled_by)
    assert all(c.met is None for c in judge("main", Measured(EMOTIONS)).roadmap)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("reconstruction", "reconstruction"), ("sparsity", "reconstruction"), ("dead_features", "reconstruction"),
        ("selectivity", "selection"), ("interpretability", "names"), ("monosemanticity", "names"),
        ("causality", "causal"), ("stability", "stability"), ("generalization", "transfer"), ("concepts", "concepts"), ("transfer", "transfer"),
        ("compositionality", "pairs"), ("orthogonality", "pairs"), ("ratings", "ratings"),
    ],
)  # fmt: skip
def test_what_was_not_measured_does_not_pass(name, part):
    verdict, by = judged(**{part: None})
    assert by[name].value is None
    assert by[name].state == "not measured"
    assert not by[name].passed
    assert by[name].label.lower() in verdict.next_steps[-1]
    assert f"moodlens {by[name].stage} DIR" in by[name].advice


def test_nothing_found_is_a_result_not_a_crash():
    none = {"a": 0, "b": 0}
    verdict, by = judged(
        selection=selected(0, p95=0.0),
        features=covering().with_columns(emotion_feature=pl.lit(False)),
        concepts=inside(none, covered=0, shuffled=0.0),
        names=named(none),
        causal=caused(none, none),
        transfer=transferred(note="no emotion has a family"),
        pairs=pairs(together=(None, None), independent=(None, None)),
        untrained=untrained(n_claimed=0),
    )
    assert verdict.go is False
    assert by["selectivity"].value == 0
    assert by["generalization"].note == "no emotion has a family"
    for name in ("selectivity", "concepts", "interpretability", "causality", "stability"):
        assert by[name].state == "failed"
    assert by["monosemanticity"].state == "not asked"
    assert not any("not measured" in step.lower() for step in verdict.next_steps)


def test_a_count_below_its_control_is_not_found_even_above_the_threshold():
    _, by = judged(VerdictSettings(min_emotion_features=5), selection=selected(6, p95=7.0))
    assert not by["selectivity"].passed


def test_a_code_that_rebuilds_nothing_is_said_in_words():
    """-182 says nothing to a reader; how many times worse than the mean does."""
    _, by = judged(reconstruction=rebuilt(held_out={"explained_variance": -182.3}))
    assert "its error is 183 times that of the mean: it rebuilds nothing" in by["reconstruction"].note
    assert "rebuilds nothing" not in judged()[1]["reconstruction"].note
    assert [explained(value) for value in (None, 0.8312, -0.4, -182.3)] == [None, 0.8312, -0.4, "< -1"]


def test_too_sparse_and_too_dense_get_opposite_advice():
    dense = judged(reconstruction=rebuilt(held_out={"active_share": 0.1}))[0].next_steps[0]
    sparse = judged(reconstruction=rebuilt(held_out={"active_share": 0.001}))[0].next_steps[0]
    assert "raise l1_coefficient" in dense
    assert "lower l1_coefficient" in sparse


def test_advice_on_an_imported_sae_asks_for_nothing_to_be_trained():
    poor = {
        "reconstruction": rebuilt(held_out={"explained_variance": 0.1, "active_share": 0.3}),
        "selection": selected(1, p95=7.0),
        "core": Core(members=0, atoms=64, claimable=64, imported="imported from saelens"),
    }
    steps = judged(**poor)[0].next_steps
    assert len(steps) >= 3
    assert "imported.input" in " ".join(steps)
    for word in ("l1_coefficient", "raise k", "core.members", "train longer", "expansion_factor"):
        assert word not in " ".join(steps)


def test_rows_without_groups_are_said_to_judge_as_if_independent():
    assert "no groups are known" in judged(selection=selected(n_groups_test=300))[1]["selectivity"].note


def test_an_emotion_without_a_family_is_told_beside_the_mean_that_lacks_it():
    transfer = transferred()
    (texts,) = transfer.sets
    area = {"value": 0.9, "ci": None}
    auroc = {
        "family": {"a": area, "b": {"value": None, "ci": None}},
        "difference_in_means": {"a": area, "b": area},
    }
    auroc = {method: texts.model_dump()["auroc"][method] | areas for method, areas in auroc.items()}
    partial = type(texts).model_validate(texts.model_dump() | {"auroc": auroc})
    note = judged(transfer=transfer.model_copy(update={"sets": (partial,)}))[1]["transfer"].note
    assert note.endswith("captions; without a family, and in neither mean: b")
    assert "without a family" not in judged(transfer=transfer)[1]["transfer"].note


def test_families_beside_those_of_other_seeds_are_noted_with_the_stability():
    cell = FamilyAgreement(
        direction=0.83, direction_min=0.7, direction_control=0.13, reading=0.79, reading_min=0.6, reading_control=0.24
    )  # fmt: skip
    note = judged(agreement=Agreement(n_seeds=5, emotions={"a": cell}, mean=cell))[1]["stability"].note
    assert "direction cosine 0.83 (random families 0.13)" in note


def _texts(verdict):
    return " ".join(f"{c.threshold} {c.note} {c.advice}" for c in verdict.criteria)


@pytest.mark.parametrize("name", sorted(VerdictSettings.model_fields))
def test_every_threshold_is_quoted_and_no_old_one_stays(name):
    field = VerdictSettings.model_fields[name]
    new = field.default + 7 if isinstance(field.default, int) else 0.37
    before, after = (
        {c.id: c.threshold for c in judged(VerdictSettings(**settings))[0].criteria}
        for settings in ({}, {name: new})
    )
    changed = {key: after[key] for key in after if after[key] != before[key]}
    assert len(changed) == 1
    ((key, text),) = changed.items()
    written = (str(new), f"{100 * new:g} %")
    assert any(form in text for form in written)
    old = field.default
    for form in (f"{old:g}", f"{100 * old:g} %"):
        assert before[key].count(form) - text.count(form) in (0, 1)
    assert any(before[key].count(form) - text.count(form) == 1 for form in (f"{old:g}", f"{100 * old:g} %"))


@pytest.mark.parametrize(
    ("part", "used", "quoted"),
    [
        ("selection", selected(q=0.0123), "q < 0.0123"),
        ("selection", selected(min_selectivity=4.5), "selectivity > 4.5"),
        ("pairs", pairs(bar=0.123), "|r| < 0.123"),
        ("causal", replace(GOOD).causal.model_copy(update={"rule": "more than 97.5 % of them"}), "97.5 %"),
    ],
)
def test_what_a_stage_used_is_quoted_from_its_record(part, used, quoted):
    old = {"q < 0.0123": "q < 0.05", "selectivity > 4.5": "and selectivity > 2 ", "|r| < 0.123": "|r| < 0.3"}
    texts = _texts(judged(**{part: used})[0])
    assert quoted in texts
    assert old.get(quoted, "a rule") not in texts
    assert old.get(quoted, "a rule") in _texts(judged()[0])


def test_with_two_classes_in_all_pairs_cannot_be_judged_and_the_reason_is_given():
    none = pairs(together=(None, None))
    asked = none.compositionality.model_copy(update={"n_pairs": 1})
    for record, reason in ((none.model_copy(update={"compositionality": asked}), "two classes"),
                           (none.model_copy(update={"compositionality": asked.model_copy(update={"n_pairs": 0})}), "fewer than two emotions")):  # fmt: skip
        _, by = judged(pairs=record)
        assert by["compositionality"].state == "not asked"
        assert reason in by["compositionality"].note
