"""`moodlens listen` from end to end, on a run of a tiny random MusicGen."""

import json

import pytest

pytest.importorskip("librosa", reason="needs the extra moodlens[audio]")
from helpers.listened import answers_of
from moodlens.core import read_json


@pytest.fixture(scope="module")
def listening(run, call, tmp_path_factory):
    folder = tmp_path_factory.mktemp("listening")
    assert call("listen", run, "--out", folder / "test", "--coefficient", 2, "--json") == 0
    return folder


def test_answers_as_a_shell_writes_them(moodlens, refused, listening, tmp_path):
    """``--answers *.json`` is one option and more arguments, wherever the test stands; marks at the start are no harm."""
    test = listening / "test"
    key = read_json(test / "key.json")
    names = []
    for i, (who, coding) in enumerate((("Ada", "utf-8"), ("Bea", "utf-8-sig"), ("Céa", "utf-16"))):
        names.append(tmp_path / f"answers-{i}.json")
        names[-1].write_text(
            json.dumps(answers_of(key, who, lambda _: True), ensure_ascii=False), encoding=coding
        )
    for arguments in (
        [test, "--answers", *names],
        ["--answers", *names, test],
        [test, *(part for name in names for part in ("--answers", name))],
        [test / "key.json", "--answers", *names],
    ):
        heard = moodlens("listen", *arguments)
        assert [row["listener"] for row in heard["listeners"]] == ["Ada", "Bea", "Céa"]
    assert "name one listening test" in refused("listen", "--answers", *names)
    assert "answers are given with --answers" in refused("listen", test, names[0])
    names[1].write_text("{")
    assert str(names[1]) in refused("listen", test, "--answers", *names)


def test_head_to_head_and_for_another_program(moodlens, refused, capsys, call, run, tmp_path):
    """As a user: two methods against each other, exported, and what jsPsych saves is read as a table on the terminal."""
    duel = ["--coefficient", 2, "--against", "difference_in_means", "--method", "prompt_editing"]
    made = moodlens("listen", run, "--out", tmp_path / "test", *duel, "--export", "jspsych")
    assert made["against"] == ["difference_in_means"]
    assert made["page"] == str(tmp_path / "test" / "jspsych" / "index.html")
    key = read_json(tmp_path / "test" / "key.json")
    rows = [
        {"moodlens": key["test"], "listener": "Ada", "trial": t["trial"], "asked": asked, "response": response,
         "first": t["steered_clip"], "second": t["partner_clip"], "trial_type": "html-button-response"}
        for t in key["trials"] for asked, response in (("chose", 0), ("better", 1))
    ]  # fmt: skip
    (tmp_path / "ada.json").write_text(json.dumps([{"trial_type": "preload"}, *rows]))
    heard = moodlens("listen", tmp_path / "test", "--answers", tmp_path / "ada.json")
    assert {(c["method"], c["against"], c["share"], c["quality"]["share"]) for c in heard["cells"]} == {
        ("prompt_editing", "difference_in_means", 1, 0)
    }
    capsys.readouterr()
    assert call("listen", tmp_path / "test", "--answers", tmp_path / "ada.json") == 0
    assert "better_ci" in capsys.readouterr().out
    assert call("listen", run, "--out", tmp_path / "many", "--coefficient", 2, "--pairs", 9) == 0
    assert "the most-heard clip is heard in " in capsys.readouterr().err
    assert "export" in refused("listen", run, "--out", tmp_path / "x", "--export", "powerpoint")
    assert "against telepathy: no such clip" in refused(
        "listen", run, "--out", tmp_path / "x", "--coefficient", 2, "--against", "telepathy"
    )
