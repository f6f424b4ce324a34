"""The language-model namer against a stand-in endpoint on this machine."""

import json
import threading

import pytest

from helpers.endpoint import answering
from helpers.naming_study import FEATURES, study
from moodlens.core import BadInput
from moodlens.features.names.judge import name_features
from moodlens.features.names.llm import ModelNamer, ask_name, judge_with_model
from moodlens.settings.names import NamerSettings, NameSettings

CONCEPTS = ("sky", "sea")


def _said(text):
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def endpoint():
    with answering(lambda body, n: (200, _said('{"name": "clouds"}'))) as server:
        yield server


def _ask(server, **more):
    waits = []
    namer = NamerSettings(url=server.url, model="tiny", **more)
    try:
        return ask_name([["a cloud"], ["a chair"]], CONCEPTS, namer, feature=7, sleep=waits.append), waits
    except BadInput as error:
        error.waits = waits
        raise


def test_the_request_is_openais_and_the_key_comes_from_the_environment(endpoint, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "abc")
    name, _ = _ask(endpoint, key_env="SOME_KEY")
    assert name == "clouds"
    path, key, body = endpoint.asked[0]
    assert path == "/v1/chat/completions"
    assert key == "Bearer abc"
    assert body["model"] == "tiny"
    assert "sky, sea" in body["messages"][0]["content"]
    assert body["messages"][1]["content"].index("a cloud") < body["messages"][1]["content"].index("a chair")


def test_a_missing_key_is_said_before_anything_is_sent(endpoint, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(BadInput, match="SOME_KEY holds no key"):
        _ask(endpoint, key_env="SOME_KEY")
    assert endpoint.asked == []


def test_a_busy_endpoint_is_asked_again(endpoint):
    endpoint.script = lambda body, n: (
        (503, {}) if n < 3 else (200, _said('Sure:\n```json\n{"name": " slow  sky "}\n```'))
    )
    name, waits = _ask(endpoint)
    assert name == "slow sky"
    assert waits == [1.0, 2.0]


def test_a_refusal_is_final_and_patience_ends(endpoint):
    endpoint.script = lambda body, n: (401, {})
    with pytest.raises(BadInput, match="answered 401") as error:
        _ask(endpoint)
    assert error.value.waits == []
    assert "\n" not in str(error.value)
    endpoint.script = lambda body, n: (429, {})
    with pytest.raises(BadInput, match=r"answered 429 .* after 3 attempts"):
        _ask(endpoint, retries=2)


def test_an_endpoint_that_hangs_or_is_not_there_is_one_line(endpoint):
    release = threading.Event()
    endpoint.script = lambda body, n: (release.wait(5) and 0) or (200, _said("{}"))
    with pytest.raises(BadInput, match=r"no answer: .*timed out"):
        _ask(endpoint, timeout=0.05, retries=0)
    release.set()
    namer = NamerSettings(url="http://127.0.0.1:9/v1", model="m", retries=1, pause=0)
    with pytest.raises(BadInput, match="no answer"):
        ask_name([[], []], CONCEPTS, namer, feature=0)
    with pytest.raises(BadInput, match="must begin with http"):
        ask_name([[], []], CONCEPTS, namer.model_copy(update={"url": "file:///etc"}), feature=0)


@pytest.mark.parametrize(
    "answer",
    [_said("clouds"), _said('{"title": "x"}'), _said('{"name": ""}'), _said('{"name": 3}'), {"error": 1}],
)
def test_an_answer_without_a_name_is_refused(endpoint, answer):
    endpoint.script = lambda body, n: (200, answer)
    with pytest.raises(BadInput, match="feature 7: the answer"):
        _ask(endpoint)


def test_an_answer_that_is_not_json_is_refused(endpoint):
    endpoint.script = lambda body, n: (200, b"<html>")
    with pytest.raises(BadInput, match="not JSON"):
        _ask(endpoint)


SETTINGS = NameSettings(n_shuffles=5, q=0.1)


def _shown(body):
    return body["messages"][1]["content"]


def test_its_names_are_held_to_the_same_test_and_it_never_sees_the_texts_of_it(endpoint):
    frame, coded, table = study()
    test = set(frame.filter(frame["split"] == "test")["text"])
    unseen = []

    def script(body, n):
        unseen.extend(text for text in test if text in _shown(body))
        fired = _shown(body).split("Texts that do not")[0]
        concept = max(FEATURES[:12], key=lambda name: fired.count(f"{name}k"))
        words = [word for word in fired.replace(",", " ").split() if word.endswith(f"{concept}k")]
        return 200, _said(json.dumps({"name": f"{concept}: {', '.join(dict.fromkeys(words))}"[:150]}))

    endpoint.script = script
    namer = NamerSettings(url=endpoint.url, model="tiny", n_examples=4)
    rename = ModelNamer.of(table, coded.codes, namer, seed=0)
    names = name_features(table, coded, frame, SETTINGS, seed=0, rename=rename)
    assert unseen == []
    assert len(endpoint.asked) == table.filter(table["emotion_feature"]).height
    rows = {row["feature"]: row for row in names.table.iter_rows(named=True)}
    for f in range(12):
        assert rows[f]["name"].startswith(f"{FEATURES[f]}: ")
        assert rows[f]["name_score"] > 0.9
    assert json.loads(rows[0]["name_evidence"])["learned"]["model"] == "tiny"
    assert names.table["interpretable"][:12].sum() >= 10


def test_requests_wait_side_by_side(endpoint):
    """All of them are on their way before the first is answered."""
    together = threading.Barrier(4, timeout=5)

    def script(body, n):
        together.wait()
        return 200, _said('{"name": "clouds"}')

    endpoint.script = script
    frame, coded, table = study()
    few = table.with_columns(emotion_feature=table["feature"] < 4)
    namer = NamerSettings(url=endpoint.url, model="tiny", n_examples=2, parallel=4, retries=0)
    names = name_features(
        few, coded, frame, SETTINGS, seed=0, rename=ModelNamer.of(few, coded.codes, namer, seed=0)
    )
    assert names.table["name"][:4].to_list() == ["clouds"] * 4
    assert not names.table["interpretable"][:4].any()  # no text holds the word: nothing is read in it


def test_a_model_judges_names_beside_dealt_ones(endpoint):
    frame, coded, table = study()

    def script(body, n):
        name, *texts = _shown(body).splitlines()
        concept = name.removeprefix("Name: ").split(":")[0]
        active = [int(line.split(".")[0]) for line in texts if f"{concept}k" in line]
        return 200, _said(json.dumps({"active": active}))

    endpoint.script = script
    few = table.with_columns(emotion_feature=table["feature"] < 12)
    first = name_features(few, coded, frame, SETTINGS, seed=0)
    namer = NamerSettings(url=endpoint.url, model="tiny", n_examples=5, judge=True)
    names = judge_with_model(first, few, coded, SETTINGS, namer, seed=0)
    assert names.table.columns == first.table.columns
    assert names.table["name_judged"][:12].min() > 0.7
    assert names.table["name_judged"][12:].null_count() == len(table) - 12
    assert names.summary.judge.n_asked == 12
    assert names.summary.judge.accuracy > names.summary.judge.control + 0.3
    assert len(endpoint.asked) == 24


def test_a_judge_that_answers_no_numbers_is_one_line(endpoint):
    frame, coded, table = study()
    first = name_features(table, coded, frame, SETTINGS, seed=0)
    endpoint.script = lambda body, n: (200, _said('{"active": "all"}'))
    namer = NamerSettings(url=endpoint.url, model="tiny", retries=0)
    with pytest.raises(BadInput, match="no list of numbers"):
        judge_with_model(first, table, coded, SETTINGS, namer, seed=0)
