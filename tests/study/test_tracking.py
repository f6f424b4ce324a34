"""Trackers are shown what the files say, offline, and decide nothing."""

import os
import shutil
import struct
import subprocess
import sys
from importlib.util import find_spec

import pytest

from moodlens.core.errors import BadInput
from moodlens.pipeline import tracking
from moodlens.pipeline.opened import OpenStudy, expected_keys
from moodlens.pipeline.run import run
from moodlens.sae.history import read_history
from moodlens.settings.study import Settings
from moodlens.study.records.verdict import Verdict


@pytest.fixture(scope="module")
def tensorboard(small_study, tmp_path_factory):
    """The study, run again with nothing changed but its tracker."""
    folder = shutil.copytree(small_study, tmp_path_factory.mktemp("tracked") / "study")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    settings = OpenStudy.open(folder).settings.model_copy(update={"track": "tensorboard"})
    run(settings, folder)
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"study.yaml"}
    return folder


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder)).Reload()
    return {name: [(one.step, one.value) for one in read.Scalars(name)] for name in read.Tags()["scalars"]}


def test_tensorboard_has_every_epoch_and_the_verdict(tensorboard):
    where = tensorboard / tracking.FOLDER / "tensorboard"
    histories = {path.parent.name: read_history(path) for path in tensorboard.glob("sae/*/history.jsonl")}
    assert histories
    for name, entries in histories.items():
        told = scalars(where / name)["sae/val_loss"]
        assert told == [(one.step, pytest.approx(one.val_loss, rel=1e-6)) for one in entries]
    study = scalars(where / "study")
    verdict = Verdict.read(tensorboard)
    assert study["verdict/go"] == [(0, float(verdict.go))]
    for one in verdict.criteria:
        if one.value is not None:
            assert study[f"verdict/{one.id}"] == [(0, pytest.approx(one.value, rel=1e-6))]


def test_a_run_that_changes_nothing_tells_nothing_and_another_replaces_it(tensorboard):
    where = tensorboard / tracking.FOLDER
    files = sorted(path.name for path in where.rglob("events*"))
    settings = OpenStudy.open(tensorboard).settings
    run(settings, tensorboard)
    assert sorted(path.name for path in where.rglob("events*")) == files
    run(settings, tensorboard, until="verdict", force=True)
    assert len(list((where / "tensorboard" / "study").glob("events*"))) == 1


def test_no_key_knows_the_tracker(tmp_path):
    plain = expected_keys(Settings(), tmp_path)
    assert all(
        expected_keys(Settings(track=one), tmp_path) == plain for one in ("tensorboard", "wandb", "trackio")
    )


def test_a_tracker_that_is_not_installed_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'moodlens\[trackio\]'"):
        run(Settings(track="trackio"), tmp_path / "study")
    assert not (tmp_path / "study").exists()


OFFLINE = """
import sys
from pathlib import Path
from moodlens.pipeline.opened import OpenStudy
from moodlens.pipeline.tracking import track
study = OpenStudy.open(sys.argv[1])
track(study, study.settings.model_copy(update={"track": sys.argv[2]}), Path(sys.argv[3]))
"""


def offline(small_study, tracker, out, **environment):
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, small_study, tracker, out],
        env=os.environ | environment, capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out / tracker


def wandb_records(content: bytes):
    """The records of an offline run: LevelDB's log format, parts of a record in blocks of 32 kB."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, parts = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # no head fits before the next block
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        if kind == 0:
            return
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def test_wandb_offline(small_study, tmp_path):
    where = offline(small_study, "wandb", tmp_path, WANDB_MODE="offline", WANDB_DIR="", HOME=str(tmp_path))
    (path,) = where.rglob("run-*.wandb")
    rows, summary = [], {}
    for record in wandb_records(path.read_bytes()):
        if record.HasField("history"):
            rows.append({"".join(i.nested_key) or i.key: i.value_json for i in record.history.item})
        if record.HasField("summary"):
            summary |= {"".join(i.nested_key) or i.key: i.value_json for i in record.summary.update}
    for path in small_study.glob("sae/*/history.jsonl"):
        told = [
            float(row[f"{path.parent.name}/val_loss"])
            for row in rows
            if f"{path.parent.name}/val_loss" in row
        ]
        assert told == pytest.approx([one.val_loss for one in read_history(path)])
    assert float(summary["verdict/go"]) == Verdict.read(small_study).go


@pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio_offline(small_study, tmp_path):
    import sqlite3

    where = offline(small_study, "trackio", tmp_path, HF_HUB_OFFLINE="1")
    (path,) = where.glob("*.db")
    with sqlite3.connect(path) as connection:
        told = " ".join(
            bytes(row[0]).decode() for row in connection.execute("SELECT CAST(metrics AS BLOB) FROM metrics")
        )
    for path in small_study.glob("sae/*/history.jsonl"):
        for one in read_history(path):
            assert str(one.val_loss) in told
