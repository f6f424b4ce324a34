"""Every criterion passing, failing, uninformative and absent; go needs all five musts."""

import polars as pl
import pytest

from moodlens.settings.verdict import NOT_MEASURED
from moodlens.validate.verdict import LABELS, MUST, NICE, VerdictSettings, judge

EMOTIONS = ("a", "b")


def _features(n=12, score=0.9, control=0.5, covered=0.8, covered_control=0.1):
    size = 2 * n
    return pl.DataFrame(
        {
            "emotion": ["a", "b"] * n,
            "emotion_feature": [True] * size,
            "interpretable": [True] * size,
            "name_score": [score] * size,
            "name_control": [control] * size,
            "monosemanticity": [covered] * size,
            "monosemanticity_control": [covered_control] * size,
        }
    )


def _evidence(**changes):
    good = {
        "reconstruction": {"mse": 0.001, "explained_variance": 0.9, "l0": 12, "active_share": 0.02, "dead_share": 0.01},
        "baselines": {"mean": {"mse": 0.0005, "explained_variance": 0.0}, "pca": {"explained_variance": 0.6, "components": 12}},
        "selection": {
            "n_emotion_features": 80, "n_groups_test": 100, "per_emotion": {}, "shuffled": {"p95": 1.0, "mean": 0.1},
            "threshold_only": {"count": 200, "shuffled_mean": 150.0},
        },
        "features": _features(),
        "causality": {
            "per_emotion": {"a": 12, "b": 15}, "control_per_emotion": {"a": 0, "b": 1}, "control_name": "controls",
            "rule": "a rule",
        },
        "stability": {
            "stable_share": 0.9, "null_share": 0.0, "n_stable": 9, "n_emotion_features": 10, "n_seeds": 5,
            "alive_share": 0.4, "mcc": 0.6, "ci": [0.7, 1.0],
        },
        "generalization": {"family_auroc": 0.9, "control_auroc": 0.6, "ci": [0.85, 0.95], "note": ""},
        "compositionality": {"share": 1.0, "control_share": 0.01, "n_moved": 1, "n_pairs": 1},
        "orthogonality": {"share": 0.95, "control_share": 0.85},
    }  # fmt: skip
    return good | changes


def _judge(settings=None, **changes):
    verdict = judge("main", EMOTIONS, settings=settings, **_evidence(**changes))
    return verdict, {c["id"]: c for c in verdict["criteria"]}


def test_all_good_is_go():
    verdict, by = _judge()
    assert verdict["go"] is True
    assert verdict["sae"] == "main"
    assert set(by) == set(LABELS) == {*MUST, *NICE}
    assert all(c["passed"] and not c["uninformative"] and c["control"] for c in by.values())
    assert verdict["next_steps"] == []
    assert [c["id"] for c in verdict["criteria"] if c["must"]] == list(MUST)


FAILING = {
    "reconstruction": {"reconstruction": {"mse": 0.001, "explained_variance": 0.7, "l0": 12, "active_share": 0.02, "dead_share": 0.01}},
    "sparsity": {"reconstruction": {"mse": 0.001, "explained_variance": 0.9, "l0": 40, "active_share": 0.08, "dead_share": 0.01}},
    "selectivity": {"selection": {"n_emotion_features": 49, "shuffled": {"p95": 1.0}}},
    "interpretability": {"features": _features(n=9)},
    "causality": {"causality": {"per_emotion": {"a": 30, "b": 9}, "control_per_emotion": {}, "control_name": "c", "rule": "r"}},
    "monosemanticity": {"features": _features(covered=0.4)},
    "stability": {"stability": {"stable_share": 0.5, "null_share": 0.0, "n_stable": 5, "n_emotion_features": 10, "n_seeds": 5, "alive_share": 0.4, "mcc": 0.5}},
    "generalization": {"generalization": {"family_auroc": 0.7, "control_auroc": 0.6}},
    "compositionality": {"compositionality": {"share": 0.5, "control_share": 0.0, "n_moved": 3, "n_pairs": 6}},
    "orthogonality": {"orthogonality": {"share": 0.8, "control_share": 0.7}},
    "dead_features": {"reconstruction": {"mse": 0.001, "explained_variance": 0.9, "l0": 12, "active_share": 0.02, "dead_share": 0.2}},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(LABELS))
def test_a_criterion_below_its_threshold_fails_and_gets_advice(name):
    verdict, by = _judge(**FAILING[name])
    assert not by[name]["passed"]
    assert not by[name]["uninformative"]
    assert by[name]["value"] is not None
    assert verdict["go"] is (name in NICE)
    assert len(verdict["next_steps"]) == 1


UNINFORMATIVE = {
    "reconstruction": {"baselines": {"mean": {"mse": 0.0005, "explained_variance": 0.85}}},
    "selectivity": {"selection": {"n_emotion_features": 80, "shuffled": {"p95": 60.0}}},
    "interpretability": {"features": _features(control=0.95)},
    "causality": {"causality": {"per_emotion": {"a": 30, "b": 30}, "control_per_emotion": {"a": 0, "b": 11}, "control_name": "c", "rule": "r"}},
    "monosemanticity": {"features": _features(covered_control=0.6)},
    "stability": {"stability": {"stable_share": 0.9, "null_share": 0.85, "n_stable": 9, "n_emotion_features": 10, "n_seeds": 5, "alive_share": 0.4, "mcc": 0.5}},
    "generalization": {"generalization": {"family_auroc": 0.9, "control_auroc": 0.82}},
    "compositionality": {"compositionality": {"share": 1.0, "control_share": 0.9, "n_moved": 6, "n_pairs": 6}},
    "orthogonality": {"orthogonality": {"share": 0.98, "control_share": 0.95}},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(UNINFORMATIVE))
def test_a_threshold_that_the_control_meets_says_nothing(name):
    verdict, by = _judge(**UNINFORMATIVE[name])
    assert by[name]["uninformative"]
    assert not by[name]["passed"]
    assert verdict["go"] is (name in NICE)
    assert len(verdict["next_steps"]) == 1


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("reconstruction", "reconstruction"), ("sparsity", "reconstruction"), ("dead_features", "reconstruction"),
        ("selectivity", "selection"), ("interpretability", "features"), ("monosemanticity", "features"),
        ("causality", "causality"), ("stability", "stability"), ("generalization", "generalization"),
        ("compositionality", "compositionality"), ("orthogonality", "orthogonality"),
    ],
)  # fmt: skip
def test_what_was_not_measured_does_not_pass(name, part):
    verdict, by = _judge(**{part: None})
    assert by[name]["value"] is None
    assert not by[name]["passed"]
    assert LABELS[name].lower() in verdict["next_steps"][-1]


def test_nothing_found_is_a_result_not_a_crash():
    verdict, by = _judge(
        selection={"n_emotion_features": 0, "shuffled": {"p95": 0.0}},
        features=_features().with_columns(emotion_feature=pl.lit(False)),
        causality={
            "per_emotion": {"a": 0, "b": 0}, "control_per_emotion": {"a": 0, "b": 0}, "control_name": "c", "rule": "r",
        },
        stability={
            "stable_share": None, "null_share": 0.0, "n_stable": 0, "n_emotion_features": 0, "n_seeds": 5,
            "alive_share": 0.1, "mcc": 0.5, "ci": None,
        },
        generalization={"family_auroc": None, "control_auroc": None, "note": "no emotion has a family"},
        compositionality={"share": None, "control_share": None},
        orthogonality={"share": None, "control_share": None},
    )  # fmt: skip
    assert verdict["go"] is False
    assert by["selectivity"]["value"] == 0
    assert by["generalization"]["note"] == "no emotion has a family"
    for name in ("selectivity", "interpretability", "causality", "stability", "monosemanticity"):
        assert not by[name]["passed"]
    # To run the stages again would not help: what is missing is something to judge.
    assert not any("not measured" in step.lower() for step in verdict["next_steps"])
    assert "Stability: no emotion feature to judge." in verdict["next_steps"]


def test_names_of_no_feature_are_nothing_to_judge_and_no_names_are_not_measured():
    none = _features().with_columns(
        pl.lit(False).alias("emotion_feature"),
        *(pl.lit(None, dtype=pl.Float64).alias(c) for c in ("interpretable", "monosemanticity")),
    )
    for name in ("interpretability", "monosemanticity"):
        assert _judge(features=none)[1][name]["note"] == "no emotion feature to judge"
        some = none.with_columns(pl.lit(True).alias("emotion_feature"))
        assert _judge(features=some)[1][name]["note"] == NOT_MEASURED


def test_a_count_below_its_control_is_not_found_even_above_the_threshold():
    settings = VerdictSettings(min_emotion_features=5)
    _, by = _judge(settings, selection={"n_emotion_features": 6, "shuffled": {"p95": 7.0}})
    assert not by["selectivity"]["passed"]


def test_too_sparse_and_too_dense_get_opposite_advice():
    base = _evidence()["reconstruction"]
    dense = _judge(reconstruction=base | {"active_share": 0.1})[0]["next_steps"][0]
    sparse = _judge(reconstruction=base | {"active_share": 0.001})[0]["next_steps"][0]
    assert "raise l1_coefficient" in dense
    assert "lower l1_coefficient" in sparse


def test_without_groups_a_threshold_that_shuffled_labels_meet_says_nothing():
    grouped = {
        "n_emotion_features": 80, "shuffled": {"p95": 0.0, "mean": 0.0}, "n_groups_test": 12, "n_rows_test": 36,
        "threshold_only": {"count": 400, "shuffled_mean": 180.0},
    }  # fmt: skip
    kwargs = {"reconstruction": None, "baselines": None, "features": None}

    def selectivity(selection):
        verdict = judge("main", ("a", "b"), selection=selection, **kwargs)
        return next(c for c in verdict["criteria"] if c["id"] == "selectivity")

    assert selectivity(grouped)["passed"]
    alone = selectivity(grouped | {"n_groups_test": 36})
    assert alone["uninformative"]
    assert not alone["passed"]
    assert "no groups are known" in alone["note"]
