"""The language-model namer against a stand-in endpoint on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from helpers.naming_study import EMOTIONS, rows_of, study, wide
from moodlens.core import BadInput
from moodlens.features.names.llm import ask, name_with_model
from moodlens.settings.names import NamerSettings, NameSettings


class _Endpoint(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        status, answer = self.server.script(body, len(self.server.asked))
        payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        pass


def _said(text):
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def endpoint():
    server = HTTPServer(("127.0.0.1", 0), _Endpoint)
    server.asked, server.script = [], lambda body, n: (200, _said('{"name": "clouds"}'))
    server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _ask(server, **more):
    waits = []
    namer = NamerSettings(url=server.url, model="tiny", **more)
    try:
        return ask([["a cloud"], ["a chair"]], EMOTIONS, namer, feature=7, sleep=waits.append), waits
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
    assert "happy, sad" in body["messages"][0]["content"]
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
        ask([[], []], EMOTIONS, namer, feature=0)
    with pytest.raises(BadInput, match="must begin with http"):
        ask([[], []], EMOTIONS, namer.model_copy(update={"url": "file:///etc"}), feature=0)


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


def test_its_names_are_scored_by_the_same_detection_and_it_never_sees_the_test(endpoint):
    frame, codes, table = wide(*study())
    test = set(frame.filter(frame["split"] == "test")["text"])

    def script(body, n):
        shown = body["messages"][1]["content"]
        assert not any(text in shown for text in test)
        fired = shown.split("Texts that do not")[0].splitlines()[1:]
        fired = [line for line in fired if line]
        if np.mean(["cloud" in line for line in fired]) > 0.8:
            return 200, _said('{"name": "cloud, sky"}')
        if np.mean(["wordhappy" in line for line in fired]) > 0.8:
            return 200, _said('{"name": "happy"}')
        return 200, _said('{"name": "harpsichord"}')

    endpoint.script = script
    namer = NamerSettings(url=endpoint.url, model="tiny")
    names = name_with_model(
        table, codes, rows_of(frame), frame, NameSettings(n_shuffles=5), namer, seed=0, sleep=lambda s: None
    )
    rows = {row["feature"]: row for row in names.table.iter_rows(named=True)}
    assert len(endpoint.asked) == 5
    assert rows[0]["name"] == "cloud, sky"
    assert rows[1]["name"] == "happy"
    assert rows[0]["name_score"] > 0.9
    assert rows[1]["name_score"] > 0.9
    assert rows[2]["name_score"] == 0.5
    assert json.loads(rows[0]["name_evidence"])["learned"]["model"] == "tiny"
