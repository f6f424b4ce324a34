"""Listening tests for other programs: jsPsych's own scripts run the page in a real browser; webMUSHRA's files by their schema."""

import csv
import hashlib
import io
import json
from importlib.resources import files

import numpy as np
import pytest
import yaml
from scipy.io import wavfile

from helpers.browser import Browser, chromium
from helpers.clips import put_clip
from moodlens.core import BadInput, read_json
from moodlens.judge.answers import analyse_answers
from moodlens.judge.listen import make_listening_test
from moodlens.settings.judge import ListenSettings
from moodlens.steer.clips import rms_dbfs

METHODS = ("family", "means")
DUEL = ListenSettings(pairs=2, repeats=1, methods=("family",), against="means")
SHA256 = {
    "jspsych.js": "b58c69e607f2ddbd282f2daec43d882cac18d9e3efdad816215b818d1406d6ce",
    "plugin-audio-button-response.js": "cfd92571aee256b83a08b90ef65ea8598dc1bcc693b0a4e8c3a0a132deb72303",
    "plugin-html-button-response.js": "d4df2ebfd7dfac1451198dcb2b3ea45ad810eda7aa24e45e6851e1b531cbf0c9",
    "plugin-preload.js": "57bc73acd351c42f73069611acaff8f65fb4c1d5754af7d6f9657051ce8dee66",
    "plugin-survey-text.js": "f0d6b1f34ae53e12eb8f6b1e25b45ff0445a29c98babe3e3f83f3c04c379f8e3",
}
"""Of dist/index.browser.min.js of the packages on npm that LICENSE.jspsych names."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for p, prompt in enumerate(("instrumental music", "a simple melody", '</script> & "quotes"')):
        made = [("none", None, 0.0), *((m, e, 1.0) for m in METHODS for e in ("happy", "sad"))]
        for i, (method, emotion, coefficient) in enumerate(made):
            audio = (0.05 + 0.3 * rng.random()) * rng.standard_normal(800)
            facts = {"prompt": prompt, "text": prompt, "method": method, "direction": None, "emotion": emotion,
                     "coefficient": coefficient, "seed": 0}  # fmt: skip
            put_clip(folder, f"{p}-{i}", audio[None].astype(np.float32), 8000, **facts)
    return folder


def made_for(program, clips, out, settings=DUEL):
    made = make_listening_test(clips, out, settings.model_copy(update={"export": program}))
    return made, {t["trial"]: t for t in read_json(made.key)["trials"]}


@pytest.mark.parametrize("program", ["jspsych", "webmushra"])
def test_what_listeners_get_says_nothing_of_the_clips(clips, tmp_path, program):
    """Neither the key nor a word of it is in the folder; loudness is matched in the samples."""
    made, key = made_for(program, clips, tmp_path)
    assert made.key == tmp_path / "key.json"
    given = tmp_path / program
    assert made.page.is_relative_to(given)
    sizes = {file: file.stat().st_size for file in given.rglob("*") if file.is_file()}
    assert made.megabytes == pytest.approx(sum(sizes.values()) / 1e6)
    assert made.megabytes * 1e6 > sum(size for file, size in sizes.items() if file.suffix == ".wav") > 0
    levels = {}
    for path in given.rglob("*"):
        if path.suffix == ".wav":
            trial, code = path.stem.split("-")
            assert code in (key[trial]["steered_clip"], key[trial]["partner_clip"])
            levels.setdefault(trial, []).append(rms_dbfs(wavfile.read(path)[1] / 32767))
        elif path.is_file() and path.parent.name != "scripts":
            text = path.read_text(encoding="utf-8")
            for word in (*METHODS, "steered", "partner", "coefficient", "melody", "quotes", "swap", "none"):
                assert f'"{word}' not in text
                assert word not in text.split("const TEST")[-1].split("const AGAIN")[0], word
    assert set(levels) == set(key)
    for two in levels.values():
        assert two[0] == pytest.approx(two[1], abs=0.1)


# -- jsPsych -----------------------------------------------------------------------------------------------------------------


def test_the_scripts_are_those_of_npm():
    folder = files("moodlens.judge").joinpath("data", "jspsych")
    assert {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()} == SHA256


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(chromium(), tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


BUTTONS = """new Promise((done) => { const look = () => {
  const all = [...document.querySelectorAll('button')];
  all.length && all.every((b) => !b.disabled) && document.body.textContent.includes(%s)
    ? done(JSON.stringify(all.map((b) => b.textContent))) : setTimeout(look, 5); }; look(); })"""


def press(browser, said, choice):
    """Wait until the page says something and its buttons may be pressed; press one; what they were."""
    buttons = json.loads(browser.js(BUTTONS % json.dumps(said)))
    browser.js(f"[...document.querySelectorAll('button')][{choice}].click()")
    return buttons


def test_jspsych_runs_the_page_and_its_data_come_back(browser, clips, tmp_path):
    made, key = made_for("jspsych", clips, tmp_path / "test")
    downloads = tmp_path / "downloads"
    browser.call(
        "Browser.setDownloadBehavior",
        {"behavior": "allow", "downloadPath": str(downloads), "eventsEnabled": True},
        root=True,
    )
    browser.open(made.page.as_uri())
    assert browser.js("jsPsych.version()") == "8.3.0"
    wait = "new Promise((d) => { const l = () => document.querySelector('%s') ? d(true) : setTimeout(l, 5); l(); })"
    assert browser.js(wait % "#input-0")
    browser.js("document.querySelector('#input-0').focus()")
    browser.type("Ada L.")
    browser.js("document.querySelector('#jspsych-survey-text-next').click()")
    for n in range(made.trials):
        for again in (True, False) if n == 0 else (False,):
            assert press(browser, "the first clip", 0) == ["Continue"]
            assert press(browser, "the second clip", 0) == ["Continue"]
            assert press(browser, "is more", 2 if again else 0) == [
                "The first",
                "The second",
                "Hear both again",
            ]
        assert press(browser, "sounds better", 1) == ["The first", "The second"]
    browser.wait("Browser.downloadProgress", state="completed")
    (file,) = downloads.iterdir()
    assert file.name == "jspsych-Ada_L_.json"
    errors = [e for e in browser.events if e.get("method") == "Runtime.exceptionThrown"]
    assert errors == []
    asked = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]  # fmt: skip
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []

    found = analyse_answers([file], made.key)
    assert [row.listener for row in found.listeners] == ["Ada L."]
    assert (found.n_answers, found.consistency.n, found.first_side.share) == (made.trials - 1, 1, 1)
    for cell in found.cells:  # the first was more of it, the second better
        assert cell.quality is not None
        assert cell.quality.chosen == cell.n - cell.chosen
    # The same data as CSV, as jsPsych's hosts save it, with a second listener in the same file.
    table = browser.js("jsPsych.data.get().csv()")
    other = table.replace("Ada L.", "Bea").split("\n", 1)[1]
    (tmp_path / "all.csv").write_text(table + other, encoding="utf-8")
    both = analyse_answers([tmp_path / "all.csv"], made.key)
    assert [row.listener for row in both.listeners] == ["Ada L.", "Bea"]
    assert both.cells[0].share == found.cells[0].share
    assert both.n_answers == 2 * found.n_answers
    assert analyse_answers([file, tmp_path / "all.csv"], made.key) == both  # sent twice, counted once
    assert len(key) == made.trials


# -- webMUSHRA ---------------------------------------------------------------------------------------------------------------

PAGES = {
    "generic": {"type", "id", "name", "content"},
    "likert_multi_stimulus": {"type", "id", "name", "content", "mustRate", "mustPlayback", "stimuli", "response"},
    "finish": {"type", "name", "content", "popupContent", "showResults", "writeResults", "questionnaire"},
}  # fmt: skip
"""What webMUSHRA's manual for experimenters gives each kind of page."""


def pages_of(parts):
    for part in parts:
        if isinstance(part, list):
            yield from pages_of(part)
        elif part != "random":
            yield part


def test_webmushra_reads_the_configuration(clips, tmp_path):
    made, key = made_for("webmushra", clips, tmp_path)
    text = made.page.read_text(encoding="utf-8")
    assert "- -" not in text  # yaml.js takes it for a text
    config = yaml.safe_load(text)
    assert config["testId"] == made.page.stem == f"moodlens-{read_json(made.key)['test']}"
    assert config["bufferSize"] in (256, 512, 1024, 2048, 4096, 8192, 16384)
    pages = list(pages_of(config["pages"]))
    for page in pages:
        assert set(page) == PAGES[page["type"]]
    assert pages[-1]["type"] == "finish"
    assert [one["name"] for one in pages[-1]["questionnaire"]] == ["listener"]
    (shuffled,) = (part for part in config["pages"] if isinstance(part, list))
    assert shuffled[0] == "random"
    for trial in shuffled[1:]:  # the emotion, then the quality of the same two clips
        emotion, quality = trial
        assert quality["id"] == f"{emotion['id']}-quality"
        assert emotion["stimuli"] == quality["stimuli"]
        fact = key[emotion["id"]]
        assert set(emotion["stimuli"]) == {fact["steered_clip"], fact["partner_clip"]}
        assert fact["emotion"].upper() in emotion["content"]
        for path in emotion["stimuli"].values():  # relative to webMUSHRA's own folder
            assert (tmp_path / "webmushra" / path).is_file()
        assert [point["value"] for point in emotion["response"]] == list(range(1, 8))


def lms(test, sessions):
    """``lms.csv`` as webMUSHRA's service/write.php appends it: a header once, ratings between blanks, one row a clip."""
    file = io.StringIO()
    rows = csv.writer(file)
    rows.writerow(["session_test_id", "listener", "trial_id", "stimuli_rating", "stimuli", "rating_time"])
    for listener, ratings in sessions.items():
        for (page, clip), rating in ratings.items():
            rows.writerow([f"moodlens-{test}", listener, page, f" {rating} ", clip, 4321])
    return file.getvalue()


def test_webmushra_s_results_come_back(clips, tmp_path):
    made, key = made_for("webmushra", clips, tmp_path)
    test = read_json(made.key)["test"]
    ratings = {}
    for name, fact in key.items():
        two = (fact["partner_clip"], fact["steered_clip"])
        ratings |= {(name, two[0]): 3, (name, two[1]): 6}
        ratings |= {(f"{name}-quality", two[0]): 5, (f"{name}-quality", two[1]): 4}
    tied = ratings | {("t000", key["t000"]["steered_clip"]): 3}
    left = ratings | {("t001", key["t001"]["steered_clip"]): "NA"}
    file = tmp_path / "lms.csv"
    file.write_text(lms(test, {"Ada": ratings, "Bea": tied, "Cid": left}), encoding="utf-8")
    found = analyse_answers([file], made.key)
    n = made.trials - 1
    assert {row.listener: row.n for row in found.listeners} == {"Ada": n, "Bea": n - 1, "Cid": n - 1}
    assert (found.n_undecided, found.n_answers) == (1, 3 * n - 2)
    for cell in found.cells:
        assert cell.quality is not None
        assert (cell.share, cell.quality.share) == (1, 0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "x,y\n1,2\n", "neither a column trial_type, as jsPsych has, nor session_test_id"),
        ("a.csv", "session_test_id,trial_id\nmoodlens-1,t000\n", "no column listener, stimuli, stimuli_rating"),
        ("a.csv", "trial_type,response\nhtml-button-response,0\n", "no row of jsPsych's data that answers"),
        ("a.csv", 'trial_type,asked,response\nx,chose,0\n', "moodlens: Field required"),
        ("a.json", '[{"trial_type": "x", "asked": "how", "response": 1}]', "0.moodlens: Field required"),
        ("a.csv", "session_test_id,listener,trial_id,stimuli_rating,stimuli\nmoodlens-1,Ada,t000, 3 ,c000\n",
         "'Ada' has 1 ratings on page t000, not 2"),
    ],
)  # fmt: skip
def test_other_files_are_refused_by_their_name(clips, tmp_path, name, text, message):
    made, _ = made_for("jspsych", clips, tmp_path / "test")
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=message) as refused:
        analyse_answers([tmp_path / name], made.key)
    assert str(tmp_path / name) in str(refused.value)
