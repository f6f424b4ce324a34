"""The notebooks run from top to bottom, on a small study and a tiny generator."""

import json
import shutil
from pathlib import Path

import pytest

from helpers.music_fixtures import *  # noqa: F403
from moodlens.settings.steer import NEUTRAL_WORDS

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"


def executed(name: str, cwd: Path, **parameters) -> dict:
    """Run the code cells in order in one namespace, those tagged `parameters` replaced -> the namespace."""
    book = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    space: dict = {"__name__": "__main__"}
    found = 0
    for number, cell in enumerate(book["cells"]):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        assert (cell["outputs"], cell["execution_count"]) == ([], None), "keep notebooks without output"
        if "parameters" in cell["metadata"].get("tags", []):
            found += 1
            names: dict = {}
            exec(source, names)
            assert parameters.keys() <= names.keys()
            space |= {key: value for key, value in names.items() if not key.startswith("__")} | parameters
            continue
        exec(compile(source, f"{name}.ipynb, cell {number}", "exec"), space)
    assert found == 1
    return space


def test_quickstart(small_study, small_settings, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(small_study, tmp_path / "study")
    space = executed("quickstart", tmp_path, STUDY_FILE=str(small_settings), FOLDER=str(folder))
    out = capsys.readouterr().out
    assert out.startswith(("GO", "NO-GO"))
    assert out.count("\n") == 1 + len(space["verdict"].criteria)
    assert space["claimed"].height
    assert space["scores"].height == 4
    assert (tmp_path / "study.html").stat().st_size > 100_000


def test_steering(study_folder, checkpoint, tmp_path, monkeypatch, capsys):
    pytest.importorskip("librosa")
    monkeypatch.chdir(tmp_path)
    space = executed(
        "steering",
        tmp_path,
        STUDY=str(study_folder),
        MODEL=str(checkpoint),
        OUT=str(tmp_path / "out"),
        SECONDS=0.6,
    )
    out = capsys.readouterr().out
    assert "sae_family" in out
    assert space["results"].rows
    # unsteered, two methods, two random directions, the emotion written into the prompt, twelve neutral words
    assert len(space["run"].keys) == 2 * (1 + 2 + 2 + 1 + len(NEUTRAL_WORDS))
    assert (tmp_path / "out" / "results.json").is_file()
