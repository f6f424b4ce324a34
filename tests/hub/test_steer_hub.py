"""`moodlens steer hub:USER/REPO`: directions of others steer, pinned to a commit, and wrong ones do not."""

import json

import pytest

from helpers.hub_server import USER
from helpers.music_fixtures import *  # noqa: F403
from moodlens.core.files import read_json

REPO = f"{USER}/directions"
FEW = ("--method", "sae_family", "--control", "none", "--emotion", "happy", "--no-judge", "--prompts")


@pytest.fixture
def pushed(hub, cli, study_folder):
    status, out, error = cli("push", study_folder, REPO, "--directions-only", "--json")
    assert (status, error) == (0, "")
    return json.loads(out)["revision"]


def test_directions_of_the_hub_steer(hub, pushed, cli, checkpoint, study_folder, tmp_path):
    assert "Not judged" in hub.repos[REPO].files()["README.md"].decode()
    (tmp_path / "prompts.txt").write_text("a piano melody\n")
    options = (*FEW, tmp_path / "prompts.txt", "--model", checkpoint, "--seconds", 0.2, "--seed", 3, "--json")
    status, out, error = cli("steer", f"hub:{REPO}", "--out", tmp_path / "theirs", *options)
    assert (status, error) == (0, "")
    assert any(pushed in note for note in json.loads(out)["notes"])
    assert any(pushed in note for note in read_json(tmp_path / "theirs" / "run.json")["notes"])
    # The same clips, byte for byte, as from the study itself: keys are hashes of all that decides a clip.
    assert cli("steer", study_folder, "--out", tmp_path / "ours", *options)[0] == 0
    theirs, ours = (read_json(tmp_path / name / "run.json")["clips"] for name in ("theirs", "ours"))
    assert theirs == ours
    for key in ours:
        wavs = [(tmp_path / name / "clips" / f"{key}.wav").read_bytes() for name in ("theirs", "ours")]
        assert wavs[0] == wavs[1]


def test_what_was_changed_on_the_hub_does_not_steer(hub, pushed, cli, checkpoint, tmp_path):
    files = dict(hub.repos[REPO].files())
    content = bytearray(files["directions/directions.safetensors"])
    content[-1] ^= 1
    hub.repos[REPO].commit(files | {"directions/directions.safetensors": bytes(content)})
    out = tmp_path / "clips"
    status, _, error = cli("steer", f"hub:{REPO}", "--out", out, "--model", checkpoint)
    assert (status, error.count("\n")) == (2, 1)
    assert "not the file that its moodlens.json describes" in error
    assert not out.exists()
    assert "--out" in cli("steer", f"hub:{REPO}@{pushed}")[2]
    assert "USER/REPO" in cli("steer", "hub:x", "--out", out)[2]


def test_a_pulled_folder_says_which_part_of_it_steers(pushed, cli, tmp_path):
    folder = tmp_path / "pulled"
    assert cli("pull", REPO, "--out", folder)[0] == 0
    status, _, error = cli("steer", folder, "--out", tmp_path / "clips")
    assert (status, error.count("\n")) == (2, 1)
    assert error.rstrip().endswith(f"; name {folder / 'directions'}")
