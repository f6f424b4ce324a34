"""The music verbs from end to end, on a tiny random MusicGen: steer, judge, listen."""

import json
import sys

import pytest

from moodlens.cli import main as entry


@pytest.fixture
def moodlens(capsys, monkeypatch):
    """Run a verb with --json -> its one object."""

    def run(*arguments) -> dict:
        monkeypatch.setattr(sys, "argv", ["moodlens", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as stop:
            entry()
        said = capsys.readouterr()
        assert stop.value.code == 0, said.err
        return json.loads(said.out)

    return run


@pytest.mark.slow
def test_steer_judge_and_listen(moodlens, study_folder, checkpoint, tmp_path):
    clips = tmp_path / "clips"
    options = [
        "--seconds",
        1,
        "--seed",
        0,
        "--coefficient",
        1,
        "--method",
        "difference_in_means",
        "--control",
        "random",
    ]
    made = moodlens("steer", study_folder, "--out", clips, "--model", checkpoint, *options)
    assert made["made"] == made["n_clips"] > 0
    assert made["results"]["rows"]
    again = moodlens("steer", study_folder, "--out", clips, "--model", checkpoint, *options, "--no-judge")
    assert again["made"] == 0
    assert moodlens("judge", clips)["rows"] == made["results"]["rows"]
    test = moodlens("listen", clips, "--out", tmp_path / "test")
    assert test["trials"] > 0
    assert (tmp_path / "test" / "listen.html").is_file()
