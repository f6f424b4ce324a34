"""Studies, tables, SAEs, notes and archives of an attacker: nothing of theirs runs, and nothing is written elsewhere.

Each attack is a folder as it may come from a stranger and the command that someone would give. Outside the folder lies a file
that must stay as it is; code of the attacker would leave a mark.
"""

import gzip
import json
import os
import pickle
import shutil
import sqlite3
import struct
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml

from helpers.clips import put_clip
from helpers.report_study import make_study
from helpers.steer_study import mark_finished
from moodlens.cli.program import call
from moodlens.core.errors import BadInput
from moodlens.judge.clips import run_clips
from moodlens.pipeline import transaction
from moodlens.study.notes import Notes
from moodlens.study.records.selection import SELECTION

MARK = "MARK"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = make_study(tmp_path_factory.mktemp("made") / "study")
    table = pl.read_parquet(folder / "features.parquet")
    declared = [name for name in table.columns if name in SELECTION.columns or name.startswith("rate_")]
    SELECTION.write(folder, table.select(declared))
    return folder


@pytest.fixture
def attack(made, tmp_path, capfd, monkeypatch):
    """Run a command against a folder -> status and standard error, once nothing outside it has changed."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    victim = outside / "victim"
    victim.write_text("mine")
    study = shutil.copytree(made, tmp_path / "in" / "study")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, may_pass: bool = False) -> str:
        capfd.readouterr()
        status = call([str(one) for one in arguments])
        error = capfd.readouterr().err
        assert status in ((0, 2) if may_pass else (2,)), error
        assert error.count("\n") == (1 if status else 0), error
        assert victim.read_text() == "mine"
        assert list((outside / "folder").iterdir()) == []
        assert sorted(path.name for path in outside.iterdir()) == ["folder", "victim"]
        assert not list(tmp_path.rglob(MARK))
        return error

    run.study, run.victim, run.outside = study, victim, outside  # type: ignore[attr-defined]
    return run


class Payload:
    """Unpickled, it leaves a mark."""

    def __reduce__(self):
        return (open, (MARK, "w"))


PICKLED = pickle.dumps(Payload())


def read_all(attack):
    """Everything of the study is read, and its stages vouch for every file as it is."""
    mark_finished(attack.study)
    return attack("inspect", attack.study, "--feature", "0")


def test_what_is_read_without_an_attack(attack):
    mark_finished(attack.study)
    assert attack("inspect", attack.study, "--feature", "0", may_pass=True) == ""


# -- pickles where arrays or weights are read ----------------------------------------------------------------------------


def embeddings(folder: Path) -> Path:
    """The roadmap's layout, harmless."""
    folder.mkdir()
    np.save(folder / "embeddings.npy", np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32))
    np.save(folder / "labels.npy", np.arange(40) % 2)
    (folder / "metadata.json").write_text(json.dumps({"emotions": ["happy", "sad"]}))
    return folder


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
    assert "shard 0 is listed wrongly" in read_all(attack)


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


# -- archives, bombs and headers that lie --------------------------------------------------------------------------------


def test_a_packed_table_that_fills_the_machine(attack, tmp_path, monkeypatch):
    from moodlens.prompts import cells

    monkeypatch.setattr(cells, "LARGEST_UNPACKED", 100_000)
    path = tmp_path / "in" / "t.csv.gz"
    path.write_bytes(gzip.compress(b"text\n" + b"a" * 10_000_000))
    assert "unpacks to more than" in attack("prompts", path, "--out", "new", "--text-column", "text")
    monkeypatch.setattr(cells, "LARGEST_ROWS", 1000)
    pl.DataFrame({"text": ["a"] * 2000}).write_parquet(tmp_path / "in" / "t.parquet")
    assert "says that it has 2,000 rows" in attack(
        "prompts", tmp_path / "in" / "t.parquet", "--out", "new", "--text-column", "text"
    )


def test_an_archive_in_place_of_a_table(attack, tmp_path):
    import zipfile

    path = tmp_path / "in" / "t.csv"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside/victim", "theirs")
    assert "unpack it" in attack("prompts", path, "--out", "new", "--text-column", "text")


def header(value: object, *, length: int | None = None, data: bytes = b"") -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.mark.parametrize(
    "content",
    [
        header({}, length=2**63),
        header({"W_enc": {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 16]}}, data=bytes(16)),
        header({"W_enc": {"dtype": "F32", "shape": [2, 2], "data_offsets": [-16, 0]}}, data=bytes(16)),
        header({"W_enc": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 2**40]}}, data=bytes(16)),
        header({"__metadata__": {"format": "pt"}, "../../victim": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, data=bytes(4)),
        b"",
    ],
)  # fmt: skip
def test_headers_of_safetensors_that_lie(attack, content):
    for place in ("sae/main/sae_weights.safetensors", "embeddings/00000.safetensors"):
        kept = (attack.study / place).read_bytes()
        (attack.study / place).write_bytes(content)
        read_all(attack)
        (attack.study / place).write_bytes(kept)


@pytest.mark.parametrize(
    "text",
    [
        f"{{'descr': __import__('os').system('touch {MARK}'), 'fortran_order': False, 'shape': (2, 2)}}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 8)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 8)}",
        "[" * 5000,
    ],
)
def test_headers_of_arrays_that_lie(attack, tmp_path, text):
    folder = embeddings(tmp_path / "in" / "roadmap")
    content = text.encode() + b"\n"
    (folder / "embeddings.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content + bytes(64)
    )
    attack("probe", folder)


def test_a_tokenizer_and_an_sae_that_name_files_elsewhere(attack):
    path = attack.study / "sae" / "main" / "cfg.json"
    value = json.loads(path.read_text())
    for changes in (
        {"architecture": "../../victim"},
        {"metadata": {"weights_sha256": ["x"]}},
        {"d_in": -1},
    ):
        path.write_text(json.dumps(value | changes))
        read_all(attack)


def test_labels_that_are_paths(attack, tmp_path):
    """Labels name rows, never files: with them a study is written where it belongs."""
    labels = ("../../outside/victim", "/etc/passwd")
    folder = make_study(tmp_path / "in" / "labels", labels)
    attack("report", folder, may_pass=True)
    from moodlens.report import render
    from moodlens.study.study import Study

    render(Study(folder))
    assert attack.victim.read_text() == "mine"
    assert yaml.safe_load((folder / "study.yaml").read_text())["emotions"] == list(labels)
