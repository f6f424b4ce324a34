"""A checkpoint that is nowhere is said to be so at once: nobody waits for a hub that cannot be reached."""

import socket
import time

import pytest
from huggingface_hub import constants

from moodlens.core import BadInput
from moodlens.embed import sources
from moodlens.embed.sources import find_source, hub_answers

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def hub(monkeypatch):
    """A place on this machine that stands for the hub: nobody listens there, until the test does."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{place.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", *PROXIES):
            monkeypatch.delenv(name, raising=False)
        sources._hub_answers.cache_clear()
        yield place
        sources._hub_answers.cache_clear()


def test_what_is_neither_a_folder_nor_reachable_is_said_at_once(hub):
    began = time.monotonic()
    with pytest.raises(BadInput) as caught:
        find_source("MusicGen nobody/nothing", "nobody/nothing")._file("config.json")
    assert time.monotonic() - began < 10  # the client's own tries take half a minute
    assert str(caught.value) == (
        "MusicGen nobody/nothing: no such folder, config.json is not in the local cache, and the hub cannot be reached; check "
        "the name and the network, or name a folder that holds the checkpoint"
    )
    assert constants.HF_HUB_OFFLINE is False


def test_a_hub_that_answers_is_asked(hub):
    hub.listen()
    assert hub_answers()
    with sources.at_once():
        assert constants.HF_HUB_OFFLINE is False


def test_a_hub_that_does_not_is_not_and_a_proxy_is_believed(hub, monkeypatch):
    with sources.at_once():
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is False
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert hub_answers()


def test_told_to_stay_offline_nobody_is_asked(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sources, "hub_answers", lambda: pytest.fail("asked"))
    with sources.at_once():
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is True
