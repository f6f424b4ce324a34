"""The served page: what it answers, whom it refuses, and what hostile words become."""

import json

import pytest

from moodlens.explore.answers import TEXT
from moodlens.explore.guard import AT_ONCE, Guard
from moodlens.explore.page import policy

from .conftest import BASE, PAGE

MARKUP = "<img src=x onerror=alert(1)></script><script>alert(1)</script>"
HOSTILE = [MARKUP, "\x00\x07\x1b[31m", "‮" * 50, "'; DROP TABLE readings; --", "{{7*7}}", "📼" * 99]


def test_every_page_has_its_data(client, explored):
    assert client.get("/").text == PAGE
    for name in ("overview", "features", "prompts", "notes", "compare", "clips"):
        answer = client.get(f"/api/{name}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        json.loads(answer.text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    feature = int(explored.claimed[0])
    assert client.get(f"/api/feature/{feature}").json()["feature"] == feature


def test_a_browser_may_run_the_pages_own_script_and_ask_its_server_alone(client):
    for path in ("/", "/api/overview", "/api/nothing"):
        headers = client.get(path).headers
        told = headers["content-security-policy"]
        assert told == policy(PAGE, served=True)
        assert "default-src 'none'" in told
        assert "unsafe-eval" not in told
        assert "script-src 'sha256-" in told
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8123", "127.0.0.1.evil.example", "", "[", "0.0.0.0"]
)
def test_foreign_names_are_refused(client, host):
    for path in ("/", "/api/overview"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert "error" in answer.json()


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost:8123", "LOCALHOST", "[::1]:8123"])
def test_names_of_this_machine_are_answered_at_any_port(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_origins_are_refused(own, headers):
    explored, client = own
    note = {"feature": 0, "name": "x", "clarity": "clear", "note": "", "author": ""}
    assert client.post("/api/notes", json=note, headers=headers).status_code == 403
    assert client.get("/api/overview", headers=headers).status_code == 403
    assert explored.study.notes.all() == []
    assert client.post("/api/notes", json=note, headers={"origin": BASE}).status_code == 200


def test_a_form_cannot_post(own):
    explored, client = own
    note = json.dumps({"feature": 0, "name": "x", "clarity": "clear"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = client.post("/api/notes", content=note, headers={"content-type": kind})
        assert answer.status_code == 415
    assert explored.study.notes.all() == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_else_is_answered(client, method):
    assert client.request(method, "/api/notes").status_code == 405


def test_too_much_is_refused_before_it_is_read(client):
    assert client.post("/api/text", json={"text": "x" * 1_000_000}).status_code == 413
    answer = client.post("/api/text", json={"text": "x" * (TEXT + 1)})
    assert answer.status_code == 400
    assert "at most" in answer.json()["error"]
    deep = b'{"text":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = client.post("/api/text", content=deep, headers={"content-type": "application/json"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"null",
        b'{"text": 7}',
        b'{"text": "a", "more": 1}',
        b'{"text": "\\ud800"}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_question_is_one_line(client, body):
    answer = client.post("/api/text", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/../study.yaml",
        "/api/../../etc/passwd",
        "/api/audio/../study.wav",
        "/api/audio/..%2F..%2Fetc/passwd.wav",
        "/api/audio/steer/..%2f..%2fstudy.yaml.wav",
        "/api/audio/%2Fetc%2Fpasswd/x.wav",
        "/study.yaml",
        "/static/x",
        "/docs",
        "/openapi.json",
        "/api/feature/-1",
        "/api/feature/99999999",
    ],
)
def test_no_path_leads_anywhere_else(client, path):
    answer = client.get(path)
    assert answer.status_code == 404, answer.text
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("feature", ["x", "1.5", "99999999999999999999999", "0x10", "NaN"])
def test_what_is_no_feature_is_no_page(client, feature):
    assert client.get(f"/api/feature/{feature}").status_code in (400, 404)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_come_back_as_they_were_sent(own, text):
    explored, client = own
    note = {"feature": 1, "name": text, "clarity": "clear", "note": text, "author": text[:90]}
    kept = client.post("/api/notes", json=note)
    assert kept.status_code == 200, kept.text
    assert kept.headers["content-type"] == "application/json"
    assert kept.json()["note"] == text.strip()
    told = client.get("/api/notes").json()["readings"][-1]
    assert told == kept.json()
    assert explored.study.notes.latest(explored.study.sae_key)[1].note == text.strip()
    read = client.post("/api/text", json={"text": text})
    assert read.status_code == 200, read.text
    assert read.json()["text"] == text


def test_a_note_is_the_one_that_inspect_shows(own):
    explored, client = own
    client.post("/api/notes", json={"feature": 2, "name": "rain", "clarity": "clear", "author": "ann"})
    shown = explored.study.inspect([2])[0]
    assert shown.reading is not None
    assert (shown.reading["name"], shown.reading["author"]) == ("rain", "ann")
    explored.study.record_reading(2, name="storm", clarity="unclear", note="", author="bob")
    assert [one["name"] for one in client.get("/api/notes").json()["readings"]] == ["rain", "storm"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"feature": -1},
        {"feature": 10**6},
        {"feature": 10**30},
        {"clarity": "maybe"},
        {"name": ""},
        {"name": "x" * 201},
        {"note": "x" * 10_001},
        {"time": "2020"},
    ],
)
def test_an_incomplete_note_is_refused(own, wrong):
    explored, client = own
    note = {"feature": 0, "name": "x", "clarity": "clear", "note": "", "author": ""} | wrong
    assert client.post("/api/notes", json=note).status_code == 400
    assert explored.study.notes.all() == []


def test_notes_of_a_file_are_taken_once_and_whole(own):
    explored, client = own
    for name in ("rain", "storm"):
        client.post("/api/notes", json={"feature": 3, "name": name, "clarity": "clear"})
    file = client.get("/api/notes").json()
    assert client.post("/api/notes/import", json=file).json() == {"added": 0, "known": 2}
    more = dict(file["readings"][0], feature=4, author="<b>", time="2026-01-01T00:00:00+02:00")
    assert client.post("/api/notes/import", json=file | {"readings": [more, *file["readings"]]}).json() == {
        "added": 1,
        "known": 2,
    }
    assert explored.study.notes.latest()[4].time == "2025-12-31T22:00:00+00:00"
    for wrong in ({"feature": 10**6}, {"time": "yesterday"}, {"sae": "main@other"}, {"name": ""}):
        bad = [dict(more, feature=5), dict(more, feature=6) | wrong]
        assert client.post("/api/notes/import", json=file | {"readings": bad}).status_code == 400
    assert len(explored.study.notes.all()) == 3


def test_scores_of_blind_names_are_not_taken_from_a_file(own):
    explored, client = own
    file = client.get("/api/notes").json()
    score = {"score": 1.0, "score_all": 1.0, "control": 0.5, "program_score": 0.6, "n": 3}
    reading = {"feature": 0, "name": "x", "clarity": "clear", "note": "", "author": "", "time": "2026-01-01"}
    reading |= {"sae": file["sae"], "blind": score}
    assert client.post("/api/notes/import", json=file | {"readings": [reading]}).json()["added"] == 1
    assert explored.study.notes.all()[0].blind is None


def test_more_than_a_few_computing_requests_are_turned_away():
    """As many as may be at work are let in; the next is told to come again, and may when one has ended."""
    import asyncio

    async def run() -> None:
        release, entered, statuses = asyncio.Event(), [], []

        async def app(scope, receive, send):
            entered.append(scope["path"])
            await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        async def nothing():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def note(message):
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        guard = Guard(app, "default-src 'none'")
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/feature/1",
            "headers": [(b"host", b"localhost")],
        }
        asked = [asyncio.ensure_future(guard(dict(scope), nothing, note)) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)
        await guard(dict(scope), nothing, note)
        assert statuses == [429]
        light = asyncio.ensure_future(guard(dict(scope, path="/api/overview"), nothing, note))
        await asyncio.sleep(0)
        assert "/api/overview" in entered
        release.set()
        await asyncio.gather(*asked, light)
        await guard(dict(scope), nothing, note)
        assert statuses == [429] + [200] * (AT_ONCE + 2)

    asyncio.run(run())


def test_a_study_alone_has_nothing_to_compare(own):
    answer = own[1].get("/api/compare")
    assert answer.status_code == 404
    assert "--compare" in answer.json()["error"]


def test_a_study_without_an_encoder_says_why_no_text_is_read(own):
    explored, client = own
    explored.missing["encoder"] = "made elsewhere"
    answer = client.post("/api/text", json={"text": "a song"})
    assert answer.status_code == 503
    assert answer.json() == {"error": "made elsewhere"}
    assert not client.get("/api/overview").json()["can"]["text"]
