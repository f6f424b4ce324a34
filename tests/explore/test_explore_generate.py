"""Clips that are made in the page: the same as by hand, one at a time, and left when nobody wants them."""

import json
import threading
import time

import numpy as np
import pytest
from fastapi.testclient import TestClient

from helpers.clips import wav_samples
from helpers.tiny_music import save_tiny_musicgen
from moodlens.core import BadInput, file_sha256
from moodlens.explore import Explored, make_again
from moodlens.explore.generate_records import PROMPT, GenerateQuestion
from moodlens.explore.generator import load_generator
from moodlens.explore.server import explorer_app
from moodlens.explore.steer import steer_unit
from moodlens.explore.studio import Busy, Studio
from moodlens.steer.conditioning import Steering
from moodlens.steer.musicgen import MusicGen

from .conftest import BASE, PAGE

ASKED = {
    "parts": [{"kind": "difference_in_means", "emotion": "sad"}],
    "coefficient": 1.5,
    "prompt": "a simple piano melody",
    "seed": 7,
    "seconds": 0.3,
}
ENDED = ("done", "cancelled", "failed")


@pytest.fixture(scope="module")
def heard_explored(heard):
    return Explored(heard[0])


@pytest.fixture(scope="module")
def generator(heard_explored, heard):
    return load_generator(heard_explored, heard[1], device="cpu")


class Held:
    """The real generator, whose clips begin when they are let, and that notes how many are in work."""

    def __init__(self, generator):
        self._generator = generator
        self.let, self.entered = threading.Event(), threading.Event()
        self.now, self.most, self.counted = 0, 0, 0

    def __getattr__(self, name):
        return getattr(self._generator, name)

    def make(self, text, seed, how, vector, amount, step):
        self.now += 1
        self.most = max(self.most, self.now)
        self.entered.set()
        assert self.let.wait(60)

        def counted(share):
            step(share)
            self.counted += 1

        try:
            return self._generator.make(text, seed, how, vector, amount, counted)
        finally:
            self.now -= 1


@pytest.fixture
def held(heard_explored, generator):
    """A studio that waits to be let, with two places in the queue and two sets kept."""
    gate = Held(generator)
    studio = Studio(heard_explored, gate, waiting=2, kept=2)
    yield studio, gate
    gate.let.set()
    studio.close()


@pytest.fixture(scope="module")
def studio(heard_explored, generator):
    studio = Studio(heard_explored, generator)
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def made(heard_explored, studio):
    return TestClient(explorer_app(heard_explored, PAGE, studio=studio), base_url=BASE)


def question(**changes) -> GenerateQuestion:
    return GenerateQuestion.model_validate(ASKED | changes)


def ended(look):
    """What a set became."""
    for _ in range(9000):
        if (told := look()).state in ENDED:
            return told
        time.sleep(0.01)
    raise AssertionError(told)


def test_three_clips_of_one_seed_are_those_that_musicgen_makes(heard, heard_explored, made, studio, tmp_path):
    answer = made.post("/api/generate", json=ASKED)
    assert answer.status_code == 202, answer.text
    done = ended(lambda: studio.look(answer.json()["id"]))
    assert (done.state, done.share, done.error) == ("done", 1.0, None)
    assert [clip.which for clip in done.clips] == ["original", "steered", "random"]
    assert done.direction == "difference in means, sad"
    model, sounds = MusicGen.load(heard[1], device="cpu"), {}
    for clip in done.clips:
        told = made.get(f"/{clip.audio}")
        assert told.headers["content-type"] == "audio/wav"
        assert made.get(f"/{clip.audio}", headers={"range": "bytes=0-99"}).status_code == 206  # players seek
        (tmp_path / clip.which).write_bytes(told.content)
        sounds[clip.which] = wav_samples(tmp_path / clip.which)
        settings = made.get(f"/{clip.settings}").json()
        assert settings["clip"]["sha256"] == file_sha256(tmp_path / clip.which)
        vector = settings["vector"]
        steering = None
        if vector is not None:
            assert settings["clip"]["amount"] == pytest.approx(1.5 * steer_unit(heard_explored))
            steering = Steering(np.array(vector, dtype=np.float32), settings["clip"]["amount"])
        by_hand = model.generate(ASKED["prompt"], seconds=0.3, seed=7, steering=steering)
        assert np.array_equal(np.atleast_2d(sounds[clip.which]), by_hand)
    assert not np.array_equal(sounds["original"], sounds["steered"])
    assert not np.array_equal(sounds["random"], sounds["steered"])


def test_settings_make_the_clip_again(made, studio, tmp_path):
    done = ended(lambda: studio.look(made.post("/api/generate", json=ASKED).json()["id"]))
    for clip in done.clips:
        file = tmp_path / "settings.json"
        file.write_bytes(made.get(f"/{clip.settings}").content)
        (tmp_path / "sound.wav").write_bytes(made.get(f"/{clip.audio}").content)
        audio, rate = make_again(file, device="cpu")
        assert rate == 8000
        assert np.array_equal(audio, np.atleast_2d(wav_samples(tmp_path / "sound.wav")))
    wrong = json.loads(file.read_text())
    wrong["clip"]["how"]["revision"] = "another"
    for text in ("{}", json.dumps(wrong)):
        file.write_text(text)
        with pytest.raises(BadInput):
            make_again(file)


def test_a_clip_that_is_there_is_not_made_again(held):
    studio, gate = held
    gate.let.set()
    first = ended(lambda: studio.look(studio_id)) if (studio_id := studio.ask(question()).id) else None
    steps = gate.counted
    other = studio.ask(question(coefficient=-1.5)).id
    second = ended(lambda: studio.look(other))
    assert first is not None
    assert gate.counted - steps == 2 * steps // 3  # not the original
    assert studio.sound(first.id, "original") == studio.sound(second.id, "original")
    assert studio.sound(first.id, "steered") != studio.sound(second.id, "steered")


def test_one_set_is_in_work_and_few_may_wait(held):
    studio, gate = held
    first = studio.ask(question())
    assert gate.entered.wait(60)
    waiting = [studio.ask(question(seed=seed)) for seed in (1, 2)]
    assert [one.state for one in waiting] == ["waiting", "waiting"]
    assert [studio.look(one.id).ahead for one in waiting] == [1, 2]
    with pytest.raises(Busy, match="2 sets are waiting"):
        studio.ask(question(seed=3))
    assert studio.cancel(waiting[0].id).state == "cancelled"
    assert studio.look(waiting[1].id).ahead == 1
    last = studio.ask(question(seed=4))
    gate.let.set()
    assert ended(lambda: studio.look(last.id)).state == "done"
    assert gate.most == 1
    with pytest.raises(BadInput):  # two are kept
        studio.look(first.id)
    assert [one.id for one in studio.sets().sets] == [last.id, waiting[1].id]
    files = sorted(path.name for path in studio.sound(last.id, "steered").parent.iterdir())
    assert len(files) == 2 * 3 * 2  # a sound and its facts, three clips, two sets


def test_a_set_is_left_at_the_next_step_of_the_decoder(held):
    studio, gate = held
    one = studio.ask(question(seconds=9)).id
    assert gate.entered.wait(60)
    studio.cancel(one)
    gate.let.set()
    left = ended(lambda: studio.look(one))
    assert (left.state, left.clips, gate.counted) == ("cancelled", (), 0)
    assert (
        ended(lambda: studio.look(after)).state == "done" if (after := studio.ask(question()).id) else False
    )


def test_a_set_that_takes_too_long_is_left_and_said(heard_explored, generator):
    studio = Studio(heard_explored, generator, longest=0.05)
    try:
        one = studio.ask(question(seconds=9)).id
        left = ended(lambda: studio.look(one))
        assert left.state == "failed"
        assert "longer than 0.05 s" in (left.error or "")
    finally:
        studio.close()


def test_what_goes_wrong_is_said_and_the_next_is_made(held):
    studio, gate = held
    gate.let.set()
    wild = question(parts=[{"kind": "difference_in_means", "emotion": "sad"}], coefficient=100)
    gate.make = lambda *_: (_ for _ in ()).throw(ZeroDivisionError("a fault\nof the model"))
    failed = ended(
        lambda: studio.look(studio.ask(wild).id) if not studio.sets().sets else studio.sets().sets[0]
    )
    assert (failed.state, failed.error) == ("failed", "ZeroDivisionError: a fault")
    del gate.make
    good = studio.ask(question()).id
    assert ended(lambda: studio.look(good)).state == "done"


def test_sounds_go_with_the_server(heard_explored, generator):
    studio = Studio(heard_explored, generator)
    one = studio.ask(question()).id
    ended(lambda: studio.look(one))
    sound = studio.sound(one, "random")
    assert sound.is_file()
    running = studio.ask(question(seconds=9)).id
    studio.close()
    assert not sound.parent.exists()
    assert studio.look(running).state in ("waiting", "cancelled")
    with pytest.raises(Busy):
        studio.ask(question())


@pytest.mark.parametrize(
    "changes",
    [
        {"coefficient": 0},
        {"coefficient": 1e9},
        {"prompt": ""},
        {"prompt": "  "},
        {"prompt": "zzz qqq"},  # the tokenizer knows none of it
        {"prompt": "a" * (PROMPT + 1)},
        {"seconds": 0},
        {"seconds": 0.01},
        {"seconds": 31},
        {"seed": -1},
        {"seed": 2**53},
        {"guidance": 0.5},
        {"parts": []},
        {"parts": [{"kind": "feature", "feature": 10**6}]},
        {"parts": [{"kind": "family", "emotion": "<script>"}]},
        {"model": "another"},
    ],
)
def test_what_cannot_be_made_is_refused_before_it_waits(made, studio, changes):
    before = studio.sets()
    answer = made.post("/api/generate", json=ASKED | changes)
    assert answer.status_code == 400, answer.text
    assert "\n" not in answer.json()["error"]
    assert studio.sets() == before


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"host": "evil.example"}],
)
def test_foreign_pages_make_nothing_and_hear_nothing(made, studio, headers):
    one = ended(lambda: studio.look(made.post("/api/generate", json=ASKED).json()["id"]))
    before = studio.sets()
    assert made.post("/api/generate", json=ASKED, headers=headers).status_code == 403
    assert made.post(f"/api/generate/{one.id}/cancel", json={}, headers=headers).status_code == 403
    for path in ("api/generate", one.clips[0].audio, one.clips[0].settings):
        assert made.get(f"/{path}", headers=headers).status_code == 403
    assert studio.sets() == before
    assert (
        made.post(
            "/api/generate", content=json.dumps(ASKED), headers={"content-type": "text/plain"}
        ).status_code
        == 415
    )


def test_a_full_queue_is_429_and_what_is_not_there_404(heard_explored, held):
    studio, gate = held
    client = TestClient(explorer_app(heard_explored, PAGE, studio=studio), base_url=BASE)
    client.post("/api/generate", json=ASKED)
    assert gate.entered.wait(60)
    for seed in (1, 2):
        assert client.post("/api/generate", json=ASKED | {"seed": seed}).status_code == 202
    answer = client.post("/api/generate", json=ASKED | {"seed": 3})
    assert (answer.status_code, "waiting already" in answer.json()["error"]) == (429, True)
    first = client.get("/api/generate").json()["sets"][-1]
    assert first["state"] == "working"
    for path in (f"{first['id']}/original.wav", f"{first['id']}/x.json", "999", "999/random.wav", "..%2Fx"):
        assert client.get(f"/api/generate/{path}").status_code == 404
    assert client.post("/api/generate/999/cancel", json={}).status_code == 404
    assert client.post(f"/api/generate/{first['id']}/cancel", json={}).status_code == 200


def test_the_first_page_says_what_makes_clips(made, heard_explored):
    told = made.get("/api/overview").json()
    assert told["can"]["generate"]
    assert told["generator"]["model"] == "tiny-musicgen"  # not where it lies
    assert "generator" not in told["missing"]
    alone = TestClient(explorer_app(Explored(heard_explored.study.path), PAGE), base_url=BASE)
    assert alone.get("/api/overview").json()["generator"] is None
    answer = alone.post("/api/generate", json=ASKED)
    assert answer.status_code == 503
    assert "--generator MODEL" in answer.json()["error"]


def test_a_generator_of_another_encoder_is_refused_at_the_start(heard_explored, explored, heard, tmp_path):
    other = save_tiny_musicgen(tmp_path / "other", seed=1)  # the same shape, other weights
    with pytest.raises(BadInput, match="does not give the embeddings"):
        load_generator(heard_explored, str(other), device="cpu")
    with pytest.raises(BadInput, match="24 wide"):  # MiniLM has 384
        load_generator(explored, heard[1], device="cpu")
    with pytest.raises(BadInput, match="nowhere"):
        load_generator(heard_explored, str(tmp_path / "nowhere"), device="cpu")
