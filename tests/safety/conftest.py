"""A study as a stranger may send it, and a command against it beside a file that must stay as it is."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from helpers.attacks import MARK
from helpers.report_study import make_study
from moodlens.cli.program import call
from moodlens.study.records.selection import SELECTION


@pytest.fixture(scope="package")
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
