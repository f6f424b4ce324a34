import base64
import io
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile

from helpers.clips import put_clip
from moodlens.core import BadInput, read_json, write_json
from moodlens.judge.answers import analyse_answers, fleiss_kappa, krippendorff_alpha, wilson
from moodlens.judge.clips import folder_clips
from moodlens.judge.listen import make_listening_test
from moodlens.judge.trials import choose_trials, most_heard
from moodlens.settings.judge import ListenSettings
from moodlens.steer.clips import rms_dbfs

EMOTIONS = ("happy", "sad", "calm")
METHODS = ("sae_family", "difference_in_means", "prompt_editing", "random")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """4 prompts x 2 seeds; a steered clip is louder, one goes beyond full scale."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(1)
    for p in range(4):
        for seed in range(2):
            made = [("none", None, None, 0.0)]
            for e in EMOTIONS:
                made += [(m, f"{m}/{e}", e, c) for m in METHODS[:2] for c in (-1.0, 1.0)]
                made.append(("prompt_editing", None, e, None))
            made += [("random", f"random/{i:02d}", None, 1.0) for i in range(3)]
            for i, (method, direction, emotion, coefficient) in enumerate(made):
                audio = (0.05 if method == "none" else 0.4) * rng.standard_normal(800).astype(np.float32)
                facts = {"prompt": f"prompt {p}", "text": "t", "method": method, "direction": direction,
                         "emotion": emotion, "coefficient": coefficient, "seed": seed}  # fmt: skip
                put_clip(folder, f"{p}-{seed}-{i:02d}", audio[None], 8000, **facts)
    return folder


@pytest.fixture(scope="module")
def clips(folder):
    return [clip.facts for clip in folder_clips(folder)]


def answers_of(key, listener, steered, *, skip=()):
    """A listener who takes the steered clip where ``steered(trial)``."""
    items = []
    for t in key["trials"]:
        if t["trial"] in skip:
            continue
        two = [t["partner_clip"], t["steered_clip"]] if t["swap"] else [t["steered_clip"], t["partner_clip"]]
        chose = t["steered_clip"] if steered(t) else t["partner_clip"]
        items.append({"trial": t["trial"], "first": two[0], "second": two[1], "chose": chose})
    return {
        "format": key["format"],
        "version": 1,
        "test": key["test"],
        "listener": listener,
        "answers": items,
    }


# -- the choice of trials --------------------------------------------------------------------------------------------------


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


# -- the page --------------------------------------------------------------------------------------------------------------


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


# -- the analysis ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("test")
    make_listening_test(folder, out, ListenSettings(pairs=4, repeats=6, against="unsteered"))
    return read_json(out / "key.json") | {"folder": out}


def send(tmp_path, *values):
    files = []
    for i, value in enumerate(values):
        files.append(tmp_path / f"{i}.json")
        write_json(files[-1], value)
    return files


def test_what_listeners_hear_is_counted(key, tmp_path):
    rng = np.random.default_rng(3)
    known = {"sae_family": 1.0, "difference_in_means": 0.75, "prompt_editing": 1.0, "random": 0.5}
    drawn = {}

    def hears(listener):
        def choice(t):
            at = (listener, t["repeat"] or t["trial"])  # a repeat is answered as the first time
            return drawn.setdefault(at, rng.random() < known[t["method"]])

        return choice

    files = send(tmp_path, *(answers_of(key, f"l{i}", hears(i)) for i in range(6)))
    found = analyse_answers(files, key["folder"])
    assert (found.n_listeners, found.n_answers, found.n_trials) == (6, 6 * 48, 48)
    by_method = {row.method: row for row in found.methods}
    assert by_method["sae_family"].share == 1
    assert by_method["sae_family"].n == 72
    assert by_method["sae_family"].p == pytest.approx(2 * 0.5**72)
    assert by_method["sae_family"].trials.n == 12
    assert by_method["sae_family"].trials.p == pytest.approx(2 * 0.5**12)
    assert by_method["sae_family"].beyond_controls < 1e-6
    assert by_method["random"].control
    assert by_method["random"].beyond_controls is None
    assert by_method["random"].p > 0.01
    low, high = by_method["difference_in_means"].ci
    assert low < 0.75 < high
    cells = {(row.method, row.emotion): row for row in found.cells}
    assert len(cells) == 12
    assert cells["sae_family", "calm"].n == 24
    assert all(row.q >= row.p for row in found.cells)
    assert (found.consistency.n, found.consistency.alike) == (36, 36)
    assert 0 < found.agreement.krippendorff_alpha < 1
    # Everyone answered everything: alpha is kappa but for its correction of small samples.
    assert found.agreement.krippendorff_alpha == pytest.approx(found.agreement.fleiss_kappa, abs=0.01)
    assert found.first_side.p > 0.001


def test_someone_who_always_takes_the_first_is_seen(key, tmp_path):
    files = send(tmp_path, answers_of(key, "lazy", lambda t: not t["swap"]))
    found = analyse_answers(files, key["folder"])
    assert found.first_side.share == 1
    assert found.consistency.share == 0  # repeats have their sides swapped
    assert all(row.share == 0.5 for row in found.methods)  # balanced sides: no method gains by it
    assert found.agreement.fleiss_kappa is None


def test_unfinished_answers_count_as_far_as_they_go(key, tmp_path):
    skip = {t["trial"] for t in key["trials"][::2]}
    files = send(
        tmp_path,
        answers_of(key, "a", lambda t: True, skip=skip),
        answers_of(key, "b", lambda t: t["method"] != "random"),
    )
    found = analyse_answers(files, key["folder"] / "key.json")
    assert found.n_answers == 24 + 48
    assert [row.n for row in found.listeners] == [24, 48]


def test_one_file_twice_counts_once(key, tmp_path):
    value = answers_of(key, "a", lambda t: True)
    files = send(tmp_path, value, value)
    assert analyse_answers(files, key["folder"]).n_answers == 48
    # Saved before the end, and again at the end: the whole counts.
    part = answers_of(key, "A ", lambda t: True, skip={key["trials"][0]["trial"]})
    for files in (send(tmp_path, part, value), send(tmp_path, value, part)):
        assert analyse_answers(files, key["folder"]).n_answers == 48
    with pytest.raises(BadInput, match="with other answers; keep one"):
        analyse_answers(send(tmp_path, value, answers_of(key, "a", lambda t: False)), key["folder"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: v | {"format": "x"}, "not answers of a listening test"),
        (lambda v: v | {"test": "0"}, "answers to another test"),
        (lambda v: v | {"answers": [*v["answers"], v["answers"][0]]}, "answered twice"),
        (lambda v: v | {"answers": [{**v["answers"][0], "trial": "t999"}]}, r"answers\[0\]: names no trial"),
        (lambda v: v | {"answers": [{**v["answers"][0], "chose": "c999"}]}, "not those of trial"),
        (lambda v: v | {"answers": []}, "no answer at all"),
        (lambda v: v | {"answers": {}}, r"not answers of a listening test \(answers: "),
        (lambda v: v | {"answers": ["t000"]}, r"not answers of a listening test \(answers.0: "),
        (lambda v: v | {"answers": [{**v["answers"][0], "first": ["c000"]}]}, r"\(answers.0.first: "),
        (lambda v: v | {"listener": 7}, r"\(listener: "),
        (lambda v: [v], "no row of jsPsych's data that answers a trial"),
        (lambda v: "text", "all of it"),
    ],
)
def test_bad_answers_name_the_file(key, tmp_path, spoil, message):
    files = send(tmp_path, spoil(answers_of(key, "a", lambda t: True)))
    with pytest.raises(BadInput, match=message):
        analyse_answers(files, key["folder"])


def test_no_files_or_no_key(key, tmp_path):
    with pytest.raises(BadInput, match="no files"):
        analyse_answers([], key["folder"])
    write_json(tmp_path / "key.json", {})
    with pytest.raises(BadInput, match=r"key\.json: not a ListeningKey"):
        analyse_answers([], tmp_path)


# -- head to head ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def duel(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("duel")
    settings = ListenSettings(
        pairs=4, repeats=0, against="difference_in_means", methods=("sae_family", "prompt_editing")
    )
    made = make_listening_test(folder, out, settings)
    assert made.against == ("difference_in_means",)
    return read_json(out / "key.json") | {"folder": out}


def test_two_methods_meet_head_to_head(duel, tmp_path):
    """Both clips are steered towards the emotion that is asked for; quality is asked besides and stands beside it."""
    assert {(t["method"], t["against"]) for t in duel["trials"]} == {
        ("sae_family", "difference_in_means"),
        ("prompt_editing", "difference_in_means"),
    }
    sent = []
    for name in ("a", "b", "c"):
        value = answers_of(duel, name, lambda t: t["emotion"] != "sad")
        for item, t in zip(value["answers"], duel["trials"], strict=True):
            item["better"] = t["partner_clip"] if t["method"] == "sae_family" else t["steered_clip"]
        sent.append(value)
    found = analyse_answers(send(tmp_path, *sent), duel["folder"])
    cells = {(cell.method, cell.emotion): cell for cell in found.cells}
    assert {cell.against for cell in found.cells} == {"difference_in_means"}
    won, lost = cells["sae_family", "happy"], cells["sae_family", "sad"]
    assert (won.n, won.share, won.ci, won.p) == (12, 1, wilson(12, 12), pytest.approx(2 * 0.5**12))
    assert (lost.share, lost.p) == (0, pytest.approx(2 * 0.5**12))  # two-sided: a loss counts as well
    assert (won.trials.n, won.trials.share) == (4, 1)
    assert won.quality is not None
    assert (won.quality.n, won.quality.share, won.quality.p) == (12, 0, pytest.approx(2 * 0.5**12))
    assert {row.method: row.quality and row.quality.share for row in found.methods} == {
        "sae_family": 0,
        "prompt_editing": 1,
    }
    assert all(row.beyond_controls is None for row in found.methods)  # there is no control to be beyond


def test_quality_is_asked_where_it_is_asked_for(key, duel, tmp_path):
    assert not ListenSettings().asks_quality
    assert not ListenSettings(against="random").asks_quality
    assert ListenSettings(quality=True).asks_quality
    assert ListenSettings(against="linear_probe").asks_quality
    assert not ListenSettings(against="linear_probe", quality=False).asks_quality
    found = analyse_answers(send(tmp_path, answers_of(key, "a", lambda t: True)), key["folder"])
    assert all(cell.quality is None for cell in found.cells)
    value = answers_of(duel, "a", lambda t: True)
    value["answers"][0]["better"] = "c999"
    with pytest.raises(BadInput, match="its clips are not those of trial"):
        analyse_answers(send(tmp_path, value), duel["folder"])


# -- agreement ---------------------------------------------------------------------------------------------------------------


def test_fleiss_kappa_of_the_paper_s_kind_of_table():
    """The worked example of the Wikipedia article on Fleiss' kappa: 10 subjects, 14 raters, 5 categories."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([[2, 0], [0, 2]]) == 1
    assert fleiss_kappa([[1, 0]]) is None
    assert fleiss_kappa([[2, 0], [2, 0]]) is None
    assert fleiss_kappa([]) is None


def test_krippendorff_alpha_of_its_own_example():
    """Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, example C: nominal alpha 0.743."""
    rows = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    units = [[v for v in column if v != "."] for column in zip(*(row.split() for row in rows), strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha([[1, 1], [0, 0]]) == 1
    assert krippendorff_alpha([[1], [0]]) is None
    assert krippendorff_alpha([[1, 1]]) is None


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_by_its_formula(kn):
    k, n = kn
    z, p = 1.959963984540054, k / n
    middle, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)),
    )
    np.testing.assert_allclose(wilson(k, n), (middle - half, middle + half), atol=1e-9)
    assert wilson(0, 0) == (0, 1)
