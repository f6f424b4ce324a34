"""Planted causes are found, decoys that only fire with the emotion are not, and under the null nothing is claimed."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from helpers.planted_study import THREE, make_planted
from moodlens.core import BadInput
from moodlens.core.labels import UNKNOWN
from moodlens.settings.validation import CausalSettings
from moodlens.stats.contrast import unit_rows
from moodlens.study.coded import Coded
from moodlens.study.families import Families, Family
from moodlens.study.records.causal import CAUSAL, INTERVENTIONS
from moodlens.study.rows import Rows
from moodlens.validate.causal import causality
from moodlens.validate.causal_families import added_by


def _run(planted, settings, seed=0):
    return causality(planted.coded, planted.table, planted.families, settings, seed=seed)


@pytest.fixture(scope="module")
def result(planted, quick):
    return _run(planted, quick)


def test_planted_features_are_causal_and_decoys_are_not(planted, result):
    causal = result.features["causal"].to_numpy()
    assert causal[planted.causal].all()
    assert not causal[planted.decoys].any()
    assert not np.delete(causal, np.concatenate([planted.causal, planted.decoys])).any()
    assert result.summary.per_emotion == dict.fromkeys(THREE, 6)
    assert result.summary.control_per_emotion == dict.fromkeys(THREE, 0)
    assert result.features["causal_q"].null_count() == result.features.height - 36


def test_families_move_their_own_emotion_and_no_other(result):
    diagonal = np.diag(result.matrix)
    assert (diagonal > 1).all()
    assert (result.matrix - np.diag(diagonal) < 0.3 * diagonal[:, None]).all()


def test_table_has_every_kind_with_controls_and_rising_doses(planted, result, quick):
    frame = result.interventions
    assert frame.columns == list(INTERVENTIONS.columns)
    assert result.features.columns == list(CAUSAL.columns)
    assert set(frame["kind"]) == {"clamp", "transplant", "keep_family", "zero_rest"}
    own = frame.filter(pl.col("emotion") == pl.col("target"))
    for readout in ("probe", "centroid"):
        family = own.filter(
            (pl.col("kind") == "transplant")
            & (pl.col("subject") == "family")
            & (pl.col("readout") == readout)
        )
        for emotion in THREE:
            doses = family.filter(pl.col("emotion") == emotion).sort("dose")
            assert doses["dose"].to_list() == list(quick.doses)
            assert (np.diff(doses["effect"].to_numpy()) > 0).all()
            assert abs(doses["effect"][0]) < 1e-5
            assert doses["p"][0] == 1  # nothing was added: it is as good as any control
            after = doses.filter(pl.col("dose") > 0)
            assert (after["effect"] > after["control_edge"]).all()
            assert (after["q"] < 0.05).all()
        random = own.filter((pl.col("subject") == "random_direction") & (pl.col("readout") == readout))
        scale = family.filter(pl.col("dose") == 1)["effect"].mean()
        assert random.filter(pl.col("dose") == 1)["effect"].abs().max() < 0.25 * scale
    clamp = own.filter((pl.col("kind") == "clamp") & (pl.col("subject") == "family"))
    assert (clamp["effect"] < clamp["control_edge"]).all()
    keep = own.filter(pl.col("kind") == "keep_family")
    floor = own.filter(pl.col("kind") == "zero_rest")
    assert (keep["effect"].to_numpy() > floor["effect"].to_numpy()).all()
    assert (keep["effect"] > keep["control_edge"]).all()
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
    split = planted.rows.split
    cross = _run(planted.split_as(np.where(split == "held_out", "train", split)), quick)
    assert "one half of the test groups" in cross.summary.readouts
    assert cross.features["causal"].to_numpy()[planted.causal].sum() >= 15
    assert not cross.features["causal"].to_numpy()[planted.decoys].any()


def test_under_the_null_false_claims_stay_below_q():
    settings = CausalSettings(n_controls=100, n_random_directions=100, n_bootstrap=100)
    false, tested, runs_with_claims = 0, 0, 0
    for seed in range(10):
        found = _run(make_planted(seed, null=True, each=4, d_sae=200), settings, seed).features
        n = int(found["causal"].sum())
        false, tested, runs_with_claims = false + n, tested + 24, runs_with_claims + (n > 0)
    # Every claim is false here, so the share of runs with a claim is the false discovery rate.
    assert runs_with_claims <= 1
    assert false / tested <= 0.02


def test_no_feature_and_no_family_is_a_result(planted, quick):
    none = planted.table.with_columns(tested=pl.lit(False), emotion_feature=pl.lit(False))
    empty = Families(families=tuple(Family(emotion=e) for e in THREE))
    result = _run(replace(planted, table=none, families=empty), quick)
    assert result.interventions.height == 0
    assert result.summary.per_emotion == dict.fromkeys(THREE, 0)
    assert np.isnan(result.matrix).all()


def test_arrays_of_another_study_are_refused(planted, quick):
    with pytest.raises(BadInput, match="do not belong together"):
        replace(planted.coded, codes=planted.codes[:, :-1])
    with pytest.raises(BadInput, match="of another study"):
        _run(replace(planted, table=planted.table[:-1]), quick)
    with pytest.raises(BadInput, match="no test rows"):
        _run(planted.split_as("train"), quick)


def test_what_is_proved_is_the_direction_that_steers(planted, quick, result):
    """Every member at its weight and typical activation, whatever the codes do together."""
    family = planted.families["joy"]
    lopsided = family.model_copy(update={"weights": (1.0, *(0.0,) * (len(family.features) - 1))})
    dev = planted.rows.labelled("train", "val")
    own = planted.codes[dev[planted.rows.label[dev] == 0]]
    for member in (family, lopsided):
        added = added_by(member, planted.coded.W_dec, own)
        direction = unit_rows(member.direction(planted.coded.W_dec))
        assert added @ direction == pytest.approx(np.linalg.norm(added))
    families = Families(families=(lopsided, *planted.families.families[1:]))
    other = _run(replace(planted, families=families), quick)
    assert other.matrix[0, 0] != pytest.approx(result.matrix[0, 0], rel=1e-2)
    np.testing.assert_array_equal(other.matrix[1:], result.matrix[1:])


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_embeddings_and_codes_does_not_matter(planted, quick, result, scale):
    coded = planted.coded
    scaled = Coded(coded.rows, scale * coded.x, (scale * coded.codes).astype(np.float32), coded.W_dec)
    other = _run(replace(planted, coded=scaled), quick)
    assert other.summary == result.summary
    np.testing.assert_allclose(other.matrix, result.matrix, rtol=1e-3)


def test_texts_of_unknown_emotion_change_nothing(planted, quick, result):
    extra = planted.rows.where("train", "test", "held_out")[::3]
    both = np.r_[np.arange(len(planted.rows)), extra]
    unknown = np.arange(len(both)) >= len(planted.rows)
    rows = planted.rows
    with_unknown = Rows.of(
        np.where(unknown, UNKNOWN, rows.label[both]),
        emotions=THREE,
        group=rows.group[both],
        split=rows.split[both],
    )
    coded = Coded(with_unknown, planted.x[both], planted.codes[both], planted.coded.W_dec)
    assert _run(replace(planted, coded=coded), quick).interventions.equals(result.interventions)


@pytest.mark.parametrize(
    ("kind", "readout"), [(k, r) for k in ("transplant", "clamp") for r in ("probe", "centroid")]
)
def test_one_wrong_sign_in_any_reading_is_not_causal(kind, readout):
    from moodlens.validate.causal import _rule
    from moodlens.validate.causal_features import Measured, Trials

    def measure(effect: float) -> Measured:
        row = np.full(2, effect)
        return Measured(row, row, row, np.zeros(2), np.full(2, 0.1), np.full(2, 0.001))

    signs = {"transplant": 1.0, "clamp": -1.0}
    measured = {(k, r): measure(sign) for k, sign in signs.items() for r in ("probe", "centroid")}
    measured[kind, readout].effect[1] *= -1
    trial = Trials(np.arange(2), 0, np.ones(2), *2 * [np.zeros((2, 1), dtype=int)], measured)
    assert _rule([trial], CausalSettings()).causal[0].tolist() == [True, False]
