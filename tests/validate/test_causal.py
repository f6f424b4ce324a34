"""Planted causes are found, decoys that only fire with the emotion are not, and under the null nothing is claimed."""

import numpy as np
import polars as pl
import pytest
from planted_study import THREE, make_planted

from moodlens.core import BadInput
from moodlens.settings.validation import CausalSettings
from moodlens.study.families import Families, Family
from moodlens.validate.causal import INTERVENTION_COLUMNS, causality


def _run(p, settings, seed=0, **changes):
    values = {
        name: getattr(p, name)
        for name in ("W", "codes", "x", "labels", "groups", "splits", "kinds", "table", "families")
    } | changes
    return causality(*values.values(), THREE, settings, seed=seed)


@pytest.fixture(scope="module")
def result(planted, quick):
    return _run(planted, quick)


def test_planted_features_are_causal_and_decoys_are_not(planted, result):
    causal = result.features["causal"].to_numpy()
    assert causal[planted.causal].all()
    assert not causal[planted.decoys].any()
    assert not np.delete(causal, np.concatenate([planted.causal, planted.decoys])).any()
    assert result.summary["per_emotion"] == dict.fromkeys(THREE, 6)
    assert result.summary["control_per_emotion"] == dict.fromkeys(THREE, 0)
    assert result.features["causal_q"].null_count() == result.features.height - 36


def test_families_move_their_own_emotion_and_no_other(result):
    diagonal = np.diag(result.matrix)
    assert (diagonal > 1).all()
    assert (result.matrix - np.diag(diagonal) < 0.3 * diagonal[:, None]).all()


def test_table_has_every_kind_with_controls_and_rising_doses(planted, result, quick):
    frame = result.interventions
    assert tuple(frame.columns) == INTERVENTION_COLUMNS
    assert set(frame["kind"]) == {"clamp", "transplant", "keep_family", "zero_rest"}
    own = frame.filter(pl.col("emotion") == pl.col("target"))
    for readout in ("probe", "centroid"):
        family = own.filter(
            (pl.col("kind") == "transplant")
            & (pl.col("subject") == "family")
            & (pl.col("readout") == readout)
        )
        for emotion in THREE:
            mine = family.filter(pl.col("emotion") == emotion).sort("dose")
            assert mine["dose"].to_list() == list(quick.doses)
            assert (np.diff(mine["effect"].to_numpy()) > 0).all()
            assert abs(mine["effect"][0]) < 1e-5
            after = mine.filter(pl.col("dose") > 0)
            assert (after["effect"] > after["control_p99"]).all()
            assert (after["q"] < 0.05).all()
        random = own.filter((pl.col("subject") == "random_direction") & (pl.col("readout") == readout))
        scale = family.filter(pl.col("dose") == 1)["effect"].mean()
        assert random.filter(pl.col("dose") == 1)["effect"].abs().max() < 0.25 * scale
    clamp = own.filter((pl.col("kind") == "clamp") & (pl.col("subject") == "family"))
    assert (clamp["effect"] < clamp["control_p99"]).all()
    keep = own.filter(pl.col("kind") == "keep_family")
    floor = own.filter(pl.col("kind") == "zero_rest")
    assert (keep["effect"].to_numpy() > floor["effect"].to_numpy()).all()
    assert (keep["effect"] > keep["control_p99"]).all()
    known = frame.filter(pl.col("ci_low").is_not_null())
    assert (known["ci_low"] <= known["effect"] + 1e-6).all()
    assert (known["ci_high"] >= known["effect"] - 1e-6).all()


def test_difference_in_means_is_there_as_a_ceiling(result):
    rows = result.interventions.filter(
        (pl.col("subject") == "difference_in_means")
        & (pl.col("target") == pl.col("emotion"))
        & (pl.col("dose") == 1)
    )
    assert rows.height == 6
    assert (rows["effect"] > 0).all()


def test_same_seed_same_numbers(planted, quick, result):
    again = _run(planted, quick)
    assert again.interventions.equals(result.interventions)
    assert again.summary == result.summary


def test_without_held_out_rows_the_readouts_are_cross_fitted(planted, quick):
    splits = np.where(planted.splits == "held_out", "train", planted.splits)
    cross = _run(planted, quick, splits=splits)
    assert "one half of the test groups" in cross.summary["readouts"]
    assert cross.features["causal"].to_numpy()[planted.causal].sum() >= 15
    assert not cross.features["causal"].to_numpy()[planted.decoys].any()


def test_under_the_null_false_claims_stay_below_q():
    settings = CausalSettings(n_controls=100, n_random_directions=100, n_bootstrap=100)
    false, tested, runs_with_claims = 0, 0, 0
    for seed in range(10):
        p = make_planted(seed, null=True, each=4, d_sae=200)
        found = _run(p, settings, seed).features
        n = int(found["causal"].sum())
        false, tested, runs_with_claims = false + n, tested + 24, runs_with_claims + (n > 0)
    # Every claim is false here, so the share of runs with a claim is the false discovery rate.
    assert runs_with_claims <= 1
    assert false / tested <= 0.02


def test_no_feature_and_no_family_is_a_result(planted, quick):
    none = planted.table.with_columns(tested=pl.lit(False), emotion_feature=pl.lit(False))
    empty = Families(families=tuple(Family(emotion=e) for e in THREE))
    result = _run(planted, quick, table=none, families=empty)
    assert result.interventions.height == 0
    assert result.summary["per_emotion"] == dict.fromkeys(THREE, 0)
    assert np.isnan(result.matrix).all()


def test_arrays_of_another_study_are_refused(planted, quick):
    with pytest.raises(BadInput, match="do not belong together"):
        _run(planted, quick, codes=planted.codes[:, :-1])
    with pytest.raises(BadInput, match="no test rows"):
        _run(planted, quick, splits=np.full(len(planted.x), "train"))


@pytest.mark.parametrize(
    ("kind", "readout"), [(k, r) for k in ("transplant", "clamp") for r in ("probe", "centroid")]
)
def test_one_wrong_sign_in_any_reading_is_not_causal(kind, readout):
    from moodlens.validate.causal import _rule
    from moodlens.validate.trials import Measured, Trials

    def told(effect: float) -> Measured:
        row = np.full(2, effect)
        return Measured(row, row, row, np.zeros(2), np.full(2, 0.1), np.full(2, 0.001))

    signs = {"transplant": 1.0, "clamp": -1.0}
    measured = {(k, r): told(sign) for k, sign in signs.items() for r in ("probe", "centroid")}
    measured[kind, readout].effect[1] *= -1
    trial = Trials(np.arange(2), 0, np.ones(2), np.zeros((2, 1), dtype=int), measured)
    assert _rule([trial], CausalSettings()).causal[0].tolist() == [True, False]
