"""Lists of clips: what another program reads of a run."""

import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from moodlens.cli.app import app
from moodlens.core import BadInput
from moodlens.judge.manifest import write_manifests
from moodlens.settings.steer import DirectionSettings, SteerSettings
from moodlens.steer.run import run_steer


@pytest.fixture(scope="module")
def run(tiny, musicgen, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "steer"
    settings = SteerSettings(
        prompts=("a march", "a slow waltz"),
        emotions=("happy", "sad"),
        methods=("difference_in_means",),
        controls=("random",),
        coefficients=(0.5, 1.0),
        neutral_words=(),
        seconds=0.2,
        directions=DirectionSettings(n_random=2, n_matched=0, n_shuffled=0, n_components=0),
    )
    run_steer(tiny.directions(settings.directions), out, settings, model=musicgen)
    return out


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_clip_stands_in_the_list_of_all_and_in_that_of_its_condition(run, tmp_path):
    made = write_manifests(run, tmp_path / "lists")
    every = lines(tmp_path / "lists" / "clips.jsonl")
    assert made["clips.jsonl"] == len(every) == len(list((run / "clips").glob("*.wav")))
    parts = [lines(tmp_path / "lists" / name) for name in made if name != "clips.jsonl"]
    assert sorted(line["clip_id"] for part in parts for line in part) == sorted(
        line["clip_id"] for line in every
    )
    assert made["none.jsonl"] == 2
    for part in parts:
        assert len({(line["method"], line.get("emotion"), line.get("coefficient")) for line in part}) == 1


def test_a_line_is_as_musegauge_has_it(run, tmp_path):
    write_manifests(run, tmp_path / "lists")
    for line in lines(tmp_path / "lists" / "clips.jsonl"):
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", line["clip_id"])
        assert (tmp_path / "lists" / line["path"]).is_file()
        assert line["prompt"].strip()
        assert line["method"] != "prompt_editing" or line["text"] != line["prompt"]


def test_a_prompt_has_one_number_whatever_was_said_in_its_place(run, tmp_path):
    """So that edited prompts stand beside the clips that they are compared with."""
    write_manifests(run, tmp_path / "lists")
    every = lines(tmp_path / "lists" / "clips.jsonl")
    edited = [line for line in every if line["method"] == "prompt_editing"]
    assert edited
    numbers = {line["prompt"]: line["prompt_id"] for line in every}
    assert len(numbers) == len(set(numbers.values())) == 2
    assert all(line["prompt_id"] == numbers[line["prompt"]] for line in every)


def test_what_is_no_run_or_no_room_is_refused(run, tmp_path):
    with pytest.raises(BadInput, match="not a finished steering run"):
        write_manifests(tmp_path, tmp_path / "lists")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(BadInput, match="is not empty"):
        write_manifests(run, tmp_path / "full")
    said = CliRunner().invoke(app, ["manifest", str(run), "--out", str(tmp_path / "lists"), "--json"])
    assert json.loads(said.stdout)["lists"]["difference_in_means-sad-0.5.jsonl"] == 2


def test_conditions_whose_names_would_be_one_file_are_not_mixed(run, tmp_path):
    """Labels of one's own may differ in a sign that no file name can have."""
    shutil.copytree(run, tmp_path / "run")
    for path in (tmp_path / "run" / "clips").glob("*.json"):
        facts = json.loads(path.read_text())
        if facts["emotion"] is not None:
            facts["emotion"] = {"happy": "rock/pop", "sad": "rock pop"}[facts["emotion"]]
            path.write_text(json.dumps(facts))
    with pytest.raises(BadInput, match="two conditions would have one file"):
        write_manifests(tmp_path / "run", tmp_path / "lists")
    assert not (tmp_path / "lists").exists()
