"""A command takes effect as a whole or not at all; what is stale, broken or busy is never believed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moodlens.core.errors import BadInput
from moodlens.core.files import read_json
from moodlens.embed import write_precomputed
from moodlens.pipeline import transaction
from moodlens.pipeline.opened import OpenStudy, stage_states
from moodlens.pipeline.run import run
from moodlens.settings.study import Table, read_study
from moodlens.study.state import read_states


@pytest.fixture
def copy(small_study, tmp_path):
    return Path(shutil.copytree(small_study, tmp_path / "copy"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("change", "until", "says"),
    [
        ("encoder.id=t5:no/such-model", "probe", "no/such-model"),
        ("prompts.tables=[{path: /nowhere/own.csv, text_column: text}]", "prompts", "own.csv"),
        (
            "transfer=[{path: /nowhere/new.csv, text_column: text, emotion_column: mood}]",
            "transfer",
            "new.csv",
        ),
        ("sae.learning_rate=1e15", "train", "finite|diverged"),
    ],
)
def test_what_fails_leaves_the_study_as_it_was(copy, small_settings, change, until, says):
    before = content(copy)
    with pytest.raises(BadInput, match=says):
        run(read_study(small_settings, [change]), copy, until=until)
    assert content(copy) == before
    assert all(each.state == "done" for each in stage_states(copy).values())


def test_a_fresh_study_that_fails_at_once_leaves_no_folder(small_settings, tmp_path):
    change = "prompts.tables=[{path: /nowhere/own.csv, text_column: text}]"
    with pytest.raises(BadInput, match=r"own\.csv"):
        run(read_study(small_settings, [change]), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_new_settings_take_effect_when_the_last_stage_is_done(copy, small_settings):
    weights = (copy / "sae/main/sae_weights.safetensors").read_bytes()
    run(read_study(small_settings, ["seed=3", "seeds=1"]), copy, until="train")
    assert OpenStudy.open(copy).settings.seed == 3
    assert (copy / "sae/main/sae_weights.safetensors").read_bytes() != weights
    names = ["bootstrap-1", "main", "narrow-1", "narrow-2", "seed-1"]
    assert sorted(path.name for path in (copy / "sae").iterdir()) == names
    assert not (copy / transaction.NEXT).exists()
    assert not (copy / transaction.COMMIT).exists()
    states = {name: each.state for name, each in stage_states(copy).items()}
    assert states["train"] == "done"
    assert states["features"] != "done"
    with pytest.raises(BadInput, match="moodlens features"):
        OpenStudy.open(copy).require("features")


def test_old_families_are_not_read_with_a_new_sae(copy, small_settings):
    run(read_study(small_settings, ["sae.epochs=2"]), copy, until="train")
    with pytest.raises(BadInput, match=r"was made for other settings.*moodlens features"):
        OpenStudy.open(copy).score(["a happy tune"])
    with pytest.raises(BadInput, match="moodlens features"):
        OpenStudy.open(copy).inspect()


def test_what_was_finished_before_a_failure_is_used_by_the_next_run(copy, small_settings, monkeypatch):
    from moodlens.pipeline import stages

    changes = ["sae.epochs=2"]

    def broken(study, settings, progress):
        raise BadInput("no")

    from dataclasses import replace

    cut = tuple(replace(each, work=broken) if each.name == "stability" else each for each in stages.STAGES)
    monkeypatch.setattr(stages, "STAGES", cut)
    monkeypatch.setattr(transaction, "WORTH_KEEPING", 0.0)
    before = content(copy)
    with pytest.raises(BadInput, match="no"):
        run(read_study(small_settings, changes), copy, until="stability")
    kept = {name: value for name, value in content(copy).items() if not name.startswith(transaction.NEXT)}
    assert kept == before
    monkeypatch.undo()
    began = read_states(copy / transaction.NEXT)["train"].began
    run(read_study(small_settings, changes), copy, until="stability")
    assert read_states(copy)["train"].began == began
    assert not (copy / transaction.NEXT).exists()


def test_a_kill_while_results_move_into_place_is_made_good(copy, small_settings, monkeypatch):
    real, moved = os.replace, []

    def killed(source, target):
        if transaction.COMMIT in str(source):
            moved.append(target)
        if len(moved) == 3:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(transaction.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run(read_study(small_settings, ["names.max_words=2"]), copy)
    monkeypatch.undo()
    assert (copy / transaction.COMMIT).is_dir()
    study = OpenStudy.open(copy)
    assert study.settings.names.max_words == 2
    assert all(each.state == "done" for each in stage_states(copy).values())
    assert not (copy / transaction.COMMIT).exists()


def test_a_second_run_in_the_same_folder_is_refused_and_changes_nothing(copy, small_settings):
    before = content(copy)
    with transaction.locked(copy):
        script = "from moodlens.cli import main; main()"
        command = [
            sys.executable,
            "-c",
            script,
            "run",
            str(small_settings),
            "--out",
            str(copy),
            "--set",
            "seed=5",
        ]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 2
    assert child.stderr.count("\n") == 1
    assert "another run is at work" in child.stderr
    assert content(copy) == before


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("prompts.parquet", "prompts"),
        ("embeddings/00000.safetensors", "embed"),
        ("sae/main/sae_weights.safetensors", "train"),
        ("selection.parquet", "features"),
        ("families.json", "features"),
        ("verdict.json", "verdict"),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_noticed_and_made_anew(copy, small_settings, file, stage):
    path = copy / file
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(flipped)  # of the same size
    assert stage_states(copy)[stage].state == "damaged"
    with pytest.raises(BadInput, match=file.rpartition("/")[2]):
        OpenStudy.open(copy).require(stage)
    run(read_study(small_settings), copy, until=stage)
    assert path.read_bytes() == whole
    assert stage_states(copy)[stage].state == "done"


def test_a_change_that_keeps_size_and_time_is_found_by_verify(copy):
    path = copy / "verdict.json"
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"0", b"1"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert stage_states(copy)["verdict"].state == "done"
    assert dict(stage_states(copy, deep=True)["verdict"].faults) == {"verdict.json": "changed"}


def test_a_copied_study_is_current(copy, small_settings):
    assert all(each.state == "done" for each in stage_states(copy).values())
    before = content(copy)
    run(read_study(small_settings), copy)
    assert content(copy) == before


def own(path: Path, n: int, words=("cheerful", "gloomy")) -> Path:
    text = [f"a {words[i % 2]} tune number {i} for {('piano', 'flute', 'voice')[i % 3]}" for i in range(n)]
    frame = pl.DataFrame({"text": text, "mood": [("up", "down")[i % 2] for i in range(n)]})
    frame.write_csv(path)
    return path


SMALL = (
    "sae.d_sae=32",
    "sae.k=3",
    "sae.epochs=2",
    "seeds=1",
    "features.n_permutations=20",
    "emotions=[up, down]",
)


def table_study(path: Path | str):
    table = f'prompts.tables=[{{path: "{path}", text_column: text, emotion_column: mood}}]'
    return read_study(None, [table, "prompts.generate=0", *SMALL])


def test_a_study_may_be_used_from_anywhere_and_when_its_table_is_gone(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    own(tmp_path / "here" / "own.csv", 160)
    own(tmp_path / "elsewhere" / "own.csv", 80)
    monkeypatch.chdir(tmp_path / "here")
    study = run(table_study("own.csv"), tmp_path / "out", until="prompts")
    before = content(study.path)
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = run(OpenStudy.open(tmp_path / "out").settings, tmp_path / "out", until="prompts")
    assert content(again.path) == before
    (tmp_path / "here" / "own.csv").unlink()
    again = run(OpenStudy.open(tmp_path / "out").settings, tmp_path / "out", until="prompts")
    assert content(again.path) == before


@pytest.mark.parametrize("kind", ["table", "precomputed", "transfer"])
def test_a_name_under_which_nothing_lies_is_not_taken_for_what_was_read_before(tmp_path, kind):
    """Else the numbers of the old file are shown as those of the new name."""
    folder = tmp_path / "embeddings"
    rows = np.random.default_rng(0).normal(size=(120, 8))
    write_precomputed(folder, rows, np.arange(120) % 2, ("up", "down"))
    made = ["prompts.generate=0", f"prompts.precomputed={folder}", "encoder.id=precomputed", *SMALL]
    path = own(tmp_path / "own.csv", 160)
    settings = read_study(None, made) if kind == "precomputed" else table_study(path)
    if kind == "transfer":
        judged = Table(path=str(path), text_column="text", emotion_column="mood")
        settings = settings.model_copy(update={"transfer": (judged,)})
    study = run(settings, tmp_path / "out", until="transfer" if kind == "transfer" else "prompts")
    before = content(study.path)
    name = {
        "table": "prompts.tables.0.path",
        "precomputed": "prompts.precomputed",
        "transfer": "transfer.0.path",
    }[kind]
    typed = read_study(tmp_path / "out" / "study.yaml", [f"{name}={tmp_path / 'typed'}.csv"])
    with pytest.raises(BadInput, match=r"typed\.csv: no such f"):
        run(typed, tmp_path / "out", until="transfer" if kind == "transfer" else "prompts")
    assert content(study.path) == before


def test_a_study_folder_whose_name_is_a_pattern(tmp_path):
    one = run(table_study(own(tmp_path / "own1.csv", 160)), tmp_path / "k1", until="prompts")
    two = run(table_study(own(tmp_path / "own[1].csv", 120)), tmp_path / "k[1]", until="prompts")
    assert (len(one.rows), len(two.rows)) == (160, 120)
    assert np.array_equal(OpenStudy.open(tmp_path / "k[1]").rows.texts, two.rows.texts)


def test_a_new_reading_makes_the_report_anew(copy):
    study = OpenStudy.open(copy)
    study.record_reading(1, name="bells", clarity="clear", note="", author="me")
    states = {name: each.state for name, each in stage_states(copy).items()}
    assert states.pop("report") == "outdated"
    assert set(states.values()) == {"done"}


def test_what_a_stage_took_is_kept(small_study):
    states = read_states(small_study)
    assert all(record.seconds >= 0 and record.began > 0 for record in states.values())
    assert read_json(small_study / ".stages" / "embed.json")["files"].keys() == {
        "embed.json",
        "embeddings/manifest.json",
        "embeddings/00000.safetensors",
    }
