"""The predicted shift is the project's own intervention: the numbers of interventions.parquet, at the same length."""

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from moodlens.core import BadInput
from moodlens.explore.answers import FamilyDirection, FeatureDirection, SteerQuestion
from moodlens.explore.steer import direction_of, steer_answer, steer_unit
from moodlens.study.records.causal import INTERVENTIONS


def question(*parts, coefficient=1.0) -> SteerQuestion:
    return SteerQuestion(parts=parts, coefficient=coefficient)


def of_feature(feature: int, weight: float = 1.0) -> FeatureDirection:
    return FeatureDirection(kind="feature", feature=feature, weight=weight)


def of_family(emotion: str, weight: float = 1.0) -> FamilyDirection:
    return FamilyDirection(kind="family", emotion=emotion, weight=weight)


def own_readout(answer, emotion, readout):
    found = next(one for one in answer.emotions if one.emotion == emotion)
    return next(one for one in found.readouts if one.readout == readout)


def test_a_feature_at_its_typical_size_moves_what_the_causal_stage_says(explored):
    feature = int(explored.claimed[0])
    study, emotion = explored.study, explored.table["emotion"][feature]
    rows = study.rows
    own = rows.labelled("train", "val")
    active = explored.activation(feature)[own[rows.label[own] == study.emotions.index(emotion)]]
    typical = float(active[active > 0].mean())
    told = study.table(INTERVENTIONS).filter(
        (pl.col("feature") == feature) & (pl.col("kind") == "transplant") & (pl.col("dose") == 2.0)
    )
    assert told.height == 2
    answer = steer_answer(
        explored, question(of_feature(feature), coefficient=2 * typical / steer_unit(explored))
    )
    for row in told.to_dicts():
        mine = own_readout(answer, emotion, row["readout"])
        assert mine.effect == pytest.approx(row["effect"], rel=2e-2, abs=1e-4)
        assert mine.ci == pytest.approx((row["ci_low"], row["ci_high"]), rel=2e-2, abs=1e-3)


def test_one_unit_is_that_of_moodlens_steer(explored):
    from moodlens.steer.build import study_directions

    directions = study_directions(explored.study)
    assert steer_unit(explored) == pytest.approx(directions.unit, rel=1e-5)
    for emotion in explored.study.emotions:
        found = directions.select(method="sae_family", emotion=emotion)
        if found:
            mine = direction_of(explored, question(of_family(emotion)))
            assert mine @ found[0].vector == pytest.approx(1, abs=1e-4)


def test_the_curve_goes_through_the_answer_and_through_nothing_at_zero(explored):
    emotion = next(one.emotion for one in explored.study.families.families if one.features)
    answer = steer_answer(explored, question(of_family(emotion), coefficient=2.0))
    for shifts in answer.emotions:
        for one in shifts.readouts:
            assert one.curve[answer.grid.index(2.0)] == pytest.approx(one.effect, rel=1e-2, abs=1e-3)
            assert one.curve[answer.grid.index(0.0)] == pytest.approx(0, abs=1e-4)
            assert one.random[0] <= one.random[1]
            at = answer.grid.index(2.0)
            assert (one.random_low[at], one.random_high[at]) == pytest.approx(one.random, rel=5e-2, abs=1e-3)
            assert one.ci[0] <= one.effect <= one.ci[1]


def test_the_difference_in_means_stands_beside_itself(explored):
    emotion = explored.study.emotions[0]
    part = FamilyDirection(kind="difference_in_means", emotion=emotion)
    answer = steer_answer(explored, question(part))
    for readout in ("probe", "centroid"):
        mine = own_readout(answer, emotion, readout)
        assert mine.effect == pytest.approx(mine.difference_in_means, rel=1e-3)
        assert mine.effect > mine.random[1]


def test_a_mixture_is_the_sum_of_unit_directions(explored):
    second = int(explored.claimed[0])
    first = next(f for f in range(explored.study.core_size) if f != second)
    mixed = direction_of(explored, question(of_feature(first, 1.0), of_feature(second, 0.5)))
    expected = explored.directions[first] + 0.5 * explored.directions[second]
    assert mixed == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)


def test_what_points_nowhere_is_refused(explored):
    feature = int(explored.claimed[0])
    with pytest.raises(BadInput):
        direction_of(explored, question(of_feature(feature, 1.0), of_feature(feature, -1.0)))
    with pytest.raises(BadInput):
        direction_of(explored, question(of_feature(10**6)))
    with pytest.raises(BadInput):
        direction_of(explored, question(of_family("<script>")))
    for bad in (float("nan"), float("inf"), 1e9):
        with pytest.raises(ValidationError):
            question(of_feature(0), coefficient=bad)
