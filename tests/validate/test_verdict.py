"""Every criterion passing, failing, uninformative, absent and not asked; go needs all musts; texts quote what was used."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from helpers.report_study import names_record
from moodlens.settings.verdict import VerdictSettings
from moodlens.study.records.causal import Causal
from moodlens.study.records.concepts import ConceptCount, Concepts, EmotionConcepts
from moodlens.study.records.pairs import Compositionality, Orthogonality, Pairs
from moodlens.study.records.sae import Reconstruction
from moodlens.study.records.selection import Selection, Shuffled, ThresholdOnly
from moodlens.study.records.stability import Agreement, FamilyAgreement, Stability
from moodlens.study.records.transfer import HeldOut, SpecialRows, Transfer, TransferSet
from moodlens.study.records.untrained import Claims, Untrained
from moodlens.study.records.verdict import Verdict
from moodlens.validate.criteria import CRITERIA
from moodlens.validate.criterion import Measured
from moodlens.validate.stability import Reappearance
from moodlens.validate.verdict import judge

EMOTIONS = ("a", "b")
MUST = [criterion.id for criterion in CRITERIA if criterion.must]
IDS = [criterion.id for criterion in CRITERIA]


def _features(n=12, covered=0.8, covered_control=0.1):
    size = 2 * n
    return pl.DataFrame(
        {
            "emotion": ["a", "b"] * n,
            "emotion_feature": [True] * size,
            "monosemanticity": [covered] * size,
            "monosemanticity_control": [covered_control] * size,
        }
    )


def _rebuilt(**changes):
    metrics = {
        "mse": 0.001, "explained_variance": 0.9, "l0": 12, "active_share": 0.02, "dead_share": 0.01, "dense_share": 0.0,
        "mean_norm_ratio": 0.9, "d_sae": 600,
    } | changes.pop("held_out", {})  # fmt: skip
    mean = {"mse": 0.0005, "explained_variance": 0.0} | changes.pop("mean", {})
    return Reconstruction.model_validate(
        {
            "held_out": metrics,
            "train": {name: value for name, value in metrics.items() if name != "d_sae"},
            "baselines": {
                "mean": mean,
                "pca": {"mse": 0.0002, "explained_variance": 0.6, "n_components": 12},
            },
            "rows": {"train": 100, "val": 10, "test": 60},
        }
    )


def _selected(n=80, p95=1.0, alone=150.0, **changes):
    values = {
        "n_features": 600, "core_size": 90, "n_alive": 600, "n_tested": 100, "n_emotion_features": n, "per_emotion": {"a": n, "b": 0},
        "n_family_wise": 10, "n_rows_test": 300, "n_groups_test": 100, "n_permutations": 1000, "q": 0.05,
        "min_selectivity": 2.0,
    }  # fmt: skip
    shuffled = Shuffled(n_shuffles=20, n_tested_mean=50, counts=(0, 1), mean=0.1, p95=p95)
    only = ThresholdOnly(count=200, shuffled_mean=alone, shuffled_p95=160, min_selectivity=2.0, min_firings=5)
    return Selection(**values | changes, shuffled=shuffled, threshold_only=only)


def _named(per, dealt=0.0):
    record = names_record(EMOTIONS)
    each = dict.fromkeys(EMOTIONS, dealt)
    return record.model_copy(
        update={
            "per_emotion": per,
            "dealt_judged": record.dealt_judged.model_copy(update={"per_emotion_p95": each}),
        }
    )


def _inside(per, *, covered=4, shuffled=1.0, n=5):
    count = ConceptCount(n_features=1, n_groups_test=9, best_auroc=0.8, difference_in_means=0.7)
    return Concepts(
        asked=True, n_concept_features=sum(per.values()), shuffled_p95=2.0, rule="a rule", emotions={
            emotion: EmotionConcepts(
                n_judged=20, n_features=found, n_covered=covered, shuffled_mean=0.1, shuffled_p95=shuffled,
                concepts={f"concept {i}": count for i in range(n)}, left_out=(),
            )
            for emotion, found in per.items()
        },
    )  # fmt: skip


NOT_ASKED = Concepts(asked=False, n_concept_features=0, shuffled_p95=0.0, emotions={}, rule="a rule")


def _untrained(**changes):
    none = dict.fromkeys(EMOTIONS, 0)
    values = {
        "n_features": 20, "active_share": 0.02, "n_claimed": 1, "per_emotion": none, "held_out_auroc": 0.55,
        "concepts_per_emotion": none, "interpretable_per_emotion": none, "causal_per_emotion": none, "stable_share": 0.0,
    }  # fmt: skip
    alone = Claims(n_features=600, active_share=0.02, n_claimed=626, per_emotion=none, held_out_auroc=0.6)
    kinds = ("untrained-rows", "untrained-random")
    return Untrained(
        consensus={kind: Claims(**values | (changes if kind == kinds[0] else {})) for kind in kinds},
        alone=dict.fromkeys(kinds, alone),
    )


def _caused(per, chance, untrained=None):
    return Causal(
        per_emotion=per, control_per_emotion=chance, untrained_per_emotion=untrained, control_name="controls",
        rule="a rule", n_tested=per, n_controls=200, n_untrained=200, n_random_directions=200, n_rows=100, n_groups=20, readouts="held-out",
    )  # fmt: skip


def _again(share, null=0.0, *, subset=None, bootstrap=None, size=24):
    """``share`` of the features reappear in every seed, ``null`` of the random directions."""
    seeds, other = (
        np.where(np.arange(size) < part * size, 1.0, 0.0)
        for part in (share, share if bootstrap is None else bootstrap)
    )
    table = pl.DataFrame(
        {
            "feature": range(size), "reappears": seeds, "reappears_bootstrap": other, "correlation": seeds,
            "alive": [True] * size,
        }
    )  # fmt: skip
    return Reappearance(
        table,
        Stability(
            n_seeds=5,
            reappearance=0.7,
            null_cosine_p95=0.5,
            null_seeds=(round(100 - 100 * null), 0, 0, 0, 0, round(100 * null)),
            subset_share=subset,
        ),
    )


def _read(family=0.95, dense=0.95, gated=51.0, plain=80.0, **held_out):
    def mean(value):
        return {"mean": {"value": value, "ci": None}}

    texts = TransferSet(
        name="captions", n=90, n_texts=90, n_groups=9, n_per_emotion={"a": 45, "b": 45}, readings={},
        auroc={"family": mean(family), "difference_in_means": mean(dense)},
    )  # fmt: skip
    denied = SpecialRows(
        kind="negation", emotion="a", split="held_out", n=9, n_groups=3, score=0.1, percentile_own=40.0,
        percentile_others=plain, plain_own=1.0, plain_others=0.0, gated_others=gated,
    )  # fmt: skip
    return Transfer(
        held_out=HeldOut(n=100, n_groups=20, auroc={}, **{"note": ""} | held_out),
        special=(denied,),
        sets=(texts,),
    )


def _pairs(together=(1.0, 0.01), independent=(0.95, 0.85), bar=0.3):
    return Pairs(
        compositionality=Compositionality(
            share=together[0],
            control_share=together[1],
            control_rise_share=0.1,
            n_moved=1,
            n_pairs=1,
            pairs=(),
        ),
        orthogonality=Orthogonality(
            max_correlation=bar, n_features=10, n_pairs=45, share=independent[0], control_share=independent[1]
        ),
    )


GOOD = Measured(
    EMOTIONS,
    reconstruction=_rebuilt(),
    selection=_selected(),
    features=_features(),
    concepts=_inside({"a": 9, "b": 7}),
    names=_named({"a": 12, "b": 14}),
    causal=_caused({"a": 12, "b": 15}, {"a": 0, "b": 1}, {"a": 2, "b": 0}),
    stability=_again(0.9),
    transfer=_read(family_auroc=0.9, control_auroc=0.6, ci=(0.85, 0.95)),
    pairs=_pairs(),
    untrained=_untrained(),
)


def _judge(settings=None, **changes):
    verdict = judge("main", replace(GOOD, **changes), settings)
    return verdict, {criterion.id: criterion for criterion in verdict.criteria}


def test_all_good_is_go(tmp_path):
    verdict, by = _judge()
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
    "reconstruction": {"reconstruction": _rebuilt(held_out={"explained_variance": 0.5})},
    "sparsity": {"reconstruction": _rebuilt(held_out={"active_share": 0.1})},
    "selectivity": {"selection": _selected(20, alone=5.0)},
    "concepts": {"concepts": _inside({"a": 9, "b": 3})},
    "interpretability": {"names": _named({"a": 12, "b": 9})},
    "causality": {"causal": _caused({"a": 12, "b": 3}, {"a": 0, "b": 0})},
    "monosemanticity": {"features": _features(covered=0.3)},
    "stability": {"stability": _again(0.7)},
    "bootstrap": {"stability": _again(0.9, bootstrap=0.3)},
    "transfer": {"transfer": _read(0.9, family_auroc=0.9, control_auroc=0.6)},
    "negation": {"transfer": _read(gated=70.0, family_auroc=0.9, control_auroc=0.6)},
    "generalization": {"transfer": _read(family_auroc=0.7, control_auroc=0.55)},
    "compositionality": {"pairs": _pairs(together=(0.5, 0.01))},
    "orthogonality": {"pairs": _pairs(independent=(0.7, 0.6))},
    "dead_features": {"reconstruction": _rebuilt(held_out={"dead_share": 0.2})},
}


@pytest.mark.parametrize("name", IDS)
def test_a_value_below_its_threshold_fails_and_says_what_to_do(name):
    verdict, by = _judge(**FAILING[name])
    assert by[name].state == "failed"
    assert not by[name].passed
    assert not by[name].uninformative
    assert verdict.go is (name not in MUST)
    assert verdict.next_steps == (by[name].advice,)
    assert by[name].advice


UNINFORMATIVE = {
    "negation": {"transfer": _read(plain=53.0, family_auroc=0.9, control_auroc=0.6)},
    "reconstruction": {"reconstruction": _rebuilt(mean={"explained_variance": 0.85})},
    "selectivity": {"selection": _selected(p95=60.0)},
    "concepts": {"concepts": _inside({"a": 9, "b": 9}, shuffled=7.0)},
    "interpretability": {"names": _named({"a": 20, "b": 20}, dealt=11.0)},
    "causality": {"causal": _caused({"a": 30, "b": 30}, {"a": 0, "b": 11})},
    "monosemanticity": {"features": _features(covered_control=0.6)},
    "stability": {"stability": _again(0.95, subset=0.85)},
    "generalization": {"transfer": _read(family_auroc=0.9, control_auroc=0.82)},
    "compositionality": {"pairs": _pairs(together=(1.0, 0.9))},
    "orthogonality": {"pairs": _pairs(independent=(0.98, 0.95))},
}


@pytest.mark.parametrize("name", sorted(UNINFORMATIVE))
def test_a_threshold_that_the_control_meets_says_nothing(name):
    verdict, by = _judge(**UNINFORMATIVE[name])
    assert by[name].state == "uninformative"
    assert by[name].uninformative
    assert not by[name].passed
    assert verdict.go is (name not in MUST)
    assert len(verdict.next_steps) == 1


UNTRAINED = {
    "selectivity": {"n_claimed": 60},
    "concepts": {"concepts_per_emotion": {"a": 6, "b": 6}},
    "interpretability": {"interpretable_per_emotion": {"a": 10, "b": 10}},
    "causality": {"causal_per_emotion": {"a": 10, "b": 10}},
    "stability": {"stable_share": 0.85},
}


@pytest.mark.parametrize("name", sorted(UNTRAINED))
def test_what_untrained_dictionaries_reach_too_says_nothing(name):
    verdict, by = _judge(untrained=_untrained(**UNTRAINED[name]))
    assert [key for key, criterion in by.items() if criterion.state == "uninformative"] == [name]
    assert verdict.go is (name not in MUST)


def test_without_a_core_one_untrained_dictionary_is_the_control():
    alone = _untrained().model_copy(update={"consensus": {}})
    verdict, by = _judge(untrained=alone)
    assert by["selectivity"].state == "uninformative"
    assert not verdict.go


def test_families_of_one_untrained_dictionary_are_a_control_of_generalization():
    known = _untrained()
    reads = known.alone["untrained-rows"].model_copy(update={"held_out_auroc": 0.85})
    _, by = _judge(untrained=known.model_copy(update={"alone": {"untrained-rows": reads}}))
    assert by["generalization"].state == "uninformative"


def test_what_one_untrained_dictionary_gives_stands_in_the_note():
    known = _untrained()
    found = known.alone["untrained-rows"].model_copy(update={"causal_per_emotion": {"a": 8, "b": 11}})
    _, by = _judge(untrained=known.model_copy(update={"alone": {"untrained-rows": found}}))
    assert by["causality"].passed
    assert "one untrained dictionary, chosen alike without a consensus: a 8, b 11" in by["causality"].note


def test_without_a_core_its_names_concepts_and_causes_are_the_controls():
    found = _untrained().alone["untrained-rows"].model_copy(
        update={
            "n_claimed": 10, "concepts_per_emotion": {"a": 7, "b": 7}, "interpretable_per_emotion": {"a": 11, "b": 2},
            "causal_per_emotion": {"a": 10, "b": 1},
        }
    )  # fmt: skip
    _, by = _judge(untrained=Untrained(consensus={}, alone={"untrained-rows": found}))
    for name in ("concepts", "interpretability", "causality"):
        assert by[name].state == "uninformative", name


def test_concepts_are_asked_of_every_emotion_or_of_none():
    verdict, by = _judge(concepts=_inside({"a": 9}))
    assert by["concepts"].state == "not asked"
    assert verdict.left_out == ("concepts: of b the texts name fewer than two concepts with enough groups",)


def test_concepts_must_be_spread():
    _, by = _judge(concepts=_inside({"a": 9, "b": 9}, covered=2))
    assert by["concepts"].state == "failed"
    # An emotion of two concepts in all cannot cover three.
    assert _judge(concepts=_inside({"a": 9, "b": 9}, covered=2, n=2))[1]["concepts"].passed


def test_texts_without_concepts_are_left_out_of_the_decision_and_named():
    verdict, by = _judge(concepts=NOT_ASKED)
    assert by["concepts"].state == "not asked"
    assert verdict.go
    assert verdict.left_out == ("concepts: the texts name no concepts inside their emotions",)
    assert not _judge(concepts=NOT_ASKED, selection=_selected(20))[0].go


def test_the_roadmaps_criteria_say_who_meets_them_too():
    said = {criterion.label: criterion for criterion in _judge()[0].roadmap}
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
        ("compositionality", "pairs"), ("orthogonality", "pairs"),
    ],
)  # fmt: skip
def test_what_was_not_measured_does_not_pass(name, part):
    verdict, by = _judge(**{part: None})
    assert by[name].value is None
    assert by[name].state == "not measured"
    assert not by[name].passed
    assert by[name].label.lower() in verdict.next_steps[-1]
    assert f"moodlens {by[name].stage} DIR" in by[name].advice


def test_nothing_found_is_a_result_not_a_crash():
    none = {"a": 0, "b": 0}
    verdict, by = _judge(
        selection=_selected(0, p95=0.0),
        features=_features().with_columns(emotion_feature=pl.lit(False)),
        concepts=_inside(none, covered=0, shuffled=0.0),
        names=_named(none),
        causal=_caused(none, none),
        transfer=_read(note="no emotion has a family"),
        pairs=_pairs(together=(None, None), independent=(None, None)),
        untrained=_untrained(n_claimed=0),
    )
    assert verdict.go is False
    assert by["selectivity"].value == 0
    assert by["generalization"].note == "no emotion has a family"
    for name in ("selectivity", "concepts", "interpretability", "causality", "stability"):
        assert by[name].state == "failed"
    assert by["monosemanticity"].state == "not asked"
    assert not any("not measured" in step.lower() for step in verdict.next_steps)


def test_a_count_below_its_control_is_not_found_even_above_the_threshold():
    _, by = _judge(VerdictSettings(min_emotion_features=5), selection=_selected(6, p95=7.0))
    assert not by["selectivity"].passed


def test_too_sparse_and_too_dense_get_opposite_advice():
    dense = _judge(reconstruction=_rebuilt(held_out={"active_share": 0.1}))[0].next_steps[0]
    sparse = _judge(reconstruction=_rebuilt(held_out={"active_share": 0.001}))[0].next_steps[0]
    assert "raise l1_coefficient" in dense
    assert "lower l1_coefficient" in sparse


def test_rows_without_groups_are_said_to_judge_as_if_independent():
    assert "no groups are known" in _judge(selection=_selected(n_groups_test=300))[1]["selectivity"].note


def test_families_beside_those_of_other_seeds_are_noted_with_the_stability():
    cell = FamilyAgreement(
        direction=0.83, direction_min=0.7, direction_control=0.13, reading=0.79, reading_min=0.6, reading_control=0.24
    )  # fmt: skip
    note = _judge(agreement=Agreement(n_seeds=5, emotions={"a": cell}, mean=cell))[1]["stability"].note
    assert "direction cosine 0.83 (random families 0.13)" in note


def _texts(verdict):
    return " ".join(f"{c.threshold} {c.note} {c.advice}" for c in verdict.criteria)


@pytest.mark.parametrize("name", sorted(VerdictSettings.model_fields))
def test_every_threshold_is_quoted_and_no_old_one_stays(name):
    field = VerdictSettings.model_fields[name]
    new = field.default + 7 if isinstance(field.default, int) else 0.37
    before, after = (
        {c.id: c.threshold for c in _judge(VerdictSettings(**settings))[0].criteria}
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
        ("selection", _selected(q=0.0123), "q < 0.0123"),
        ("selection", _selected(min_selectivity=4.5), "selectivity > 4.5"),
        ("pairs", _pairs(bar=0.123), "|r| < 0.123"),
        ("causal", replace(GOOD).causal.model_copy(update={"rule": "more than 97.5 % of them"}), "97.5 %"),
    ],
)
def test_what_a_stage_used_is_quoted_from_its_record(part, used, quoted):
    old = {"q < 0.0123": "q < 0.05", "selectivity > 4.5": "and selectivity > 2 ", "|r| < 0.123": "|r| < 0.3"}
    texts = _texts(_judge(**{part: used})[0])
    assert quoted in texts
    assert old.get(quoted, "a rule") not in texts
    assert old.get(quoted, "a rule") in _texts(_judge()[0])
