"""The listening test: which clips meet, and the page that plays them."""

import base64
import io
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile

from helpers.listened import EMOTIONS, METHODS, write_clips
from moodlens.core import BadInput, read_json
from moodlens.judge.clips import folder_clips
from moodlens.judge.listen import make_listening_test
from moodlens.judge.trials import choose_trials, most_heard
from moodlens.settings.judge import ListenSettings
from moodlens.steer.clips import rms_dbfs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def clips(folder):
    return [clip.facts for clip in folder_clips(folder)]


def test_every_method_and_emotion_has_its_pairs(clips):
    trials = choose_trials(clips, ListenSettings(pairs=4, repeats=5, against="unsteered"), "clips")
    first = [t for t in trials if t.repeat is None]
    assert Counter((t.method, t.emotion) for t in first) == {(m, e): 4 for m in METHODS for e in EMOTIONS}
    assert len(trials) == 4 * 3 * 4 + 5
    files = {clip.file: clip for clip in clips}
    for t in trials:
        steered, partner = files[t.steered], files[t.partner]
        assert (partner.method, partner.prompt, partner.seed) == ("none", steered.prompt, t.partner_seed)
        assert steered.coefficient in (1.0, None)
        assert steered.emotion in (t.emotion, None)
    for m in METHODS:
        own = [t for t in first if t.method == m]
        assert sum(t.swap for t in own) * 2 == len(own)  # balanced sides
        for e in EMOTIONS:
            assert len({t.prompt for t in own if t.emotion == e}) >= (4 if m != "random" else 2)
    by_id = {t.trial: t for t in trials}
    for t in trials:
        if t.repeat:
            again = by_id[t.repeat]
            assert (again.steered, again.partner, again.swap) == (
                t.steered,
                t.partner,
                not t.swap,
            )


def heard(trials):
    return Counter(file for t in trials if t.repeat is None for file in (t.steered, t.partner))


@given(
    st.integers(0, 10_000), st.integers(1, 6), st.sampled_from(["unsteered", "random", "difference_in_means"])
)
def test_no_clip_is_heard_much_more_than_others(clips, seed, pairs, against):
    """Of the partners the most and the least heard differ by one, however many trials there are."""
    settings = ListenSettings(
        seed=seed, pairs=pairs, against=against, methods=("sae_family", "prompt_editing")
    )
    trials = choose_trials(clips, settings, "clips")
    files = {clip.file: clip for clip in clips}
    wanted = {"unsteered": "none"}.get(against, against)
    assert {files[t.partner].method for t in trials} == {wanted} == {t.against for t in trials}
    assert all(files[t.partner].prompt == files[t.steered].prompt for t in trials)
    if against == "difference_in_means":  # head to head: both towards the emotion that is asked for
        assert all(files[t.partner].emotion == files[t.steered].emotion == t.emotion for t in trials)
        assert most_heard(trials) <= 2
        return
    partners = [clip.file for clip in clips if clip.method == wanted]
    counts = [heard(trials)[file] for file in partners]
    assert max(counts) - min(counts) <= 1
    assert most_heard(trials) == max(heard(trials).values())


def test_the_partner_is_chosen_such_that_none_is_known(clips):
    """8 unsteered clips are enough for 6 trials; 12 trials are better compared with 24 clips of random directions."""
    few = ListenSettings(pairs=1, methods=("sae_family", "difference_in_means"))
    assert {t.against for t in choose_trials(clips, few, "")} == {"none"}
    assert most_heard(choose_trials(clips, few, "")) == 1
    more = few.model_copy(update={"pairs": 2})
    assert {t.against for t in choose_trials(clips, more, "")} == {"random"}
    assert most_heard(choose_trials(clips, more, "")) == 1
    assert most_heard(choose_trials(clips, more.model_copy(update={"against": "unsteered"}), "")) == 2
    every = choose_trials(clips, ListenSettings(), "")
    assert {t.method for t in every} == {*METHODS} - {"random"}  # it is what they are compared with
    bare = [clip for clip in clips if clip.method != "random"]
    assert {t.against for t in choose_trials(bare, more, "")} == {"none"}  # there is nothing else


def test_an_edited_prompt_is_compared_with_neutral_words(clips):
    """Of random directions an edited prompt has none at its strength, as in the results."""
    words = [clip.model_copy(update={"method": "neutral_editing", "coefficient": None, "emotion": None,
                                     "direction": None, "file": f"word-{clip.file}"})
             for clip in clips if clip.method == "none"]  # fmt: skip
    trials = choose_trials([*clips, *words], ListenSettings(against="random"), "")
    for t in trials:
        assert t.against == ("neutral_editing" if t.method == "prompt_editing" else "random")


def _like(clips, source, emotion, **changes):
    """Copies of the clips of a method, as those of another."""
    return [clip.model_copy(update={**changes, "file": f"{changes['method']}-{clip.file}"})
            for clip in clips if clip.method == source and clip.coefficient == 1 and clip.emotion == emotion]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "control"),
    [("layer_difference_in_means", "layer_random"), ("prompt_difference", "neutral_difference")],
)
def test_a_method_with_a_control_of_its_own_is_compared_with_it(clips, method, control):
    """As in the results: a random direction of the text says nothing of one in the decoder."""
    steered = [c for e in EMOTIONS for c in _like(clips, "sae_family", e, method=method)]
    drawn = _like(clips, "random", None, method=control)
    trials = choose_trials([*clips, *steered, *drawn], ListenSettings(against="random", pairs=1), "")
    assert {t.method for t in trials} == {*METHODS, method} - {"random"}  # controls are not asked about
    assert all(t.against == (control if t.method == method else "random") for t in trials)
    alone = [c for c in [*clips, *steered, *drawn] if c.method in ("none", method, control)]
    assert {t.against for t in choose_trials(alone, ListenSettings(against="random"), "")} == {control}
    with pytest.raises(BadInput, match=f"{control} cannot be compared with itself"):
        choose_trials([*clips, *steered, *drawn], ListenSettings(against="random", methods=(control,)), "")


def test_layers_are_never_compared_with_random_directions_of_the_text(clips):
    layer = [c for e in EMOTIONS for c in _like(clips, "sae_family", e, method="layer_difference_in_means")]
    with pytest.raises(BadInput, match="has no layer_random clip of 'prompt"):
        choose_trials([*clips, *layer], ListenSettings(against="random"), "run")
    # Where nothing is said of the partner it is then the unsteered clip.
    assert {t.against for t in choose_trials([*clips, *layer], ListenSettings(), "run")} == {"none"}


def test_names_that_the_run_lacks_are_told_beside_those_it_has(clips):
    with pytest.raises(BadInput, match=r"run: no clip of the emotion joyful; there is calm, happy, sad$"):
        choose_trials(clips, ListenSettings(emotions=("joyful",)), "run")
    with pytest.raises(
        BadInput, match=r"run: no clip of the method foo; there is difference_in_means, prompt_"
    ):
        choose_trials(clips, ListenSettings(methods=("foo",)), "run")


@given(st.integers(0, 10_000))
def test_the_seed_decides_all(clips, seed):
    settings = ListenSettings(seed=seed, pairs=1)
    assert choose_trials(clips, settings, "") == choose_trials(clips, settings, "")


def test_another_seed_is_another_test(clips):
    assert choose_trials(clips, ListenSettings(seed=0), "") != choose_trials(
        clips, ListenSettings(seed=1), ""
    )


def test_what_is_not_there_is_said(clips, tmp_path):
    with pytest.raises(
        BadInput, match=r"no difference_in_means clip for calm at coefficient 7 \(the run has -1, 0, 1\)"
    ):
        choose_trials(
            clips, ListenSettings(coefficient=7, methods=("difference_in_means",), emotions=("calm",)), "run"
        )
    with pytest.raises(BadInput, match=r"no clip at coefficient 7 \(the run has -1, 0, 1\)"):
        choose_trials(clips, ListenSettings(coefficient=7), "run")
    with pytest.raises(BadInput, match=r"against telepathy: no such clip at coefficient 1 .*there is differ"):
        choose_trials(clips, ListenSettings(against="telepathy"), "run")
    one = [clip for clip in clips if clip.method in ("none", "random", "sae_family")]
    with pytest.raises(BadInput, match="no other method than sae_family to compare"):
        choose_trials(one, ListenSettings(against="sae_family"), "run")
    with pytest.raises(BadInput, match="cannot be compared with itself"):
        choose_trials(clips, ListenSettings(against="random", methods=("random",)), "run")
    wavfile.write(tmp_path / "a.wav", 8000, np.zeros(100, np.int16))
    with pytest.raises(BadInput, match="JSON file for each clip"):
        make_listening_test(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="must hold"):
        ListenSettings(question="which one?")
    lone = [clip for clip in clips if clip.method != "none" or clip.prompt != "prompt 1"]
    with pytest.raises(BadInput, match="has no unsteered clip of 'prompt 1'"):
        choose_trials(lone, ListenSettings(pairs=8, against="unsteered"), "run")


@pytest.mark.parametrize("embed", [True, False])
@pytest.mark.parametrize("match", [True, False])
def test_clips_are_played_at_the_right_level(folder, tmp_path, embed, match):
    made = make_listening_test(folder, tmp_path, ListenSettings(pairs=1, embed=embed, match_loudness=match))
    page = made.page.read_text()
    assert made.megabytes == pytest.approx(len(page.encode()) / 1e6)
    import json

    test = json.loads(re.search(r"const TEST = (.*);\n", page)[1])
    sources = json.loads(re.search(r"const SOURCES = (.*);\n", page)[1])
    key = {t["trial"]: t for t in read_json(made.key)["trials"]}
    assert len(sources) == made.clips
    table = {clip.facts.file for clip in folder_clips(folder)}
    for trial in test["trials"]:
        levels = {}
        for side in trial["pair"]:
            source = sources[side["clip"]]
            data = base64.b64decode(source.split(",")[1]) if embed else (tmp_path / source).read_bytes()
            rate, audio = wavfile.read(io.BytesIO(data))
            assert (rate, audio.dtype) == (8000, np.int16)
            assert 0 < side["gain"] <= 1
            levels[side["clip"]] = rms_dbfs(audio / 32767 * side["gain"])
        fact = key[trial["trial"]]
        assert [s["clip"] for s in trial["pair"]] == (
            [fact["partner_clip"], fact["steered_clip"]]
            if fact["swap"]
            else [fact["steered_clip"], fact["partner_clip"]]
        )
        difference = levels[fact["steered_clip"]] - levels[fact["partner_clip"]]
        real = rms_dbfs_of(folder, table, fact["steered"]) - rms_dbfs_of(folder, table, fact["partner"])
        assert difference == pytest.approx(0 if match else real, abs=0.1)


def rms_dbfs_of(folder, table, file):
    assert file in table
    rate, audio = wavfile.read(folder / file)
    assert rate == 8000
    return rms_dbfs(audio)


def test_methods_without_clips_at_the_coefficient_are_told(folder, tmp_path):
    made = make_listening_test(folder, tmp_path, ListenSettings(coefficient=-1))
    assert made.left_out == ("random",)  # made at 1 alone
    assert (made.against, made.most_heard) == (("none",), 3)  # 18 trials, 8 unsteered clips
    assert "the most-heard clip is heard in 3 trials" in str(made.warning())
    assert make_listening_test(folder, tmp_path, ListenSettings(pairs=1)).left_out == ()


def test_the_same_settings_write_the_same_bytes(folder, tmp_path):
    for name in ("a", "b"):
        make_listening_test(folder, tmp_path / name, ListenSettings(pairs=1))
    for file in ("listen.html", "key.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
