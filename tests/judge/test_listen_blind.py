"""What listeners get is no more than it must be, and what they are compared with is chosen by chance alone where it is equal."""

import json

import numpy as np
import pytest
import yaml

from helpers.clips import put_clip
from moodlens.core import read_json
from moodlens.judge.clips import folder_clips
from moodlens.judge.listen import make_listening_test
from moodlens.judge.trials import choose_trials
from moodlens.settings.judge import ListenSettings

METHODS = ("family", "means")
DUEL = ListenSettings(pairs=2, repeats=1, methods=("family",), against="means")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips whose names are in the order of their methods."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    made = [("a-plain", "none", None, 0.0), *((f"b-{m}-{e}", m, e, 1.0) for m in METHODS for e in ("happy", "sad"))]  # fmt: skip
    for p in range(3):
        for seed in range(3):
            for name, method, emotion, coefficient in made:
                facts = {"prompt": f"prompt {p}", "text": "t", "method": method, "direction": None, "emotion": emotion,
                         "coefficient": coefficient, "seed": seed}  # fmt: skip
                audio = 0.1 * rng.standard_normal((1, 200)).astype(np.float32)
                put_clip(folder, f"{name}-{p}-{seed}", audio, 8000, **facts)
    return folder


def test_a_clip_s_name_on_the_page_says_nothing_of_its_file(folder, tmp_path):
    orders = []
    for seed in range(3):
        made = make_listening_test(folder, tmp_path / str(seed), DUEL.model_copy(update={"seed": seed}))
        trials = read_json(made.key)["trials"]
        codes = {t[side]: t[f"{side}_clip"] for t in trials for side in ("steered", "partner")}
        order = [codes[name] for name in sorted(codes)]
        assert sorted(order) == [f"c{i:03d}" for i in range(len(order))]
        orders.append(order)
        assert order != sorted(order)
    assert orders[0] != orders[1] != orders[2]


def test_a_page_of_jspsych_holds_nothing_but_its_questions(folder, tmp_path):
    made = make_listening_test(folder, tmp_path, DUEL.model_copy(update={"export": "jspsych"}))
    text = made.page.read_text(encoding="utf-8")
    test = json.loads(text.split("const TEST = ")[1].split(";\n")[0])
    assert set(test) == {"test", "quality", "trials"}
    for trial in test["trials"]:
        assert set(trial) == {"trial", "asks", "pair"}
        for side in trial["pair"]:
            assert set(side) <= {"clip", "file", "gain"}
            assert side["file"] == f"clips/{trial['trial']}-{side['clip']}.wav"


def test_a_configuration_of_webmushra_holds_nothing_but_its_questions(folder, tmp_path):
    made = make_listening_test(folder, tmp_path, DUEL.model_copy(update={"export": "webmushra"}))
    config = yaml.safe_load(made.page.read_text(encoding="utf-8"))
    assert set(config) == {"testname", "testId", "bufferSize", "stopOnErrors", "showButtonPreviousPage", "remoteService", "pages"}  # fmt: skip
    key = {t["trial"]: t for t in read_json(made.key)["trials"]}
    for page in (page for pages in config["pages"][1][1:] for page in pages):
        trial = key[page["id"].removesuffix("-quality")]
        wanted = [trial["steered_clip"], trial["partner_clip"]]
        assert list(page["stimuli"]) == (wanted[::-1] if trial["swap"] else wanted)
        for code, path in page["stimuli"].items():
            assert path == f"configs/{config['testId']}/{trial['trial']}-{code}.wav"
        # Both questions are of the emotion or of quality by their own words, on the scale as well.
        ends = page["response"][0]["label"], page["response"][-1]["label"]
        what = "good as music" if page["id"].endswith("-quality") else trial["emotion"].upper()
        assert ends == (f"1 not at all {what}", f"7 very {what}")


@pytest.mark.parametrize("seed", range(6))
def test_the_partner_is_of_the_clip_s_own_seed_where_all_are_as_fresh(folder, seed):
    clips = [clip.facts for clip in folder_clips(folder)]
    settings = ListenSettings(
        pairs=1, repeats=0, methods=("family",), emotions=("sad",), against="unsteered", seed=seed
    )
    (trial,) = choose_trials(clips, settings, "clips")
    assert trial.partner_seed == trial.seed
