"""What listeners heard: counted, tested against chance, and how far they agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.listened import answers_of, write_clips
from moodlens.core import BadInput, read_json, write_json
from moodlens.judge.answers import analyse_answers, fleiss_kappa, krippendorff_alpha, wilson
from moodlens.judge.listen import make_listening_test
from moodlens.settings.judge import ListenSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


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
