"""The stand-in hub, and everything that points the client at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.hub_server import TOKEN, Hub, running_hub
from moodlens.cli.program import call


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """A hub of this test's own, which the client takes for the real one; logged in."""
    from huggingface_hub import constants

    with running_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # What carries the bytes to the real hub is a program of its own; the older way is plain HTTP.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def cli(capfd):
    """Run the command line in this process -> exit status, stdout, stderr."""

    def run(*arguments) -> tuple[int, str, str]:
        capfd.readouterr()
        status = call([str(one) for one in arguments])
        return (status, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def pushed_files(small_study, tmp_path_factory) -> Path:
    """What a push of the small study brings to the hub, as a folder."""
    folder = tmp_path_factory.mktemp("bundle") / "repo"
    assert call(["push", str(small_study), "--out", str(folder), "--license", "apache-2.0"]) == 0
    return folder
