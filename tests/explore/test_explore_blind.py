"""Blind naming: the person's name is judged by the test that judges names, on texts that the person did not see."""

import pytest

from moodlens.core import BadInput
from moodlens.explore.answers import NoteQuestion
from moodlens.explore.blind import blind_result, blind_trial


def question(feature: int, name: str) -> NoteQuestion:
    return NoteQuestion(feature=feature, name=name, clarity="clear", author="ann")


def judged(explored) -> int:
    scores = explored.column("name_score")
    return next(f for f in explored.claimed.tolist() if scores[f] is not None)


def test_the_programs_own_name_gets_its_own_score(own):
    explored, _ = own
    feature = judged(explored)
    name = explored.column("name")[feature]
    result = blind_result(explored, question(feature, name))
    assert result.score == pytest.approx(explored.column("name_score")[feature], abs=1e-3)
    assert result.score_all == pytest.approx(explored.column("name_score_all")[feature], abs=1e-3)
    assert result.program.name == name
    assert not result.unknown


def test_a_name_that_says_nothing_has_no_score(own):
    explored, _ = own
    result = blind_result(explored, question(judged(explored), "zzqx, qqyz"))
    assert result.score is None
    assert result.score_all is None
    assert result.unknown == ("zzqx", "qqyz")
    assert result.known == ()


def test_what_judges_is_not_what_was_seen(explored):
    rows = explored.study.rows
    trial = blind_trial(explored, None, frozenset())
    assert trial.fires
    for one in trial.fires:
        assert rows.split[one.row] in ("train", "val")
        assert explored.activation(trial.feature)[one.row] > 0
    for one in trial.silent:
        assert rows.split[one.row] in ("train", "val")
        assert explored.activation(trial.feature)[one.row] == 0
        assert rows.emotions[rows.label[one.row]] == trial.emotion
    groups = [rows.group[one.row] for one in trial.fires]
    assert len(set(groups)) == len(groups)
    told = trial.model_dump_json()
    assert explored.column("name")[trial.feature] not in told


def test_what_was_read_is_not_asked_again(own):
    explored, _ = own
    left = explored.claimed.tolist()
    for feature in left[:-1]:
        explored.study.record_reading(feature, name="x", clarity="clear", note="", author="")
    assert blind_trial(explored, None, frozenset()).feature == left[-1]
    with pytest.raises(BadInput, match="left"):
        blind_trial(explored, None, frozenset({left[-1]}))


def test_the_score_is_kept_beside_the_reading(own):
    explored, client = own
    feature = judged(explored)
    name = explored.column("name")[feature]
    answer = client.post("/api/blind", json=question(feature, name).model_dump())
    assert answer.status_code == 200, answer.text
    kept = explored.study.notes.latest(explored.study.sae_key)[feature]
    assert kept.blind is not None
    assert kept.blind.score == answer.json()["score"]
    assert kept.blind.program_score == pytest.approx(explored.column("name_score")[feature])
    assert client.get("/api/notes").json()["readings"][-1]["blind"] == kept.blind.model_dump()


def test_only_claimed_features_are_named(own):
    explored, client = own
    unclaimed = explored.table.height - 1
    assert client.post("/api/blind", json=question(unclaimed, "x").model_dump()).status_code == 400
    assert explored.study.notes.all() == []
