"""Sound in the page, in a real browser: the clips of a steering run, and those that a generator makes as one waits."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra `explore`")

from helpers.browser import chromium
from helpers.clips import wav_samples
from helpers.explorer_page import Page, serving
from moodlens.explore import Explored, make_again, write_page
from moodlens.explore.clips import clip_runs
from moodlens.explore.generator import load_generator
from moodlens.explore.page import built_page
from moodlens.explore.server import explorer_app
from moodlens.explore.studio import Studio

PLAYED = """(async () => {
  const out = [];
  for (const audio of [...document.querySelectorAll(%s)].slice(0, 3)) {
    audio.preload = 'auto';
    await audio.play();
    await new Promise((done) => audio.addEventListener('ended', done, {once: true}));
    out.push([audio.duration, audio.currentTime, audio.error]);
  }
  return out;
})()"""
"""[duration, where it stopped, fault] of the first three players, each heard to its end."""
LISTEN = "section[aria-label=Listen]"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    page = Page(chromium(), tmp_path_factory.mktemp("browser"), "--autoplay-policy=no-user-gesture-required")
    yield page
    page.close()


@pytest.fixture(scope="module")
def played(heard, page):
    """The page of a study with a generator and a steering run; afterwards nothing went wrong."""
    explored = Explored(heard[0])
    studio = Studio(explored, load_generator(explored, heard[1], device="cpu"))
    n_faults, n_requests = len(page.faults()), len(page.requests())
    with serving(explorer_app(explored, built_page(), studio=studio)) as page.base:
        page.screen(1280, "light")
        yield page
        assert page.faults()[n_faults:] == []
        own = ("about:blank", page.base, "data:", "blob:")
        assert [url for url in page.requests()[n_requests:] if not url.startswith(own)] == []
    studio.close()


def test_a_file_says_that_clips_are_heard_in_the_served_study(heard, page, tmp_path):
    done = write_page(Explored(heard[0]), tmp_path / "page.html", built_page())
    page.base = done.path.as_uri()
    page.go("#steer", "document.querySelector('section[aria-label=Clips]')")
    assert "heard in the served study" in page.text("section[aria-label=Clips]")
    assert page.js("document.querySelectorAll('audio').length") == 0
    assert "--generator MODEL" in page.text()


def test_clips_of_a_steering_run_are_heard(played, heard):
    steered = [clip for run in clip_runs(Explored(heard[0])).runs for clip in run.clips if clip.emotion]
    assert steered
    played.go("#steer", "document.querySelector('section[aria-label=Clips] audio')")
    titles = played.js("[...document.querySelectorAll('.set .player strong')].map(e => e.innerText)")
    assert titles == ["Original", "Steered", "Random direction"] * len(steered)
    heard_ = played.js(PLAYED % json.dumps("section[aria-label=Clips] audio"))
    assert [(fault, round(length, 1)) for length, _, fault in heard_] == [(None, 1.0)] * 3
    assert all(stopped == pytest.approx(length, abs=0.05) for length, stopped, _ in heard_)
    # A family or a feature that no clip was steered by has none.
    played.go(
        f"#steer?means={steered[0].emotion}:1", "document.querySelector('section[aria-label=Clips] audio')"
    )
    assert len(
        played.js("[...document.querySelectorAll('section[aria-label=Clips] .set')].map(e => 1)")
    ) == sum(clip.emotion == steered[0].emotion for clip in steered)
    sound = played.download("section[aria-label=Clips] a[download]", "sound")
    assert np.abs(wav_samples(sound)).max() > 0


def test_three_clips_are_made_heard_and_handed_out(played):
    played.go(
        "#steer?means=sad:1&c=1.5&p=a%20simple%20tune&s=0.4&seed=3",
        f"document.querySelector('{LISTEN} form')",
    )
    assert played.js(f"document.querySelector('{LISTEN} input[list]').value") == "a simple tune"
    played.click(f"{LISTEN} button", "Make three clips")
    played.until(f"document.querySelectorAll('{LISTEN} audio').length === 3")
    played.until(f"document.querySelector('{LISTEN}').innerText.includes('took ')")
    heard_ = played.js(PLAYED % json.dumps(f"{LISTEN} audio"))
    assert [fault for _, _, fault in heard_] == [None] * 3
    settings = [played.download(f"{LISTEN} .player:nth-child({i}) a[href$=json]") for i in (1, 2, 3)]
    sounds = [played.download(f"{LISTEN} .player:nth-child({i}) a[href$=wav]") for i in (1, 2, 3)]
    for file, sound in zip(settings, sounds, strict=True):
        told = json.loads(file.read_text(encoding="utf-8"))
        assert (told["clip"]["seed"], told["clip"]["prompt"]) == (3, "a simple tune")
        assert np.array_equal(make_again(file, device="cpu")[0], wav_samples(sound))
    # The view is an address; the sets are still there for whoever opens it.
    played.click(f"{LISTEN} button", "Next seed")
    played.until("location.hash.includes('seed=4')")
    played.go(played.js("location.hash"), f"document.querySelectorAll('{LISTEN} .set').length === 2")


def test_one_plays_at_a_time_and_the_next_goes_on_where_it_was(played):
    played.go("#steer?means=calm:1&s=3&seed=9", f"document.querySelector('{LISTEN} form')")
    played.click(f"{LISTEN} button", "Make three clips")
    played.until(f"/seed 9.*took /.test(document.querySelector('{LISTEN} .set')?.innerText)")
    at = played.js(
        f"""(async () => {{
          const [a, b] = document.querySelectorAll('{LISTEN} .set audio');
          a.preload = b.preload = 'auto';
          await new Promise((yes) => (b.readyState ? yes() : b.addEventListener('loadedmetadata', yes)));
          a.playbackRate = 0.1;  // the machine has company: it shall not be over before the other begins
          await a.play(); a.currentTime = 1.5;
          await new Promise((yes) => a.addEventListener('seeked', yes, {{once: true}}));
          await b.play();
          return [a.paused, b.paused, b.currentTime];
        }})()"""
    )
    assert at[:2] == [True, False]
    assert at[2] >= 1.4


def test_clips_are_heard_blind(played):
    played.go("#steer?means=happy:1&s=0.3&blind=1", f"document.querySelector('{LISTEN} form')")
    played.click(f"{LISTEN} button", "Make three clips")
    first = f"{LISTEN} .set"
    played.until(
        f"document.querySelector('{first}')?.innerText.includes('happy') && document.querySelectorAll('{first}:first-of-type audio').length >= 3"
    )
    titles = f"[...document.querySelector('{first}').querySelectorAll('strong')].map(e => e.innerText)"
    assert played.js(titles) == ["A", "B", "C"]
    assert "random/" not in played.js(f"document.querySelector('{first}').innerText")
    assert played.js(f"document.querySelector('{first}').querySelectorAll('a[download]').length") == 0
    played.click(f"{first} button", "Which is which?")
    played.until(f"{titles}.join() === 'Original,Steered,Random direction'")


def test_a_long_set_is_cancelled_and_hostile_prompts_are_texts(played):
    hostile = '<img src=x onerror="window.ran=1"> piano'
    played.go("#steer?means=sad:1&s=9&g=3", f"document.querySelector('{LISTEN} form')")
    played.js(
        f"(() => {{ const e = document.querySelector('{LISTEN} input[list]'); e.value = {json.dumps(hostile)}; e.dispatchEvent(new Event('change', {{bubbles: true}})); }})()"
    )
    played.click(f"{LISTEN} button", "Make three clips")
    played.until(f"document.querySelector('{LISTEN} progress')")
    played.click(f"{LISTEN} button", "Cancel")
    played.until(f"document.querySelector('{LISTEN} .set')?.innerText.includes('cancelled')")
    assert hostile in played.js(f"document.querySelector('{LISTEN} .set').textContent")
    assert played.js("window.ran") is None
    assert played.js(f"document.querySelectorAll('{LISTEN} img').length") == 0


def test_what_cannot_be_made_is_said(played):
    played.go("#steer", f"document.querySelector('{LISTEN} form')")
    assert played.js(f"document.querySelector('{LISTEN} button').disabled")
    assert "Pick a direction first" in played.text(LISTEN)
    played.go("#steer?means=sad:1&c=0", f"document.querySelector('{LISTEN} form')")
    assert "Coefficient 0 adds nothing" in played.text(LISTEN)


def test_the_sounding_page_has_no_serious_fault_of_access(played):
    axe = Path(__file__).resolve().parents[2] / "explorer" / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.skip("axe-core is not installed: npm ci in explorer/")
    found = []
    for width, scheme in ((1280, "light"), (390, "dark")):
        played.screen(width, scheme)
        played.go("#steer?means=sad:1&c=1", f"document.querySelector('{LISTEN} audio')")
        played.js(f"{axe.read_text(encoding='utf-8')};0")
        found += played.js(
            "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.filter(v => "
            "['serious', 'critical'].includes(v.impact)).map(v => v.id + ': ' + v.nodes[0].html.slice(0, 200)))"
        )
        if played.js("document.documentElement.scrollWidth") > width:
            found.append(f"wider than {width} pixels")
    assert found == []
