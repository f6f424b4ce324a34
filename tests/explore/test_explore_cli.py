"""`moodlens explore` from the command line: served in a process of its own and ended, exported, and refused in one line."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from moodlens.cli.program import call
from moodlens.core import BadInput
from moodlens.explore import Explored, write_page
from moodlens.explore.page import built_page

from .conftest import PAGE  # noqa: F401 - skips where the extra is absent


@pytest.fixture
def refused(capfd):
    """One line on stderr that says all of ``words``, exit status 2, nothing on stdout."""

    def check(*arguments, say: tuple[str, ...]) -> None:
        capfd.readouterr()
        status = call(["explore", *(str(one) for one in arguments)])
        out, err = capfd.readouterr()
        assert (status, out, err.count("\n")) == (2, "", 1), err
        for word in say:
            assert word in err

    return check


def test_a_server_with_a_generator_answers_and_goes_without_a_trace(heard, tmp_path):
    command = [sys.executable, "-m", "moodlens", "explore", str(heard[0]), "--generator", heard[1]]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--json", "--no-open"], stdout=subprocess.PIPE, env=env, text=True
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        with urllib.request.urlopen(told["url"] + "api/overview", timeout=300) as answer:
            assert json.load(answer)["generator"]["model"] == "tiny-musicgen"
        asked = {"parts": [{"kind": "difference_in_means", "emotion": "sad"}], "coefficient": 1}
        body = json.dumps(asked | {"prompt": "a tune", "seconds": 9}).encode()
        request = urllib.request.Request(
            told["url"] + "api/generate", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            assert answer.status == 202
        assert list(tmp_path.glob("moodlens-clips-*"))
        process.send_signal(signal.SIGINT)  # while a clip is in work
        process.wait(300)
    finally:
        process.kill()
        process.wait()
    assert not list(tmp_path.glob("moodlens-clips-*"))


def test_what_cannot_be_served_is_one_line(refused, heard, small_study, tmp_path):
    refused(small_study, "--generator", heard[1], say=("--generator", "24 wide", "384 wide"))
    refused(heard[0], "--generator", tmp_path / "none", say=("--generator", "none"))
    refused(heard[0], "--generator", heard[1], "--export", tmp_path / "x.html", say=("makes no clips",))
    refused(tmp_path, say=(str(tmp_path),))
    refused(small_study, "--host", "no.such.host.invalid", say=("cannot be listened on", "--host"))
    assert not (tmp_path / "x.html").exists()


def test_a_file_is_as_small_as_asked_and_says_what_it_leaves_out(refused, small_study, tmp_path, capfd):
    whole = tmp_path / "whole.html"
    assert call(["explore", str(small_study), "--export", str(whole), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["left_out"], told["bytes"]) == (None, whole.stat().st_size)
    assert told["bytes"] < 4e6
    size = told["bytes"]
    refused(small_study, "--export", tmp_path, say=("is a folder",))
    kept = (small_study / "report.html").read_bytes()
    refused(small_study, "--export", small_study / "report.html", say=("is a file of the study",))
    assert (small_study / "report.html").read_bytes() == kept
    assert whole.stat().st_size == size
    explored, less = Explored(small_study), tmp_path / "less.html"
    done = write_page(explored, less, built_page(), limit=size / 1e6 - 0.005)
    assert done.size == less.stat().st_size <= size - 5_000
    assert "each feature that may not be claimed" in done.left_out
    with pytest.raises(BadInput, match="allow more with --limit 1"):
        write_page(explored, less, built_page(), limit=0.1)
    assert less.stat().st_size == done.size  # as it was
