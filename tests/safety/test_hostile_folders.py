"""Studies, tables, SAEs, notes and archives of an attacker: nothing of theirs runs, and nothing is written elsewhere.

Each attack is a folder as it may come from a stranger and the command that someone would give. Outside the folder lies a file
that must stay as it is; code of the attacker would leave a mark.
"""

import json
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from helpers.attacks import MARK, PICKLED, Payload, embeddings, read_all
from helpers.clips import put_clip
from helpers.steer_study import mark_finished
from moodlens.core.errors import BadInput
from moodlens.judge.clips import run_clips
from moodlens.pipeline import transaction
from moodlens.study.notes import Notes


def test_what_is_read_without_an_attack(attack):
    mark_finished(attack.study)
    assert attack("inspect", attack.study, "--feature", "0", may_pass=True) == ""


# -- pickles where arrays or weights are read ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["embeddings.npy", "labels.npy"])
def test_pickled_arrays(attack, tmp_path, name):
    folder = embeddings(tmp_path / "in" / "roadmap")
    np.save(folder / name, np.array([Payload()] * 40, dtype=object), allow_pickle=True)
    assert "pickle" in attack("probe", folder)
    (folder / name).write_bytes(PICKLED)
    attack("probe", folder)


@pytest.mark.parametrize("place", ["sae/main/sae_weights.safetensors", "embeddings/00000.safetensors"])
def test_pickles_in_place_of_safetensors(attack, place):
    (attack.study / place).write_bytes(PICKLED)
    read_all(attack)
    torch.save(Payload(), attack.study / place)
    read_all(attack)


def test_a_pickled_checkpoint_of_an_encoder(attack, tmp_path):
    folder = tmp_path / "in" / "t5"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8}))
    (folder / "tokenizer.json").write_text("{}")
    torch.save({"shared.weight": Payload()}, folder / "pytorch_model.bin")
    table = tmp_path / "in" / "t.csv"
    pl.DataFrame({"text": ["a sad song", "a happy song"] * 9, "mood": ["sad", "happy"] * 9}).write_csv(table)
    options = ("--text-column", "text", "--label-column", "mood", "--set", f"encoder.id=t5:{folder}")
    attack("embed", table, "--out", tmp_path / "in" / "new", *options)


@pytest.mark.parametrize("verb", ["steer", "judge"])
def test_code_that_a_checkpoint_brings(attack, tmp_path, verb):
    folder = tmp_path / "in" / "model"
    folder.mkdir()
    auto = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto}))
    (folder / "evil.py").write_text(f"open({MARK!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    if verb == "steer":
        attack("steer", attack.study, "--out", tmp_path / "in" / "clips", "--model", folder)
        return
    (tmp_path / "in" / "sounds").mkdir()
    put_clip(tmp_path / "in" / "sounds", "a", np.zeros((1, 16000)), 16000)
    attack("judge", tmp_path / "in" / "sounds", "--clap", folder)


# -- settings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"name: !!python/object/apply:os.system ['touch {MARK}']",
        "name: !!python/object/new:type [x, !!python/tuple [], {__init__: !!python/name:exec }]",
        f"? !!python/object/apply:builtins.open ['{MARK}', 'w']\n: 1",
        "name: !!python/module:os",
    ],
)
def test_tags_of_yaml(attack, text):
    (attack.study / "study.yaml").write_text(text)
    attack("report", attack.study)
    attack("run", "--out", "new", "--set", text.replace("name: ", "name=").replace("? ", "name="))


def test_names_are_given_to_no_shell(attack, tmp_path):
    name = f"$(touch {MARK})`touch {MARK}`;touch {MARK}|touch {MARK}.csv"
    (tmp_path / "in" / name).write_text("text,mood\na,b\n")
    attack("prompts", tmp_path / "in" / name, "--out", tmp_path / "in" / "new", "--text-column", "nothing")
    attack("prompts", tmp_path / "in" / "|touch MARK.csv", "--out", "new", "--text-column", "text")


# -- files that name other files -----------------------------------------------------------------------------------------


def plant(folder: Path, value: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "gone.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    "name", ["../../outside/victim", "ABSOLUTE", "sae/../../../outside/victim", 7, "a\0b"]
)
def test_a_commit_that_removes_files_elsewhere(attack, name):
    plant(attack.study / ".commit", [str(attack.victim) if name == "ABSOLUTE" else name])
    attack("verify", attack.study)
    attack("run", "--out", attack.study)


def test_a_stage_that_calls_a_file_elsewhere_its_own(attack):
    stamp = {"size": 4, "mtime_ns": 0, "sha256": "0" * 64}
    record = {"key": "k", "needs": {}, "inputs": {}, "seconds": 1, "began": 0}
    record["files"] = {"../../outside/victim": stamp, str(attack.victim): stamp}
    (attack.study / ".stages").mkdir(exist_ok=True)
    (attack.study / ".stages" / "prompts.json").write_text(json.dumps(record))
    # What a stage wrote and no longer writes is removed where a run takes effect.
    transaction.begin(attack.study, "name: other")
    transaction.commit(attack.study)
    assert "../outside" not in attack("verify", attack.study, may_pass=True)


def test_a_manifest_that_names_a_shard_elsewhere(attack):
    path = attack.study / "embeddings" / "manifest.json"
    value = json.loads(path.read_text())
    value["shards"][0]["file"] = "../../../outside/victim"
    path.write_text(json.dumps(value))
    assert "shard 0 is '../../../outside/victim', not '00000.safetensors'" in read_all(attack)


def test_a_steering_run_that_names_clips_elsewhere(attack, tmp_path):
    folder = tmp_path / "in" / "clips"
    (folder / "clips").mkdir(parents=True)
    from moodlens.settings.steer import SteerSettings
    from moodlens.study.records.steer import Checkpoint, SteerRun

    run = SteerRun(
        settings=SteerSettings(), notes=(), clips=(),
        model=Checkpoint(model="m", revision="r", dtype="float32", device="cpu"),
    )  # fmt: skip
    run.write(folder)
    value = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(value | {"clips": ["../../../outside/victim"]}))
    with pytest.raises(BadInput, match=r"clips\.0"):
        run_clips(folder)
    attack("judge", folder)
    attack("listen", folder, "--out", tmp_path / "in" / "test")


# -- links ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["report.html", "verdict.json", "study.yaml", "notes.db", ".lock", "figures/circumplex.png"]
)
def test_a_link_to_a_file_elsewhere(attack, place):
    path = attack.study / place
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(attack.victim)
    for command in (
        ("run", "--out", attack.study),
        ("report", attack.study),
        ("explore", attack.study, "--export", "x.html"),
    ):
        # A settings file is read before its folder is looked at, and what the link points to is none.
        assert ("link that leads out" in attack(*command)) or place == "study.yaml"
    assert "link that leads out" in attack("inspect", attack.study, "--feature", "0", "--record")


@pytest.mark.parametrize("place", ["sae", "sae/seed-1", ".next", ".commit", ".stages", "embeddings", "track"])
def test_a_link_to_a_folder_elsewhere(attack, place):
    path = attack.study / place
    if path.exists():
        shutil.rmtree(path)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(attack.outside / "folder", target_is_directory=True)
    assert "link that leads out" in attack("run", "--out", attack.study)
    assert "link that leads out" in attack("norms", attack.study, "norms.csv")


def test_a_link_under_a_folder_of_clips(attack, tmp_path):
    folder = tmp_path / "in" / "clips"
    folder.mkdir()
    (folder / "clips").symlink_to(attack.outside / "folder", target_is_directory=True)
    (folder / "run.json").write_text("{}")
    assert "link that leads out" in attack("judge", folder)


def test_links_that_stay_inside_and_a_linked_study_are_no_harm(made, tmp_path):
    from moodlens.core.inside import refuse_links

    copy = shutil.copytree(made, tmp_path / "copy")
    os.symlink("verdict.json", copy / "again.json")
    (tmp_path / "link").symlink_to(copy, target_is_directory=True)
    refuse_links(copy)
    refuse_links(tmp_path / "link")


# -- notes ---------------------------------------------------------------------------------------------------------------

TABLE = "CREATE TABLE readings (id INTEGER PRIMARY KEY AUTOINCREMENT, feature, sae, name, clarity, note, author, time)"


@pytest.mark.parametrize(
    "script",
    [
        f"{TABLE}; CREATE TRIGGER t AFTER INSERT ON readings BEGIN DELETE FROM readings; END;",
        "CREATE TABLE x (a); CREATE VIEW readings AS SELECT 1 id, 1 feature, load_extension('evil.so') sae, '' name,"
        " 'clear' clarity, '' note, '' author, '' time FROM x;",
        "CREATE VIRTUAL TABLE readings USING fts5(feature, sae, name, clarity, note, author, time);",
        f"{TABLE}; CREATE INDEX i ON readings (abs(feature));",
        f"{TABLE}; INSERT INTO readings VALUES (1, 0, x'80046e2e', x'00', 'clear', '', '', '');",
        f"{TABLE}; INSERT INTO readings VALUES (1, 'seven', 's', 'n', 'clear', '', '', '');",
        "CREATE TABLE readings (a);",
    ],
)
def test_notes_that_would_do_something(attack, script):
    path = attack.study / "notes.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.executescript(script)
    connection.close()
    assert "cannot use as notes" in read_all(attack)
    before = path.read_bytes()
    if "INSERT INTO" not in script and "(a)" not in script:
        with pytest.raises(BadInput, match="cannot use as notes"):
            Notes(path).add(1, sae="s", name="n", clarity="clear")
        assert path.read_bytes() == before


def test_notes_that_are_a_pickle(attack):
    (attack.study / "notes.db").write_bytes(PICKLED)
    assert "cannot use as notes" in read_all(attack)
