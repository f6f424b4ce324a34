"""The listening test driven to its end in a real browser, from a file, by keyboard alone."""

import json

import numpy as np
import pytest

from helpers.browser import Browser, chromium
from helpers.clips import put_clip
from moodlens.core import read_json, write_json
from moodlens.judge.answers import analyse_answers
from moodlens.judge.listen import make_listening_test
from moodlens.settings.judge import ListenSettings

PROMPTS = ("instrumental music", "a simple melody", '</script> & "quotes"')


def clip_folder(folder, *, rate=8000):
    """Short tones: steered ones are higher, so that a listener in a test can hear which they are."""
    rng = np.random.default_rng(0)
    for p, prompt in enumerate(PROMPTS):
        for seed in (0, 1):
            made = [("none", None, 0.0), *((m, e, 1.0) for m in ("family", "means") for e in ("happy", "sad")),
                    ("random", None, 1.0), ("prompt_editing", "happy", None), ("prompt_editing", "sad", None)]  # fmt: skip
            for i, (method, emotion, coefficient) in enumerate(made):
                t = np.arange(int(0.15 * rate)) / rate
                audio = (0.1 + 0.2 * rng.random()) * np.sin(2 * np.pi * (300 + 20 * i + rng.random()) * t)
                facts = {"prompt": prompt, "text": prompt, "method": method, "direction": None, "emotion": emotion,
                         "coefficient": coefficient, "seed": seed}  # fmt: skip
                put_clip(folder, f"{p}-{seed}-{i}", audio[None], rate, **facts)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(chromium(), tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


HEARD = """new Promise((done) => {
  const look = () => (heard[%d] ? done(true) : setTimeout(look, 5)); look(); })"""


def answer(browser, choose):
    """Play both clips by key, choose by key; ``choose`` gets the emotion and the two clips shown."""
    shown = browser.js(
        "JSON.stringify({question: $('question').textContent, clips: pair().map((s) => s.clip)})"
    )
    shown = json.loads(shown)
    assert browser.js("$('take1').disabled && $('take2').disabled")
    place = browser.js("at")
    browser.key("ArrowRight")  # too early: nothing was heard
    assert browser.js("at") == place
    for i in (0, 1):
        browser.key(str(i + 1))
        assert browser.js(HEARD % i)
    assert not browser.js("$('take1').disabled")
    browser.key(("ArrowLeft", "ArrowRight")[choose(shown["question"], shown["clips"])])
    return shown


@pytest.mark.parametrize("embed", [True, False])
def test_a_listener_goes_through_by_keyboard(browser, tmp_path, embed):
    clips = clip_folder(tmp_path / "clips")
    settings = ListenSettings(pairs=1, repeats=2, embed=embed, against="unsteered")
    made = make_listening_test(clips, tmp_path / "test", settings)
    key = {t["trial"]: t for t in read_json(made.key)["trials"]}
    steered = {(t["steered_clip"], t["partner_clip"]): t for t in key.values()}
    downloads = tmp_path / "downloads"
    browser.call(
        "Browser.setDownloadBehavior",
        {"behavior": "allow", "downloadPath": str(downloads), "eventsEnabled": True},
        root=True,
    )
    browser.open(made.page.as_uri())
    browser.type("Ada L.")
    browser.key("Enter")
    assert browser.js("$('question').textContent").startswith("Which of the two clips is more ")

    def listens(question, two):
        """Takes the steered clip, except of the random control, where it takes the first."""
        trial = steered.get(tuple(two)) or steered[tuple(two[::-1])]
        assert trial["emotion"].upper() in question
        return 0 if trial["method"] == "random" else two.index(trial["steered_clip"])

    sides = []
    for n in range(made.trials):
        assert browser.js("$('where').textContent") == f"Pair {n + 1} of {made.trials}"
        if n == 2:  # go back one pair and answer it again
            browser.key("Backspace")
            answer(browser, listens)
        if n == 3:  # close the page and come back: nothing is lost
            browser.open(made.page.as_uri())
            browser.type("Ada L.")
            browser.key("Enter")
            assert browser.js("at") == 3
        sides.append(answer(browser, listens)["clips"])
    assert browser.js("!$('end').hidden && $('trial').hidden")
    browser.key("Enter")  # the save button has the focus
    done = browser.wait("Browser.downloadProgress", state="completed")
    assert done["receivedBytes"] > 100
    (file,) = downloads.iterdir()
    assert file.name == "answers-Ada_L_.json"
    assert json.loads(file.read_text()) == json.loads(browser.js("$('text').value"))

    found = analyse_answers([file], made.key)
    assert (found.n_listeners, found.n_trials) == (1, made.trials - 2)
    by_method = {row.method: row for row in found.methods}
    assert {m for m, row in by_method.items() if row.share == 1} >= {"family", "means", "prompt_editing"}
    assert by_method["random"].control
    assert found.consistency.n == 2
    assert len({tuple(s) for s in sides}) > 2
    # Nothing was asked of a network.
    asked = [
        e["params"]["request"]["url"]
        for e in browser.events
        if e.get("method") == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    errors = [e for e in browser.events if e.get("method") == "Runtime.exceptionThrown"]
    assert errors == []


def test_quality_is_asked_of_the_same_two_clips(browser, tmp_path):
    """Head to head: first the emotion, then, without hearing them again, which sounds better; back takes one question back."""
    settings = ListenSettings(pairs=1, repeats=0, methods=("family",), against="means")
    made = make_listening_test(clip_folder(tmp_path / "clips"), tmp_path / "test", settings)
    key = {t["trial"]: t for t in read_json(made.key)["trials"]}
    assert {(t["method"], t["against"]) for t in key.values()} == {("family", "means")}
    browser.open(made.page.as_uri())
    browser.type("Bea")
    browser.key("Enter")
    for n in range(made.trials):
        answer(browser, lambda question, clips: 0)
        assert (browser.js("at"), browser.js("$('question').textContent")) == (n, settings.quality_question)
        if n == 1:
            browser.key("Backspace")
            assert browser.js("$('question').textContent").startswith("Which of the two clips is more ")
            browser.key("ArrowLeft")
        browser.key("ArrowRight")
    sent = json.loads(browser.js("$('text').value"))
    assert [(a["chose"], a["better"]) for a in sent["answers"]] == [
        (a["first"], a["second"]) for a in sent["answers"]
    ]
    write_json(tmp_path / "bea.json", sent)
    found = analyse_answers([tmp_path / "bea.json"], made.key)
    for cell in found.cells:
        assert cell.quality is not None
        assert cell.quality.chosen == cell.n - cell.chosen


def test_listeners_get_other_orders_and_sides(browser, tmp_path):
    made = make_listening_test(clip_folder(tmp_path / "clips"), tmp_path / "test", ListenSettings(pairs=1))
    browser.open(made.page.as_uri())
    seen = {}
    for name in ("a", "b", "c", "d", "e", "f", "g", "h"):
        browser.js(f"begin('{name}')")
        seen[name] = browser.js("JSON.stringify(order)"), browser.js("flip")
    assert len({order for order, _ in seen.values()}) == 8
    assert {flip for _, flip in seen.values()} == {True, False}
    browser.js("begin('a')")
    assert (browser.js("JSON.stringify(order)"), browser.js("flip")) == seen["a"]
    assert sorted(json.loads(seen["a"][0])) == list(range(made.trials))


def test_the_page_says_nothing_about_methods_or_prompts(tmp_path):
    made = make_listening_test(
        clip_folder(tmp_path / "clips"), tmp_path / "test", ListenSettings(embed=False)
    )
    page = made.page.read_text()
    script = page[page.index("const TEST") :]
    for word in ("family", "means", "prompt_editing", "random", "melody", "coefficient", "seed:"):
        assert word not in script.split("const $")[0]
    for file in (tmp_path / "test" / "clips").iterdir():
        assert file.suffix == ".wav"
    assert "http:" not in page
    assert "https:" not in page


def test_answers_survive_json(tmp_path):
    """The shape the page exports is the shape the analysis reads."""
    made = make_listening_test(
        clip_folder(tmp_path / "clips"), tmp_path / "test", ListenSettings(pairs=1, repeats=0)
    )
    key = read_json(made.key)
    answers = [
        {
            "trial": t["trial"],
            "first": t["partner_clip"],
            "second": t["steered_clip"],
            "chose": t["steered_clip"],
        }
        for t in key["trials"]
    ]
    value = {"format": key["format"], "version": 1, "test": key["test"], "listener": "x", "answers": answers}
    write_json(tmp_path / "x.json", value)
    assert analyse_answers([tmp_path / "x.json"], tmp_path / "test").n_answers == len(answers)
