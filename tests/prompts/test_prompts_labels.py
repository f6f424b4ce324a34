"""Labels of users' tables: one however it is spelled, missing where it is missing."""

import re

import pytest

from helpers.tables import labelled, read, refused, write
from moodlens.prompts.labels import in_order
from moodlens.settings.study import Settings


@pytest.mark.parametrize(
    ("spellings", "label", "named"),
    [
        (["happy", "Happy", "HAPPY", "happy"], "happy", ("HAPPY", "Happy")),
        (["Happy", "Happy", "happy"], "Happy", ("happy",)),
        (["happy", " happy ", "happy\u00a0"], "happy", ()),
        (
            ["\ufeffhappy", "happy\u200b", "hap\u00adpy"],
            "happy",
            ("happy\\u200b", "hap\\xadpy", "\\ufeffhappy"),
        ),
        (["fröhlich", "fro\u0308hlich"], "fröhlich", ("fro\\u0308hlich",)),
        (["very happy", "Very  Happy", "very happy"], "very happy", ("Very  Happy",)),
        (["so happy", "so\nhappy", "so happy"], "so happy", ("so\\nhappy",)),
        (["ｈａｐｐｙ", "happy"], "happy", ("ｈａｐｐｙ",)),
        (["1", "1.0", "1.00"], "1", ("1.0", "1.00")),
        (["True", "TRUE", "true", "true"], "true", ("TRUE", "True")),
        (["STRASSE", "Straße", "Straße"], "Straße", ("STRASSE",)),
        (
            ["\u202ahappy\u202c", "\u2067happy\u2069", "happy", "happy"],
            "happy",
            ("\\u202ahappy\\u202c", "\\u2067happy\\u2069"),
        ),
        (["\u2764\ufe0f", "\u2764", "\u2764\ufe0f"], "\u2764\ufe0f", ("\u2764",)),
        (
            ["می\u200cخواهم", "میخواهم", "میخواهم"],
            "میخواهم",
            ("\\u0645\\u06cc\\u200c\\u062e\\u0648\\u0627\\u0647\\u0645",),
        ),
        (["İYİ", "iyi", "iyi"], "iyi", ("İYİ",)),
        (["KIZGIN", "kızgın", "kızgın"], "kızgın", ("KIZGIN",)),
    ],
)
def test_a_label_is_one_however_it_is_spelled(tmp_path, spellings, label, named):
    frame, report = read(write(tmp_path / "mine.csv", labelled([*spellings, "other"])))
    assert frame["emotion"].to_list() == [label] * len(spellings) + ["other"]
    assert report.labels_merged == ({label: named} if named else {})
    assert all(f"{other}" in report.line for other in named)


MISSING = ["", " ", "None", "N/A", "n/a", "NA", "NULL", "null", "nan", "NaN", "<NA>", "#N/A", "-", "--", "—", "?", ".", "(none)", "unknown", "Undefined", "\\N"]  # fmt: skip


@pytest.mark.parametrize("word", MISSING)
def test_missing_is_missing(tmp_path, word):
    frame, report = read(write(tmp_path / "mine.csv", labelled(["happy", "sad", word])))
    assert frame["emotion"].to_list() == ["happy", "sad", None]
    assert report.n_without_label == 1
    assert "1 without a label" in report.line


def test_a_study_that_lists_such_a_word_means_it(tmp_path):
    path = write(tmp_path / "mine.csv", labelled(["None", "sad", "Neutral", "NA"]))
    frame, _ = read(path, emotions=("none", "sad", "neutral"))
    assert frame["emotion"].to_list() == ["none", "sad", "neutral", None]
    assert frame["kind"].to_list() == ["plain", "plain", "plain", "unlabelled"]


def test_neutral_texts_have_no_emotion(tmp_path):
    frame, report = read(write(tmp_path / "mine.csv", labelled(["happy", "Neutral", "sad", "neutral"])))
    assert frame["emotion"].to_list() == ["happy", None, "sad", None]
    assert frame["kind"].to_list() == ["plain", "neutral", "plain", "neutral"]
    assert "2 neutral" in report.line
    path = write(tmp_path / "two.csv", labelled(["happy", "neutral"]))
    refused(path, "column 'mood' holds 1 different label (happy) beside neutral; 2 to 50 are needed")


@pytest.mark.parametrize("word", ["mean", "Mean"])
def test_words_of_results_are_no_labels(tmp_path, word):
    says = f"{word!r} cannot be a label, since results call the mean over all emotions so; rename it"
    refused(write(tmp_path / "mine.csv", labelled(["happy", word])), f"column 'mood': {says}")
    with pytest.raises(ValueError, match=says):
        Settings(emotions=("happy", word))


@pytest.mark.parametrize(
    ("emotions", "says"),
    [
        (("happy", "Happy"), "'happy' and 'Happy' are one label"),
        (("happy", " \ufeff"), "a label is blank"),
        (("happy", "(none)"), "cannot be a label"),
    ],
)
def test_settings_refuse_labels_that_are_none(emotions, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        Settings(emotions=emotions)


def test_the_spelling_of_the_study_counts(tmp_path):
    path = write(tmp_path / "mine.csv", labelled(["HAPPY", "HAPPY", "Sad", "sad"]))
    frame, _ = read(path, emotions=("Happy", "SAD", "calm"))
    assert frame["emotion"].to_list() == ["Happy", "Happy", "SAD", "SAD"]
    refused(
        path,
        "labels not among the study's emotions: HAPPY (row 1, column 'mood'); they are sad, calm",
        emotions=("sad", "calm"),
    )


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["happy", "happy.", "sad"], "1 label of column 'mood' differs from another in punctuation alone ('happy' and 'happy.'); write"),
        (["high energy", "high-energy", "high_energy"], "2 labels of column 'mood' differ from another in punctuation alone ('high energy' and 'high-energy')"),
        (["'happy'", "happy", "sad"], "differs from another in punctuation alone (\"'happy'\" and 'happy')"),
        (["-1", "1", "+1"], None),
        (["0.5", "05", "5"], None),
        (["😀", "😢", "?!"], None),
        (["so happy", "happy so"], None),
    ],
)  # fmt: skip
def test_labels_that_punctuation_alone_tells_apart_stay_and_are_told(tmp_path, labels, says):
    frame, report = read(write(tmp_path / "mine.csv", labelled(labels)))
    assert frame["emotion"].to_list() == labels
    assert not report.remarks if says is None else says in report.line


def test_a_table_of_one_label_is_enough_for_a_study_that_has_others(tmp_path):
    path = write(tmp_path / "mine.csv", labelled(["happy"] * 3))
    assert set(read(path, emotions=("happy", "sad"))[0]["emotion"]) == {"happy"}
    refused(path, "column 'mood' holds 1 different label (happy); 2 to 50 are needed")
    refused(write(path, labelled(["", "-"])), "0 different labels", emotions=("happy", "sad"))


def test_too_many_labels(tmp_path):
    read(write(tmp_path / "mine.csv", labelled([f"mood {i}" for i in range(50)])))
    refused(
        write(tmp_path / "mine.csv", labelled([f"mood {i}" for i in range(51)])),
        "holds 51 different labels (mood 0, mood 1,",
    )


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        (["10", "9", "0", "2"], ["0", "2", "9", "10"]),
        (["-1", "1", "0.5"], ["-1", "0.5", "1"]),
        (["mood 10", "mood 9", "Mood 1"], ["Mood 1", "mood 9", "mood 10"]),
        (["true", "false"], ["false", "true"]),
        (["1", "happy", "10", "2", "²"], ["1", "2", "10", "happy", "²"]),
    ],
)
def test_labels_in_their_natural_order(labels, ordered):
    assert in_order(labels) == ordered
