"""Fixtures of the music verbs: a run of some seconds, steered and judged from the command line."""

import json
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("librosa", reason="needs the extra moodlens[audio]")
from moodlens.cli import main as entry


@pytest.fixture(scope="module")
def call():
    """Run a verb -> exit status, standard output, standard error."""

    def run(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["moodlens", *map(str, arguments)])
            with pytest.raises(SystemExit) as stop:
                entry()
        return stop.value.code

    return run


@pytest.fixture
def moodlens(call, capsys):
    """Run a verb with --json -> its one object."""

    def run(*arguments) -> dict:
        capsys.readouterr()
        code = call(*arguments, "--json")
        streams = capsys.readouterr()
        assert code == 0, streams.err
        return json.loads(streams.out)

    return run


@pytest.fixture
def refused(call, capsys):
    """Run a verb that must fail -> the one line it says."""

    def run(*arguments) -> str:
        capsys.readouterr()
        code = call(*arguments)
        streams = capsys.readouterr()
        assert (code, streams.out) == (2, ""), streams
        assert streams.err.count("\n") == 1, streams.err
        return streams.err

    return run


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "two.txt"
    path.write_bytes("\ufeff# neutral\r\ninstrumental music\r\na simple melody\r\n".encode("utf-16-le"))
    return path


@pytest.fixture(scope="module")
def small(checkpoint, prompts):
    """Options of a run of some seconds, with all that a judge needs."""
    return [
        "--model", checkpoint, "--prompts", prompts, "--seconds", 0.6, "--seed", 0, "--coefficient", 2, "--method",
        "difference_in_means", "--control", "random", "--n-random", 2, "--emotion", "happy", "--emotion", "sad",
        "--set", "neutral_words=[audio]",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def study(study_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a [study]") / "mine"
    shutil.copytree(study_folder, folder)
    return folder


@pytest.fixture(scope="module")
def run(call, study, small):
    """Steered and judged into the study's own folder."""
    assert call("steer", study, *small, "--json") == 0
    return study / "steer"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
