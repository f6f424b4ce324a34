"""A small study, explored: shared by all tests of the page, and only read."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra `explore`")

from fastapi.testclient import TestClient

from moodlens.explore.explored import Explored
from moodlens.explore.page import MARK
from moodlens.explore.server import explorer_app

PAGE = f"<!doctype html><html><head>{MARK}<script>document.title = 'x'</script></head><body></body></html>"
BASE = "http://127.0.0.1:8123"


@pytest.fixture(scope="session")
def explored(small_study):
    return Explored(small_study)


@pytest.fixture(scope="session")
def client(explored):
    return TestClient(explorer_app(explored, PAGE, other=explored), base_url=BASE)


@pytest.fixture
def own(small_study, tmp_path):
    """A copy of the study that a test may write into, and a client of its own."""
    folder = Path(shutil.copytree(small_study, tmp_path / "copy"))
    explored = Explored(folder)
    return explored, TestClient(explorer_app(explored, PAGE), base_url=BASE)


@pytest.fixture(scope="session")
def heard(tmp_path_factory):
    """A study whose directions steer a tiny MusicGen, with a steering run in its folder; and the checkpoint."""
    from helpers.heard_study import heard_study
    from moodlens.settings.steer import read_steer_settings
    from moodlens.steer.run import run_steer

    folder, checkpoint = heard_study(tmp_path_factory.mktemp("heard"))
    run_steer(folder, folder / "steer", read_steer_settings(folder))
    return folder, checkpoint
